//! Will a model run on given GPUs: what `fit` is asked, from a model and plain values.

use derive_setters::Setters;

use super::error::{SessionError, Wish};
use super::reading::{Reading, read};
use crate::fit::{
    self, Answer, Ask, Card, Engine, Extras, KvType, Limits, Load, LoadQuantization, Lora,
};
use crate::ground::{Progress, Unwatched};
use crate::hardware::{self, Capability, Link};
use crate::model::WeightType;
use crate::parallel::Split;

/// Of the FP8 that vLLM makes of a checkpoint block by block.
const FP8_BLOCK: [usize; 2] = [128, 128];
/// A card of which only the memory is known.
const USUAL_CAPABILITY: Capability = Capability { major: 8, minor: 9 };
/// Tokens of a request of the source report's loads.
const REPORT_INPUT: usize = 100;
const REPORT_OUTPUT: usize = 601;

/// Will this model run on that hardware, with what context and concurrency, and if not, what would.
///
/// ```
/// use candlepower::Question;
///
/// let answer = Question::new("QwQ-32B").gpu("rtx4090-48g").gpus([2]).answer()?;
/// assert!(answer.fits && answer.max_model_len >= 8192);
/// # Ok::<(), candlepower::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct Question {
    /// As in [`EngineOptions::model`](super::EngineOptions::model).
    #[setters(into)]
    pub model: String,
    /// Only the first so many decoder layers.
    pub layers: Option<usize>,
    /// Of activations; `None`: the checkpoint's.
    pub dtype: Option<WeightType>,
    /// A card's name, or a `.toml` file of one.
    #[setters(into)]
    pub gpu: Option<String>,
    /// Usable GiB of a card instead of what `gpu` has; alone: of a card of compute capability 8.9.
    pub gpu_memory: Option<f64>,
    /// Each number is answered by itself; empty: as many as `tp` x `pp`.
    #[setters(into)]
    pub gpus: Vec<usize>,
    /// Tensor-parallel ranks; `None`: GPUs / `pp`.
    pub tp: Option<usize>,
    /// Pipeline stages.
    pub pp: usize,
    /// Experts whole on one rank each.
    pub expert_parallel: bool,
    /// Whose rules and whose memory.
    pub engine: Engine,
    /// Tokens of the longest request; `None`: the model's positions.
    pub max_model_len: Option<usize>,
    /// Share of the card's memory; `None`: the engine's default, as for the next two.
    pub gpu_memory_utilization: Option<f64>,
    /// Requests that run at a time.
    pub max_num_seqs: Option<usize>,
    /// Tokens of one step.
    pub max_num_batched_tokens: Option<usize>,
    /// Tokens of a KV block.
    pub block_size: usize,
    /// Element type of the KV cache.
    pub kv_cache_dtype: KvType,
    /// Whether memory for CUDA graphs is counted.
    pub cuda_graphs: bool,
    /// What vLLM or SGLang makes of a 16-bit checkpoint while it loads it.
    pub quantization: Option<LoadQuantization>,
    /// Room of vLLM for adapters: how many, and of what rank.
    pub lora: Option<Lora>,
    /// Of vLLM: the model that drafts for this one, as `model`.
    #[setters(into)]
    pub draft_model: Option<String>,
    /// Of vLLM: tokens that are drafted at a time.
    pub drafted_tokens: usize,
    /// Of vLLM: GiB of weights of each GPU that stay in the host's memory.
    pub cpu_offload_gib: f64,
    /// Requests that are wanted at once, and tokens of each; where one of the three is given, the others are one request,
    /// 100 tokens in and 601 out.
    pub concurrency: Option<usize>,
    /// Prompt tokens of each.
    pub input_len: Option<usize>,
    /// Output tokens of each.
    pub output_len: Option<usize>,
}

