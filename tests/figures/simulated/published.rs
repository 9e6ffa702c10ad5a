//! Other people's throughput figures, and what the simulated device says of the same load.

use std::fs;
use std::path::{Path, PathBuf};

use candlepower::bench::Load;
use candlepower::exec::Server;
use candlepower::hardware::Gpu;
use candlepower::parallel::ShardPlan;
use candlepower::scheduler::Policy;
use candlepower::session::Simulation;
use candlepower::shape::ModelShape;
use candlepower::workload::Arrivals;
use serde::Deserialize;

use super::setup::{self, Asked};

const GIB: f64 = (1u64 << 30) as f64;
/// Requests in flight where a load is only said to saturate.
const SATURATING: usize = 256;
/// Rounds of a closed loop of which nobody said how many.
const ROUNDS: usize = 4;
/// Requests of an offline run of TensorRT-LLM at most, and its largest batch.
const OFFLINE_REQUESTS: usize = 2048;
const OFFLINE_BATCH: usize = 1024;
/// TensorRT-LLM gives its KV cache this part of what is free after loading, which libraries share.
const FREE_PART: f64 = 0.9;
const LIBRARIES_GIB: f64 = 1.5;
/// Tokens of a step of TensorRT-LLM.
const OFFLINE_TOKENS: usize = 8192;
const OUTPUT_UNKNOWN: usize = 256;

#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub case_id: String,
    pub model_id: String,
    pub weight_quant: String,
    pub engine: String,
    pub gpu: String,
    pub gpu_count: usize,
    pub tensor_parallel_size: usize,
    pub pipeline_parallel_size: usize,
    pub interconnect: Option<String>,
    pub regime: String,
    pub concurrency: Option<usize>,
    pub num_prompts: Option<usize>,
    pub request_rate_per_s: Option<f64>,
    pub prompt_tokens: Option<f64>,
    pub output_tokens: Option<f64>,
    pub output_tokens_per_s: Option<f64>,
    pub decode_ms_per_token_mean: Option<f64>,
    pub notes: Option<String>,
    pub source: String,
}

/// Tokens a second: of all requests, or of each where arrivals decide how many come.
pub struct Compared {
    pub predicted: f64,
    pub published: f64,
}

fn calibration() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/calibration")
}

pub fn cases() -> Vec<Case> {
    read("throughput_cases.json")
}

/// Of families that no constant was fitted to, and that this program's engine does not run.
pub fn other_families() -> Vec<Case> {
    read("throughput_others.json")
}

