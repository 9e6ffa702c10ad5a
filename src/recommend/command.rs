//! How a layout is started: each engine's own command, with the settings that fit judged for that engine.

use std::collections::BTreeMap;
use std::path::Path;

use super::judged::Judged;
use super::options::RecommendOptions;
use super::predict::{device, kv_bytes, server};
use super::result::Commands;
use super::target::{Demand, Target};
use super::words::Words;
use crate::fit::{Answer, Ask, Engine, KvType, LlamaCpp, Release, Verdict};
use crate::hub::gguf::{self, GgufId};
use crate::hub::{HubId, cards};
use crate::metrics::quantile::fewest_for;
use crate::session::ModelFiles;
use crate::shape::WeightType;

/// vLLM has `--data-parallel-size` for one server since.
const DATA_PARALLEL: [u32; 3] = [0, 9, 0];
const FIRST_PORT: usize = 8000;
/// As a new engine's default is not stated.
const USUAL_BLOCK: usize = 16;
/// Of llama.cpp: all layers, whatever their number.
const ALL_LAYERS: usize = 999;
/// Tokens that llama-server takes at a time (`-b`), which bound those of a step.
const LLAMA_BATCH: usize = 2048;
/// Requests of a bench, for each in flight, and seconds of an open loop that nobody played.
const WAVES: usize = 4;
const SECONDS: f64 = 60.0;

/// A command, or why there is none.
type Line = Result<String, String>;

/// What all layouts' commands have in common.
pub struct Source<'a> {
    base: &'a Ask,
    options: &'a RecommendOptions,
    /// This program's own engine runs the model.
    is_runnable: bool,
    /// Simulated cards do, behind the engine's server.
    is_simulated: bool,
}

impl<'a> Source<'a> {
    /// `files`: as simulated cards take the model; `None`: they do not.
    pub fn new(base: &'a Ask, options: &'a RecommendOptions, files: Option<&ModelFiles>) -> Self {
        Self {
            base,
            options,
            is_runnable: files.is_some_and(|files| files.model.is_own()),
            is_simulated: files.is_some(),
        }
    }

    /// The commands, and by name why one is not there; `played`: requests of one copy, where its times were predicted.
    pub fn commands(
        &self,
        judged: &Judged,
        target: &Target,
        played: Option<usize>,
    ) -> (Commands, BTreeMap<String, String>) {
        let mut absent = BTreeMap::new();
        let mut kept = |name: &str, line: Line| match line {
            Ok(line) => Some(line),
            Err(reason) => {
                absent.insert(name.to_owned(), reason);
                None
            }
        };
        let commands = Commands {
            vllm: kept("vllm", self.vllm(judged, target)),
            sglang: kept("sglang", self.sglang(judged, target)),
            llama_server: kept("llama_server", self.llama_server(judged)),
            candlepower: kept("candlepower", self.candlepower(judged, target, played)),
            simulated: kept("simulated", self.simulated(judged, target, played)),
        };
        (commands, absent)
    }

    fn vllm(&self, judged: &Judged, target: &Target) -> Line {
        let release = match self.base.engine {
            Engine::Vllm(release) => release,
            _ => Release::USUAL,
        };
        let (layout, question) = (&judged.layout, &self.options.question);
        let answer = self.fits(judged, Engine::Vllm(release), target)?;
        let (model, revision) = self.checkpoint();
        let words = Words::of("vllm serve")
            .word(&model)
            .given("--revision", revision)
            .flag("--tensor-parallel-size", layout.split.tp)
            .switch(layout.split.expert_parallel, "--enable-expert-parallel")
            .flag("--max-model-len", answer.max_model_len)
            .flag("--gpu-memory-utilization", answer.gpu_memory_utilization)
            .flag("--max-num-seqs", answer.max_num_seqs)
            .flag("--max-num-batched-tokens", answer.max_num_batched_tokens)
            .given("--dtype", question.dtype.map(type_name))
            .given("--kv-cache-dtype", self.kv_type("vLLM", "fp8")?)
            .given("--block-size", self.block_size())
            .switch(!question.cuda_graphs, "--enforce-eager");
        let replicas = layout.replicas();
        // Copies of a model with experts would share them out.
        let is_one_server = self.base.shape.experts().is_none() && release.since >= DATA_PARALLEL;
        Ok(match (replicas, is_one_server) {
            (1, _) => words.line(),
            (_, true) => words.flag("--data-parallel-size", replicas).line(),
            (_, false) => servers(&words, replicas, layout.split.tp),
        })
    }

