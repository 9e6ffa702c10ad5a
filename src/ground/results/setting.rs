//! The circumstances of a run: without them its numbers mean nothing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::card::{GpuInfo, GpuLink};

/// The machine and the program.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Version of this program.
    pub candlepower: String,
    /// Revision it was built from; null outside a repository.
    pub git: Option<String>,
    /// Cargo features built in.
    pub features: Vec<String>,
    pub os: String,
    pub cpu: String,
    /// Physical cores.
    pub cores: usize,
    pub ram_gib: f64,
    pub gpus: Vec<GpuInfo>,
    /// Between each two of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_links: Vec<GpuLink>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nccl: Option<String>,
    /// Of the environment, those that change what NCCL does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nccl_variables: BTreeMap<String, String>,
    /// How the GPUs of the run added up; null where one rank or no GPU did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_reduce: Option<AllReduce>,
    /// The processes of an MPI job, in the order of their ranks; empty: there was one process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// Start of the run, UTC, RFC 3339.
    pub time: String,
}

/// One process of an MPI job, and what it runs on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// The machine's name.
    pub host: String,
    pub ranks: Vec<usize>,
    pub os: String,
    pub cpu: String,
    /// Physical cores of the machine.
    pub cores: usize,
    pub ram_gib: f64,
    /// One a rank; empty on CPUs. Their `index` is among those that the process may see.
    pub gpus: Vec<GpuInfo>,
    pub driver: Option<String>,
}

/// How GPUs add up what each of them has, and what each way took before the first run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AllReduce {
    /// As on the command line: `nccl`, `host`, `p2p` or `auto`.
    pub asked: String,
    /// What there was to choose from.
    pub ways: Vec<String>,
    /// Ascending. A message goes as the next larger size here, one beyond them as the last. Empty where there is one
    /// way.
    pub sizes: Vec<AllReduceSize>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AllReduceSize {
    /// Of the message on one rank.
    pub bytes: u64,
    /// The fastest.
    pub way: String,
    /// Microseconds by each way, on the slowest rank, one message after the other.
    pub us: BTreeMap<String, f64>,
}

/// What computed: the device that `--device` chose.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Hardware {
    /// As on the command line: `cpu`, `cuda`, `sim:<gpu>`.
    pub device: String,
    /// The processor's or the card's own name.
    pub name: String,
    /// Devices that took part.
    pub count: usize,
    /// Memory of one device, or of the machine on a CPU.
    pub memory_gib: f64,
    /// What all devices together can do at best, measured before the first run; null if it was not.
    pub roofs: Option<Roofs>,
}

/// Limits that no kernel can pass, as simple loops reached them on this machine; of simulated devices,
/// their data sheets'.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Roofs {
    /// Bytes a second read from memory.
    pub read_bytes_per_s: f64,
    /// Multiply-adds from registers in the type of the activations, two operations each, a second; of simulated devices,
    /// tensor operations in it.
    pub flop_per_s: f64,
}

impl std::iter::Sum for Roofs {
    /// Of devices side by side.
    fn sum<I: Iterator<Item = Self>>(roofs: I) -> Self {
        let none = Self {
            read_bytes_per_s: 0.0,
            flop_per_s: 0.0,
        };
        roofs.fold(none, |all, one| Self {
            read_bytes_per_s: all.read_bytes_per_s + one.read_bytes_per_s,
            flop_per_s: all.flop_per_s + one.flop_per_s,
        })
    }
}

impl Roofs {
    /// The higher of each.
    pub fn higher(self, other: Self) -> Self {
        Self {
            read_bytes_per_s: self.read_bytes_per_s.max(other.read_bytes_per_s),
            flop_per_s: self.flop_per_s.max(other.flop_per_s),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// Hub id, name of the card, or name of the directory.
    pub name: String,
    /// `model_type` of its `config.json`.
    pub architecture: String,
    /// Weights, tied ones counted once.
    pub parameters: u64,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    /// Layers that ran (`--layers` keeps fewer than the model has).
    pub num_hidden_layers: usize,
    /// Layers that the model has.
    pub model_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    pub weights: WeightSource,
    /// Type of the weights in memory.
    pub dtype: String,
    pub quantization: Option<String>,
    /// What a prediction takes for granted of the model, in sentences; left out where there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<String>,
}

impl Model {
    /// The name under which figures are compared: a slice is not its model.
    pub fn label(&self) -> String {
        slice_label(&self.name, self.num_hidden_layers, self.model_layers)
    }

    /// What a prediction takes for granted of it, in a line; `None`: nothing.
    pub fn assumed(&self) -> Option<String> {
        let said = self.assumptions.join("; ");
        (!said.is_empty()).then(|| format!("assumed: {said}"))
    }
}

/// `name`, with the layers that ran where they are not all.
pub fn slice_label(name: &str, ran: usize, all: usize) -> String {
    match ran == all {
        true => name.to_owned(),
        false => format!("{name} (first {ran} of {all} layers)"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightSource {
    /// Random, at the model's shapes.
    Dummy,
    Checkpoint,
}

/// The engine's settings after defaults and limits were resolved.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    pub max_model_len: usize,
    pub max_num_seqs: usize,
    pub max_num_batched_tokens: usize,
    /// Tokens of one KV block.
    pub block_size: usize,
    /// KV blocks of a rank that requests can use.
    pub num_kv_blocks: usize,
    /// `mixed`, `prefill-first` or `reserve`.
    pub scheduler: String,
    pub prefix_cache: bool,
    /// Decode steps of a GPU are replayed as CUDA graphs; null where no GPU computes.
    #[serde(default)]
    pub cuda_graphs: Option<bool>,
    /// Arithmetic type of activations.
    pub dtype: String,
    pub kv_cache_dtype: String,
    /// What is done with the inputs of layers whose weights are FP8: `weight-only` (nothing) or `dynamic`
    /// (quantised too); null where no weight is.
    #[serde(default)]
    pub activation_scheme: Option<String>,
    /// Tensor-parallel ranks.
    pub tp: usize,
    pub expert_parallel: bool,
    /// CPU threads of all ranks; 0 where devices compute, or none does.
    pub threads: usize,
    /// Each of them bound to a CPU of its own.
    #[serde(default)]
    pub pin_threads: bool,
    /// CPUs that the threads of each rank on a GPU are bound to, as the system lists them, in rank order; left out where
    /// none are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rank_cpus: Vec<String>,
    pub seed: u64,
    /// One a rank, in rank order.
    pub ranks: Vec<RankMemory>,
    /// Part of the ranks' time spent in exchanges, 0 to 1; null when there was one rank.
    pub communication_share: Option<f64>,
    /// By what: `host clock` (of rank 0, every step), `device events` (of all ranks, one step in eight, in its graph
    /// where it has one), `formula` (predicted).
    #[serde(default)]
    pub timed_by: String,
    /// Whose kernels and host time a prediction has: `engine`, an engine's own loop; `vllm`, behind its server; null:
    /// neither, raw capacity.
    #[serde(default)]
    pub server: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RankMemory {
    pub rank: usize,
    pub device: String,
    /// The machine that it is in; null where one process has all ranks.
    #[serde(default)]
    pub host: Option<String>,
    pub weights_bytes: u64,
    pub kv_bytes: u64,
    pub workspace_bytes: u64,
}

impl RankMemory {
    /// Such as `rank 3 on cuda:1 of node7`.
    pub fn name(&self) -> String {
        let host = self.host.as_ref();
        let host = host.map_or(String::new(), |host| format!(" of {host}"));
        format!("rank {} on {}{host}", self.rank, self.device)
    }
}