fn read(name: &str) -> Vec<Case> {
    let text = fs::read_to_string(calibration().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The levels that cases were measured at.
#[derive(Debug, Clone, Copy)]
pub struct Levels {
    pub engine: Server,
    pub served: Server,
}

impl Levels {
    pub const SHIPPED: Self = Self {
        engine: Server::ENGINE,
        served: Server::VLLM,
    };
}

impl Case {
    /// Why it is not compared.
    pub fn left_out(&self) -> Option<&'static str> {
        let notes = self.notes.as_deref().unwrap_or_default();
        let known = ["vLLM", "SGLang", "TensorRT-LLM"];
        if !known.contains(&&*self.engine) {
            Some("the engine is none of vLLM, SGLang and TensorRT-LLM")
        } else if notes.contains("use the scaling, not the level") {
            Some("an engine of 2023, whose level its own note calls out of date")
        } else if self.prompt_tokens.is_none() {
            Some("nobody said how long the prompt was")
        } else if notes.contains("concurrency not in the excerpt") {
            Some("nobody said how many requests were in flight, and the KV cache holds a handful")
        } else {
            None
        }
    }

    /// Who published it: a repository or a site; of what has no address, the machine.
    pub fn publisher(&self) -> String {
        let Some((_, address)) = self.source.split_once("://") else {
            return format!("{}, {}", self.source, self.gpu);
        };
        let depth = match address.starts_with("github.com/") {
            true => 3,
            false => 1,
        };
        let parts: Vec<&str> = address.split('/').take(depth).collect();
        parts.join("/")
    }

    /// Quantised weights or experts.
    pub fn is_special(&self) -> bool {
        self.weight_quant != "none" || self.shape().experts().is_some()
    }

    fn is_trtllm(&self) -> bool {
        self.engine == "TensorRT-LLM"
    }

    /// Called from a script, or by the engine's own benchmark.
    pub fn is_offline(&self) -> bool {
        ["offline", "batch 1, generate"]
            .iter()
            .any(|begin| self.regime.starts_with(begin))
    }

    pub fn shape(&self) -> ModelShape {
        let file = self.model_id.replace('/', "__") + ".json";
        let mut shape = setup::shape(&setup::config(&file));
        // Some stretched the positions for a long prompt.
        shape.positions = shape.positions.max(self.longest());
        shape
    }

    fn lengths(&self) -> (usize, usize) {
        let whole = |length: f64| (length.round() as usize).max(1);
        let input = self.prompt_tokens.map_or(1, whole);
        (input, self.output_tokens.map_or(OUTPUT_UNKNOWN, whole))
    }

    fn longest(&self) -> usize {
        let (input, output) = self.lengths();
        input + output
    }

    /// The card, linked as the publisher said.
    fn gpu(&self) -> Gpu {
        let name = match &*self.gpu {
            "H20-96GB" => "h20-96g",
            "A100-SXM4-80GB" | "A100-80GB" => "a100-80g",
            "RTX 4090 24GB" => "rtx4090-24g",
            "H100 PCIe 80GB" => "h100-pcie",
            "H100 SXM 80GB" => "h100-sxm",
            "RTX 3090 24GB" => "rtx3090",
            "L40S 48GB" => "l40s",
            "A40 48GB" => "a40",
            "A10 24GB" => "a10",
            "A10G 24GB" => "a10g",
            "RTX PRO 6000 Blackwell Server" => "rtxpro6000-server",
            other => panic!("{}: which card is {other}?", self.case_id),
        };
        let mut gpu = setup::gpu(name);
        if self
            .interconnect
            .as_ref()
            .is_some_and(|link| link.starts_with("PCIe"))
        {
            gpu.nvlink_generation = None;
        }
        gpu
    }

    fn simulation(&self, levels: &Levels) -> Simulation {
        let (shape, gpu, tp) = (self.shape(), self.gpu(), self.tensor_parallel_size);
        let level = match self.is_offline() {
            true => levels.engine,
            false => levels.served,
        };
        let mut simulation = setup::simulation_of(shape, gpu, tp, Some(level));
        simulation.scheduler.max_model_len = self.longest();
        if self.is_trtllm() {
            simulation.kv_bytes = Some(self.free_bytes(&simulation));
            simulation.scheduler.policy = Policy::Reserve;
            simulation.scheduler.max_num_seqs = OFFLINE_BATCH;
            simulation.scheduler.max_num_batched_tokens = OFFLINE_TOKENS;
        }
        simulation
    }

    /// Of all ranks.
    fn free_bytes(&self, simulation: &Simulation) -> u64 {
        let tp = self.tensor_parallel_size;
        let plan = ShardPlan::new(&simulation.shape, tp).unwrap();
        let weights = plan.weight_bytes(0, |tensor, held| tensor.bytes(held, 2)) as f64;
        let memory = (simulation.gpu.memory_gib - LIBRARIES_GIB) * GIB;
        ((memory - weights) * FREE_PART) as u64 * tp as u64
    }

    fn asked(&self) -> Asked {
        let (input_len, output_len) = self.lengths();
        let concurrency = match self.is_trtllm() {
            true => OFFLINE_REQUESTS,
            false => self.concurrency.unwrap_or(SATURATING),
        };
        let at_once = self.regime.contains("at once") || self.is_trtllm();
        let rounds = match at_once || concurrency == 1 {
            true => 1,
            false => ROUNDS,
        };
        Asked {
            load: match self.request_rate_per_s {
                Some(rate) => Load::Open(Arrivals::new(rate, 1.0).unwrap()),
                None => Load::Closed { concurrency },
            },
            requests: self.num_prompts.unwrap_or(concurrency * rounds),
            input_len,
            output_len,
        }
    }

    pub fn compare(&self, levels: &Levels) -> Compared {
        let run = setup::run(&self.simulation(levels), &self.asked());
        // Of an open loop and of a cached prompt the tokens' own pace was published.
        if let Some(ms) = self.decode_ms_per_token_mean {
            return Compared {
                predicted: run.extended.decode_speed_per_user.unwrap(),
                published: 1e3 / ms,
            };
        }
        let ranks = self.tensor_parallel_size * self.pipeline_parallel_size;
        let replicas = self.gpu_count / ranks;
        Compared {
            predicted: run.metrics.output_tokens_per_sec.unwrap() * replicas as f64,
            published: self.output_tokens_per_s.unwrap(),
        }
    }
}