    fn sglang(&self, judged: &Judged, target: &Target) -> Line {
        let (layout, question) = (&judged.layout, &self.options.question);
        let answer = self.fits(judged, Engine::Sglang, target)?;
        let (model, revision) = self.checkpoint();
        let replicas = layout.replicas();
        let ranks = layout.split.expert_parallel.then_some(layout.split.tp);
        let words = Words::of("python -m sglang.launch_server")
            .flag("--model-path", model)
            .given("--revision", revision)
            .flag("--tp-size", layout.split.tp)
            .given("--dp-size", (replicas > 1).then_some(replicas))
            .given("--ep-size", ranks)
            .flag("--context-length", answer.max_model_len)
            .flag("--mem-fraction-static", answer.gpu_memory_utilization)
            .flag("--chunked-prefill-size", answer.max_num_batched_tokens)
            .given("--max-running-requests", question.max_num_seqs)
            .given("--dtype", question.dtype.map(type_name))
            .given("--kv-cache-dtype", self.kv_type("SGLang", "fp8_e4m3")?)
            .switch(!question.cuda_graphs, "--disable-cuda-graph");
        Ok(words.line())
    }

    fn llama_server(&self, judged: &Judged) -> Line {
        let (Engine::LlamaCpp(own), answer) = (self.base.engine, &judged.answer) else {
            return Err("llama-server runs GGUF files; ask with --model FILE.gguf".to_owned());
        };
        let model = &self.options.question.model;
        let on_hub = on_hub(model);
        if on_hub.is_none() && !gguf::is_gguf(model) {
            return Err(format!(
                "llama-server takes a GGUF file, and {model} is none; give the (first) file as --model"
            ));
        }
        let at_revision = |(repo, _): &(HubId, String)| repo.to_string() != repo.id;
        if on_hub.as_ref().is_some_and(at_revision) {
            return Err(format!(
                "llama-server takes no revision, as {model} has; fetch the file"
            ));
        }
        let LlamaCpp {
            cache_types: [k, v],
            ..
        } = own;
        let tokens = answer.max_num_batched_tokens;
        let on_host = Some(own.cpu_moe_layers).filter(|&layers| layers > 0);
        let words = Words::of("llama-server");
        let words = match on_hub {
            None => words.flag("-m", model),
            Some((repo, choice)) if gguf::is_gguf(&choice) => {
                words.flag("-hf", repo.id).flag("-hff", choice)
            }
            Some((repo, choice)) => words.flag("-hf", format!("{}:{choice}", repo.id)),
        };
        let words = words
            .flag("-c", answer.max_model_len)
            .flag("-np", answer.max_num_seqs)
            .flag("-ngl", own.gpu_layers.unwrap_or(ALL_LAYERS))
            .given("-b", Some(tokens).filter(|&tokens| tokens > LLAMA_BATCH))
            .flag("-ub", tokens)
            .flag("-fa", if own.flash_attention { "on" } else { "off" })
            .flag("-ctk", k.name())
            .flag("-ctv", v.name())
            .given("-ncmoe", on_host)
            .switch(own.swa_full, "--swa-full");
        Ok(words.line())
    }

    fn candlepower(&self, judged: &Judged, target: &Target, played: Option<usize>) -> Line {
        if !self.is_runnable {
            return Err("this program's own engine does not run such a checkpoint".to_owned());
        }
        let answer = self.fits(judged, Engine::Candlepower, target)?;
        let words = Words::of("candlepower bench")
            .flag("--model", &self.options.question.model)
            .flag("--device", "cuda")
            .flag("--gpu-memory-utilization", answer.gpu_memory_utilization);
        Ok(self.bench(words, judged, &answer, (target, played)).line())
    }

    fn simulated(&self, judged: &Judged, target: &Target, played: Option<usize>) -> Line {
        if !self.is_simulated {
            return Err("simulated cards do not run such a checkpoint".to_owned());
        }
        let server = server(self.base.engine).map(|server| server.name);
        let words = Words::of("candlepower bench")
            .flag("--model", &self.options.question.model)
            .flag("--device", device(judged))
            .given("--server", server)
            .flag("--kv-cache-memory", kv_bytes(judged, self.base.block_size));
        Ok(self
            .bench(words, judged, &judged.answer, (target, played))
            .line())
    }

