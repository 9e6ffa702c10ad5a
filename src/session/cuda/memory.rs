//! Whether GPUs can hold a model, asked of `fit`: before its first byte is loaded, and when a card has run out of
//! memory all the same.

use candle_core::DType;

use super::GIB;
use crate::fit::{self, Answer, Ask, Card, Engine, Extras, Fix, Limits};
use crate::ground::GpuIdentity;
use crate::hardware::{Capability, Link};
use crate::model::{ModelSpec, WeightType};
use crate::parallel::{self, Split};
use crate::session::error::Wish;
use crate::session::options::EngineOptions;

/// A context, a display and the driver's own buffers take less than this of an idle card.
const IDLE_GIB: f64 = 1.0;

/// The cards under the ranks, before anything is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Cards<'a> {
    /// One of them: all alike, or the smallest.
    pub gpu: &'a GpuIdentity,
    /// Bytes free on the one with the least.
    pub free: u64,
    /// That the driver shows.
    pub count: usize,
}

/// What is to be held.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub options: &'a EngineOptions,
    /// Words for the model.
    pub model: &'a str,
    pub spec: &'a ModelSpec,
    /// Type of the weights that are not quantised.
    pub weights: DType,
    /// Tokens of the longest request.
    pub max_model_len: usize,
}

/// What a card had no memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Weights,
    Workspace,
    KvCache,
}

/// The ledger of each rank, where it fits.
///
/// # Errors
/// It does not fit: one sentence with the ledger and the nearest changes with which it does. That is a wrong command
/// line, not a failed run.
pub fn check(wanted: &Wanted, cards: &Cards) -> Result<Answer, Wish> {
    let ask = ask(wanted, cards);
    let answer = fit::answer(&ask);
    if !answer.fits {
        return Err(Wish::Cuda(refusal(wanted, &answer, "")));
    }
    let Some(rank) = &answer.per_rank else {
        return Ok(answer);
    };
    // The context is there already, so it is no longer free.
    let (free, memory) = (cards.free as f64 / GIB, rank.memory_gib);
    let mut in_fact = ask;
    in_fact.card.memory_gib = memory.min(free + rank.overhead_gib);
    in_fact.limits.utilization = Some(1.0);
    let really = fit::answer(&in_fact);
    if !really.fits {
        let held = memory - free;
        let others = match held > IDLE_GIB {
            true => format!(" (other programs hold {held:.2} GiB of the card's {memory:.2})"),
            false => String::new(),
        };
        return Err(Wish::Cuda(refusal(wanted, &really, &others)));
    }
    let asked = wanted.options.kv_cache_memory.unwrap_or(0) / wanted.options.tp as u64;
    let room = really.per_rank.as_ref().map_or(0.0, |rank| rank.kv_gib);
    if asked as f64 / GIB > room {
        return Err(Wish::Cuda(format!(
            "--kv-cache-memory asks for {:.2} GiB on each GPU, and weights and activations leave {room:.2} of {}; lower it",
            asked as f64 / GIB,
            cards.gpu.name
        )));
    }
    Ok(answer)
}

/// What to say when CUDA reports no memory at `step` although [`check`] saw room.
pub fn ran_out(wanted: &Wanted, cards: &Cards, step: Step) -> String {
    let answer = fit::answer(&ask(wanted, cards));
    let (model, gpu) = (wanted.model, &cards.gpu.name);
    let ledger = answer.per_rank.as_ref().map_or(String::new(), |rank| {
        format!(
            " weights {:.2} + activations {:.2} + context and libraries {:.2} + graphs {:.2} GiB, the rest of {:.2} for the KV cache;",
            rank.weights_gib,
            rank.activations_gib,
            rank.overhead_gib,
            rank.graphs_gib,
            rank.budget_gib
        )
    });
    format!(
        "CUDA ran out of memory {} {model} on {gpu}, which had {:.2} of {:.2} GiB free: by the ledger it takes{ledger} {}",
        step.words(),
        cards.free as f64 / GIB,
        cards.gpu.memory_bytes as f64 / GIB,
        step.way_out(wanted, cards)
    )
}