impl Question {
    /// Of `model`, by the rules of this crate's own engine.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            layers: None,
            dtype: None,
            gpu: None,
            gpu_memory: None,
            gpus: Vec::new(),
            tp: None,
            pp: 1,
            expert_parallel: false,
            engine: Engine::Candlepower,
            max_model_len: None,
            gpu_memory_utilization: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            block_size: super::options::DEFAULT_BLOCK_SIZE,
            kv_cache_dtype: KvType::Auto,
            cuda_graphs: true,
            quantization: None,
            lora: None,
            draft_model: None,
            drafted_tokens: 0,
            cpu_offload_gib: 0.0,
            concurrency: None,
            input_len: None,
            output_len: None,
        }
    }

    /// To the first, or only, number of GPUs.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub fn answer(&self) -> Result<Answer, SessionError> {
        let first = Self {
            gpus: self.gpus.iter().take(1).copied().collect(),
            ..self.clone()
        };
        let mut answers = first.answers(&Unwatched)?;
        // One number of GPUs, one answer.
        answers
            .pop()
            .ok_or_else(|| Wish::Question("no number of GPUs was asked of".to_owned()).into())
    }

    /// To each number of GPUs.
    ///
    /// # Errors
    /// There is no such model or card, the hub failed, or the question contradicts itself.
    pub fn answers(&self, progress: &dyn Progress) -> Result<Vec<Answer>, SessionError> {
        let mut answers = Vec::new();
        for ask in self.asks(progress)? {
            let answer = fit::answer(&ask);
            self.check_load(&answer)?;
            answers.push(answer);
        }
        Ok(answers)
    }

    /// What `fit` is asked, one for each number of GPUs.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub fn asks(&self, progress: &dyn Progress) -> Result<Vec<Ask>, SessionError> {
        Ok(self.resolved(progress)?.0)
    }

    /// The same, with what was found of the model.
    pub(crate) fn resolved(
        &self,
        progress: &dyn Progress,
    ) -> Result<(Vec<Ask>, Reading), SessionError> {
        let card = self.card()?;
        let reading = self.found(progress)?;
        let mut shape = reading.shape.clone();
        if self.quantization == Some(LoadQuantization::Fp8PerBlock) {
            shape = shape.in_fp8(FP8_BLOCK);
        }
        let draft = |name: &String| {
            let found = Self::new(name).found(progress);
            found.map(|reading| reading.shape)
        };
        let extras = Extras {
            quantization: self.quantization,
            lora: self.lora,
            draft: self.draft_model.as_ref().map(draft).transpose()?,
            drafted_tokens: self.drafted_tokens,
            cpu_offload_gib: self.cpu_offload_gib,
        };
        let counts = match self.gpus.as_slice() {
            [] => vec![self.tp.unwrap_or(1) * self.pp],
            counts => counts.to_vec(),
        };
        let ask = |gpus: usize| {
            let (tp, pp) = match self.engine {
                // It gives whole layers to each GPU.
                Engine::LlamaCpp(_) => (1, gpus),
                _ => (self.ranks(gpus)?, self.pp),
            };
            Ok(Ask {
                model: reading.name.clone(),
                shape: shape.clone(),
                stored: reading.stored.clone(),
                card: card.clone(),
                gpus,
                split: Split {
                    tp,
                    expert_parallel: self.expert_parallel,
                },
                pp,
                engine: self.engine,
                limits: Limits {
                    max_model_len: self.max_model_len,
                    utilization: self.gpu_memory_utilization,
                    max_num_seqs: self.max_num_seqs,
                    max_num_batched_tokens: self.max_num_batched_tokens,
                },
                block_size: self.block_size,
                dtype: self.dtype,
                kv_type: self.kv_cache_dtype,
                extras: extras.clone(),
                eager: !self.cuda_graphs,
                load: self.load(),
            })
        };
        let asks = counts.into_iter().map(ask).collect::<Result<_, Wish>>()?;
        Ok((asks, reading))
    }

    /// Tensor-parallel ranks on `gpus`.
    fn ranks(&self, gpus: usize) -> Result<usize, Wish> {
        let pp = self.pp.max(1);
        let tp = self.tp.unwrap_or((gpus / pp).max(1));
        let ranks = tp.saturating_mul(pp);
        if ranks > gpus {
            return Err(Wish::Question(format!(
                "--tp {tp} x --pp {pp} is {ranks} ranks, and --gpus is {gpus}; ask for at least as many GPUs, or fewer ranks"
            )));
        }
        Ok(tp)
    }

    fn card(&self) -> Result<Card, Wish> {
        let mut card = match (&self.gpu, self.gpu_memory) {
            (Some(name), _) => Card::from(&hardware::find(name)?),
            (None, Some(memory_gib)) => Card {
                name: format!("a GPU of {memory_gib} GiB"),
                memory_gib,
                capability: USUAL_CAPABILITY,
                link: Link::PcieHost,
            },
            (None, None) => {
                return Err(Wish::Question(
                    "no card was named; give --gpu a name of `candlepower gpus`, or --gpu-memory a number of GiB".to_owned(),
                ));
            }
        };
        card.memory_gib = self.gpu_memory.unwrap_or(card.memory_gib);
        Ok(card)
    }

    /// What the model is, and what is to be said of it before anything is answered.
    fn found(&self, progress: &dyn Progress) -> Result<Reading, SessionError> {
        let mut reading = read(&self.model, self.layers, progress)?;
        if self.engine == Engine::Candlepower && !reading.runnable {
            let family = &reading.shape.family;
            let words = format!(
                "this program's own engine does not run such a checkpoint ({family}): what it would take is worked out all the same; --engine vllm asks for an engine that may"
            );
            reading.shape.assumptions.push(words);
        }
        Ok(reading)
    }

    /// `None`: nothing was said of a load.
    fn load(&self) -> Option<Load> {
        let said = [self.concurrency, self.input_len, self.output_len];
        said.iter().any(Option::is_some).then(|| Load {
            concurrency: self.concurrency.unwrap_or(1),
            input_len: self.input_len.unwrap_or(REPORT_INPUT),
            output_len: self.output_len.unwrap_or(REPORT_OUTPUT),
        })
    }

    fn check_load(&self, answer: &Answer) -> Result<(), Wish> {
        match self.load() {
            Some(load) if load.tokens() > answer.max_model_len => Err(Wish::Question(format!(
                "a request of {} + {} tokens is longer than the {} of --max-model-len; raise it or shorten the request",
                load.input_len, load.output_len, answer.max_model_len
            ))),
            _ => Ok(()),
        }
    }
}