    /// The load of one copy, of as many requests as were played to predict it.
    fn bench(
        &self,
        words: Words,
        judged: &Judged,
        answer: &Answer,
        (target, played): (&Target, Option<usize>),
    ) -> Words {
        let (layout, question) = (&judged.layout, &self.options.question);
        let share = target.demand.share(layout.replicas());
        // As many as were predicted of: fewer have no such percentile.
        let fewest = fewest_for(self.options.objective.percentile);
        let words = words
            .given("--layers", question.layers)
            .flag("--tp", layout.split.tp)
            .switch(layout.split.expert_parallel, "--expert-parallel")
            .given("--dtype", question.dtype.map(WeightType::name))
            .given("--kv-cache-dtype", kv_name(self.base.kv_type))
            .given("--block-size", self.block_size())
            .switch(!question.cuda_graphs, "--no-cuda-graphs")
            .flag("--max-model-len", answer.max_model_len)
            .flag("--max-num-seqs", answer.max_num_seqs)
            .flag("--max-num-batched-tokens", answer.max_num_batched_tokens);
        let words = match target.demand {
            Demand::Concurrency(_) => words
                .flag("--concurrency", share)
                .flag("--requests", (share as usize * WAVES).max(fewest)),
            Demand::RequestRate(_) => words.flag("--request-rate", share).flag(
                "--requests",
                played.unwrap_or((share * SECONDS).ceil() as usize),
            ),
        };
        words
            .flag("--input-len", target.input_len)
            .flag("--output-len", target.output_len)
    }

    /// The answer under the rules of `engine`, if all requests have room at once.
    fn fits(&self, judged: &Judged, engine: Engine, target: &Target) -> Result<Answer, String> {
        if let Engine::LlamaCpp(_) = self.base.engine {
            return Err("a GGUF file is for llama-server".to_owned());
        }
        let answer = match engine == self.base.engine {
            true => judged.answer.clone(),
            false => judged.under(self.base, engine, target),
        };
        match answer.verdict {
            Verdict::Fits => Ok(answer),
            verdict => Err(format!("{}: {}", verdict.name(), answer.reason)),
        }
    }

    /// What others call the model, and its revision.
    fn checkpoint(&self) -> (String, Option<String>) {
        let model = &self.options.question.model;
        let path = Path::new(model);
        if path.is_file() {
            // A configuration lies beside its weights.
            let dir = path.parent().map(|dir| dir.display().to_string());
            return (
                dir.filter(|dir| !dir.is_empty()).unwrap_or(".".to_owned()),
                None,
            );
        }
        if let Some(card) = cards::find(model).filter(|_| !path.exists()) {
            return (card.hub_id.to_owned(), None);
        }
        match model.split_once('@').filter(|_| !path.exists()) {
            Some((id, revision)) => (id.to_owned(), Some(revision.to_owned())),
            None => (model.clone(), None),
        }
    }

    fn block_size(&self) -> Option<usize> {
        Some(self.base.block_size).filter(|&size| size != USUAL_BLOCK)
    }

    /// Of servers, which keep the cache in the activations' type or in 8 bits.
    fn kv_type(&self, server: &str, fp8: &'static str) -> Result<Option<&'static str>, String> {
        match (self.base.kv_type, self.base.dtype()) {
            (KvType::Auto, _)
            | (KvType::Bf16, WeightType::Bf16)
            | (KvType::F16, WeightType::F16)
            | (KvType::F32, WeightType::F32) => Ok(None),
            (KvType::Fp8, _) => Ok(Some(fp8)),
            _ => Err(format!(
                "{server} keeps its KV cache in the type of the activations or in fp8"
            )),
        }
    }
}

/// A server for each copy, on GPUs and a port of its own.
fn servers(words: &Words, replicas: usize, ranks: usize) -> String {
    let server = |replica: usize| {
        let gpus = (replica * ranks..(replica + 1) * ranks).map(|gpu| gpu.to_string());
        let gpus = gpus.collect::<Vec<_>>().join(",");
        let line = words.clone().flag("--port", FIRST_PORT + replica).line();
        format!("CUDA_VISIBLE_DEVICES={gpus} {line}")
    };
    let servers: Vec<String> = (0..replicas).map(server).collect();
    servers.join(" & ")
}

/// Whether a model is a GGUF file, or a quantisation on the hub.
pub fn is_gguf(model: &str) -> bool {
    gguf::is_gguf(model) || on_hub(model).is_some()
}

/// The repository, and what is chosen of it.
fn on_hub(model: &str) -> Option<(HubId, String)> {
    let id = GgufId::parse(model).filter(|_| !Path::new(model).exists())?;
    Some((id.repo, id.choice?))
}

/// As vLLM and SGLang name it.
fn type_name(dtype: WeightType) -> &'static str {
    match dtype {
        WeightType::Bf16 => "bfloat16",
        WeightType::F16 => "float16",
        WeightType::F32 => "float32",
    }
}

/// As this program's flag names it; `None`: left to the engine.
fn kv_name(kv_type: KvType) -> Option<&'static str> {
    match kv_type {
        KvType::Auto => None,
        KvType::Bf16 => Some("bf16"),
        KvType::F16 => Some("f16"),
        KvType::F32 => Some("f32"),
        KvType::Fp8 => Some("fp8"),
    }
}