impl Step {
    fn words(self) -> &'static str {
        match self {
            Self::Weights => "loading the weights of",
            Self::Workspace => "allocating the activations of",
            Self::KvCache => "allocating the KV cache of",
        }
    }

    fn way_out(self, wanted: &Wanted, cards: &Cards) -> String {
        let options = wanted.options;
        match self {
            Self::Weights => {
                let legal = parallel::legal(&wanted.spec.shape(), options.expert_parallel);
                let wider = legal.into_iter().filter(|&tp| tp > options.tp).min();
                match wider.filter(|&tp| tp <= cards.count) {
                    Some(tp) => format!("use --tp {tp}, or a quantised model"),
                    None => "use more GPUs, or a quantised model".to_owned(),
                }
            }
            Self::Workspace => format!(
                "lower --max-num-batched-tokens (now {}) or --max-num-seqs (now {})",
                options.tokens(),
                options.seqs()
            ),
            Self::KvCache => match options.kv_cache_memory {
                Some(bytes) => format!("lower --kv-cache-memory (now {bytes})"),
                None => format!(
                    "lower --gpu-memory-utilization (now {})",
                    options.gpu_memory_utilization
                ),
            },
        }
    }
}

fn ask(wanted: &Wanted, cards: &Cards) -> Ask {
    let Wanted { options, spec, .. } = *wanted;
    let mut shape = spec.shape();
    shape.weight_type = match wanted.weights {
        DType::BF16 => Some(WeightType::Bf16),
        DType::F16 => Some(WeightType::F16),
        DType::F32 => Some(WeightType::F32),
        _ => shape.weight_type,
    };
    // A length that only the model names is no demand: whoever sends a longer request is told so.
    let demanded =
        options.max_model_len.is_some() || wanted.max_model_len < spec.max_position_embeddings;
    let capability = cards.gpu.capability;
    Ask {
        model: wanted.model.to_owned(),
        stored: None,
        card: Card {
            name: cards.gpu.name.clone(),
            memory_gib: cards.gpu.memory_bytes as f64 / GIB,
            capability: Capability {
                major: capability / 10,
                minor: capability % 10,
            },
            // What is between them, our own engine counts one way.
            link: Link::PcieHost,
        },
        gpus: cards.count.max(options.tp),
        split: Split {
            tp: options.tp,
            expert_parallel: options.expert_parallel,
        },
        pp: 1,
        engine: Engine::Candlepower,
        limits: Limits {
            max_model_len: Some(match demanded {
                true => wanted.max_model_len,
                false => options.block_size,
            }),
            // A cache of a given size is not what a share of the memory leaves.
            utilization: Some(match options.kv_cache_memory {
                Some(_) => 1.0,
                None => options.gpu_memory_utilization,
            }),
            max_num_seqs: Some(options.seqs()),
            max_num_batched_tokens: Some(options.tokens()),
        },
        block_size: options.block_size,
        dtype: options.dtype,
        kv_type: options.kv_cache_dtype,
        extras: Extras::default(),
        eager: false,
        load: None,
        shape,
    }
}

fn refusal(wanted: &Wanted, answer: &Answer, others: &str) -> String {
    let cards = match answer.tp {
        1 => format!("one {}", answer.gpu),
        tp => format!("{tp} x {}", answer.gpu),
    };
    let fixes: Vec<String> = answer.fixes.iter().filter_map(change).collect();
    let way_out = match fixes.is_empty() {
        false => format!("it fits with {}", fixes.join(", or with ")),
        true => format!(
            "choose a smaller or a quantised model, or keep only some of its {} layers with --layers N",
            wanted.spec.num_hidden_layers
        ),
    };
    format!(
        "{} does not fit on {cards}: {}{others}; {way_out}",
        wanted.model, answer.reason
    )
}

/// In the flags of a run, which has a GPU for each rank and no pipeline stages.
fn change(fix: &Fix) -> Option<String> {
    let words: Vec<&str> = fix.change.split(' ').collect();
    match words.as_slice() {
        words if words.contains(&"--pp") => None,
        ["--gpus", _, rest @ ..] => Some(rest.join(" ")),
        _ => Some(fix.change.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::CARDS;

    fn plain(options: EngineOptions) -> EngineOptions {
        options
    }

    fn kv_8g(options: EngineOptions) -> EngineOptions {
        options.kv_cache_memory(8 << 30)
    }

    fn gpu(memory_gib: f64) -> GpuIdentity {
        GpuIdentity {
            name: "a card".to_owned(),
            memory_bytes: (memory_gib * GIB) as u64,
            capability: 89,
            ..GpuIdentity::default()
        }
    }

    fn spec(name: &str) -> ModelSpec {
        let card = CARDS.iter().find(|card| card.name == name).unwrap();
        ModelSpec::from_json(card.config_json, card.name).unwrap()
    }

    /// On `count` cards of which `free_gib` are free.
    fn ask_for<T>(
        model: &str,
        options: impl Fn(EngineOptions) -> EngineOptions,
        (memory_gib, free_gib, count): (f64, f64, usize),
        question: impl Fn(&Wanted, &Cards) -> T,
    ) -> T {
        let options = options(EngineOptions::new(model));
        let (spec, gpu) = (spec(model), gpu(memory_gib));
        let wanted = Wanted {
            options: &options,
            model,
            spec: &spec,
            weights: DType::BF16,
            max_model_len: options
                .max_model_len
                .unwrap_or(spec.max_position_embeddings),
        };
        let cards = Cards {
            gpu: &gpu,
            free: (free_gib * GIB) as u64,
            count,
        };
        question(&wanted, &cards)
    }

    fn refused(
        model: &str,
        options: impl Fn(EngineOptions) -> EngineOptions,
        cards: (f64, f64, usize),
    ) -> String {
        ask_for(model, options, cards, check)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_fits_has_a_ledger() {
        let answer = ask_for("QwQ-32B", plain, (79.1, 78.6, 1), check).unwrap();
        let rank = answer.per_rank.unwrap();
        assert!((60.0..62.0).contains(&rank.weights_gib) && rank.kv_gib > 5.0);
    }

    #[test]
    fn weights_too_large_for_the_card_are_refused_with_more_ranks() {
        let error = refused("QwQ-32B", plain, (47.37, 47.0, 4));
        assert!(
            error.starts_with("QwQ-32B does not fit on one a card: the weights take 61."),
            "{error}"
        );
        assert!(
            error.contains("it fits with --tp 4") || error.contains("--tp 2"),
            "{error}"
        );
        assert!(
            !error.contains("--pp") && !error.contains("--gpus"),
            "{error}"
        );
        assert!(!error.contains("other programs"), "{error}");
    }

    #[test]
    fn a_length_that_was_asked_for_must_fit_and_the_model_s_own_need_not() {
        let card = (79.1, 78.6, 1);
        let long = "Qwen2.5-0.5B";
        assert!(ask_for(long, plain, (1.6, 1.5, 1), check).is_err());
        assert!(ask_for("DeepSeek-R1-Distill-Qwen-32B", plain, card, check).is_ok());
        let error = refused(
            "DeepSeek-R1-Distill-Qwen-32B",
            |o| o.max_model_len(131_072),
            card,
        );
        assert!(
            error.contains("a request of 131,072 tokens needs"),
            "{error}"
        );
        assert!(error.contains("it fits with --max-model-len "), "{error}");
    }

    #[test]
    fn memory_that_others_hold_is_counted() {
        let error = refused("QwQ-32B", plain, (79.1, 40.0, 1));
        assert!(
            error.contains("(other programs hold 39.10 GiB of the card's 79.10)"),
            "{error}"
        );
    }

    #[test]
    fn a_large_step_is_answered_with_a_smaller_one() {
        let flags = |o: EngineOptions| {
            o.max_num_batched_tokens(131_072)
                .gpu_memory_utilization(0.95)
        };
        let error = refused("QwQ-32B", flags, (79.1, 78.6, 1));
        assert!(error.contains("--max-num-batched-tokens "), "{error}");
    }

    #[test]
    fn a_cache_of_a_given_size_must_fit_beside_the_rest() {
        let card = (79.1, 78.6, 1);
        assert!(ask_for("QwQ-32B", kv_8g, card, check).is_ok());
        let error = refused("QwQ-32B", |o| o.kv_cache_memory(30 << 30), card);
        assert!(
            error.starts_with("--kv-cache-memory asks for 27.94 GiB")
                || error.starts_with("--kv-cache-memory asks for 30.00 GiB"),
            "{error}"
        );
    }

    #[test]
    fn a_card_that_runs_out_all_the_same_is_told_with_the_ledger() {
        fn say(step: Step, options: fn(EngineOptions) -> EngineOptions) -> String {
            ask_for("QwQ-32B", options, (79.1, 78.6, 2), |wanted, cards| {
                ran_out(wanted, cards, step)
            })
        }
        let weights = say(Step::Weights, plain);
        assert!(weights.starts_with("CUDA ran out of memory loading the weights of QwQ-32B on a card, which had 78.60 of 79.10 GiB free"), "{weights}");
        assert!(
            weights.contains("weights 61.")
                && weights.ends_with("use --tp 2, or a quantised model"),
            "{weights}"
        );
        assert!(say(Step::Workspace, plain).contains("lower --max-num-batched-tokens (now 2048)"));
        assert!(say(Step::KvCache, plain).ends_with("lower --gpu-memory-utilization (now 0.9)"));
        let sized = say(Step::KvCache, kv_8g);
        assert!(sized.contains("lower --kv-cache-memory (now 8"), "{sized}");
    }
}
