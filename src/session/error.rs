//! Why a session could not be opened or could not go on, and whose fault that is.

use thiserror::Error;

use super::simulation::SimulationError;
use crate::engine::EngineError;
use crate::exec::ExecError;
use crate::hardware::HardwareError;
use crate::hub::HubError;
use crate::model::{SpecError, WeightError};
use crate::parallel::ShardError;
use crate::shape::ShapeError;
use crate::text::TextError;
use crate::workload::{ArrivalError, DatasetError};

/// Each message is one sentence that names the option (as its flag), the file or the device, the value and the way out.
///
/// ```
/// use candlepower::EngineOptions;
///
/// let error = EngineOptions::new("no-such-model").open().err().unwrap();
/// assert!(error.is_usage());
/// ```
#[derive(Debug, Error)]
pub enum SessionError {
    /// What was asked for cannot be had: asking differently helps.
    #[error(transparent)]
    Wish(Box<Wish>),
    /// What was asked for is right, and failed all the same.
    #[error(transparent)]
    Run(Box<RunError>),
}

impl SessionError {
    /// Whether an option, a name or an input file is wrong, rather than the run: exit code 2 rather than 1.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Wish(_))
    }

    /// Of ranks that could not be loaded.
    pub(crate) fn load(error: ExecError) -> Self {
        match error {
            ExecError::Pin(_) => Wish::Exec(error).into(),
            _ => RunError::Exec(error).into(),
        }
    }
}

impl From<Wish> for SessionError {
    fn from(wish: Wish) -> Self {
        Self::Wish(Box::new(wish))
    }
}

impl From<RunError> for SessionError {
    fn from(error: RunError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<HubError> for SessionError {
    /// A hub that fails is a failed run; anything else is a wrong name or file.
    fn from(error: HubError) -> Self {
        match error.is_network() {
            true => RunError::Hub(error).into(),
            false => Wish::Hub(error).into(),
        }
    }
}

/// What is wrong with a wish: the message of each says it.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum Wish {
    #[error("--{flag} {value}: it must be {rule}")]
    OutOfRange {
        flag: &'static str,
        value: String,
        rule: String,
    },
    #[error("--device {0} is not a device; use --device cpu, cuda or sim:<gpu>")]
    Device(String),
    #[error("--device {device}: {source}")]
    Gpu {
        device: String,
        #[source]
        source: HardwareError,
    },
    #[error(
        "--dtype f16 is for GPUs: the CPU kernels compute in f32, or multiply in bf16; use --dtype auto, f32 or bf16"
    )]
    CpuType,
    #[error(
        "--dtype bf16 on the CPU multiplies weights of bf16, and {name} holds {weights}; use --dtype auto"
    )]
    CpuWeights { name: String, weights: &'static str },
    #[error("--layers {layers} is more than the {all} layers of {file}; ask for at most those")]
    Layers {
        layers: usize,
        all: usize,
        file: String,
    },
    #[error(
        "--activation-scheme {scheme}: the weights of {model} are not FP8, so their inputs stay as they are; leave it out"
    )]
    NotFp8 { scheme: &'static str, model: String },
    #[error(
        "{why}; bench, capacity and sweep simulate engines that may run it: give them --server engine, or --server vllm"
    )]
    OthersRun { why: String },
    #[error(
        "--model {model}: simulated cards do not run it, for {reason}; `candlepower fit` says what room it takes"
    )]
    Untimed { model: String, reason: String },
    #[error(
        "--activation-scheme {0}: a simulated card multiplies FP8 by FP8, as vLLM does; leave it out"
    )]
    SimulatedScheme(&'static str),
    #[error(
        "a length of {asked} tokens is beyond the {positions} positions of {model}; lower --max-model-len or the prompt and output lengths"
    )]
    BeyondPositions {
        asked: usize,
        positions: usize,
        model: String,
    },
    #[error(
        "{0} has no tokenizer.json, so text cannot be turned into tokens; give a model directory with one, or token ids"
    )]
    NoTokenizer(String),
    #[error(
        "--model {0} is a card, which has neither a tokenizer nor weights; give --model with a model's directory or hub id (org/name), or token ids in place of text"
    )]
    NoText(String),
    #[error("the prompt {0:?} has no tokens; give at least one")]
    EmptyPrompt(String),
    #[error(
        "token id {id} is outside the vocabulary of {vocab}; the tokenizer is not this model's"
    )]
    ForeignTokenizer { id: u32, vocab: usize },
    #[error("--prompt-ids: token id {id} is outside the vocabulary of {vocab}; use ids below it")]
    ForeignId { id: u32, vocab: usize },
    #[error(
        "--chat: {0} has no chat template; leave --chat out, or give a model directory with one"
    )]
    NoTemplate(String),
    #[error(
        "a prompt of {prompt} tokens and {asked} output tokens do not fit a context of {max_model_len}; shorten them or raise --max-model-len"
    )]
    TooLong {
        prompt: usize,
        asked: usize,
        max_model_len: usize,
    },
    #[error(
        "--device {0}: a simulated device has no weights, so there is nothing to generate; use bench"
    )]
    NothingToGenerate(String),
    #[error(
        "{name} needs {weights:.1} GB for its weights in {dtype}, and {memory:.1} GB of memory are available; keep only some of its {layers} layers with --layers N, or choose a smaller model"
    )]
    WeightMemory {
        name: String,
        weights: f64,
        dtype: &'static str,
        memory: f64,
        layers: usize,
    },
    #[error(
        "a step of {rows} tokens and {sequences} sequences needs {step:.1} GB beside {weights:.1} GB of weights, and {memory:.1} GB of memory are available; lower --max-num-batched-tokens or --max-num-seqs"
    )]
    StepMemory {
        rows: usize,
        sequences: usize,
        step: f64,
        weights: f64,
        memory: f64,
    },
    #[error(
        "--kv-cache-memory {asked} is more than the {room} bytes that weights and activations leave of the available memory; lower it"
    )]
    KvMemory { asked: u64, room: u64 },
    #[error(
        "a KV cache of {bytes} bytes holds {blocks} blocks of {block_bytes} bytes, and at least 2 are needed; raise --kv-cache-memory or lower --block-size"
    )]
    KvBlocks {
        bytes: u64,
        blocks: usize,
        block_bytes: u64,
    },
    #[error(
        "--tp {tp}: {processes} processes were started, and each is one rank; use --tp {processes}"
    )]
    Processes { tp: usize, processes: usize },
    #[error(
        "{0} processes were started, and this build of candlepower has no MPI; build it with --features mpi, or start one process with --tp {0} for ranks as threads"
    )]
    NoMpi(usize),
    #[error("{name}={value}: {rule}")]
    Variable {
        name: &'static str,
        value: String,
        rule: String,
    },
    #[error("--device {0} works in one process, whatever --tp is; start it without mpirun or srun")]
    OneProcess(&'static str),
    /// What a CUDA build or a GPU says against it.
    #[error("{0}")]
    Cuda(String),
    /// What a question to `fit` contradicts.
    #[error("{0}")]
    Question(String),
    #[error(
        "the longest request has {longest} tokens, prompt and output, and --max-model-len is {max_model_len}; raise it or shorten the request"
    )]
    LongestRequest {
        longest: usize,
        max_model_len: usize,
    },
    #[error(
        "--requests {asked:?}: the dataset has arrivals for {lines} requests; ask for one number of at most that"
    )]
    TraceRequests { asked: Vec<usize>, lines: usize },
    #[error(
        "--requests has {numbers} numbers for {loads} loads; give one for each, or one for all"
    )]
    RequestNumbers { loads: usize, numbers: usize },
    #[error("{0}")]
    Load(String),
    #[error(transparent)]
    Arrivals(#[from] ArrivalError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// What the engine answers to a request that can never run.
    #[error("{0}")]
    Request(String),
    #[error(transparent)]
    Hub(HubError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error(transparent)]
    Weights(#[from] WeightError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    /// Limits that the ranks refuse.
    #[error(transparent)]
    Exec(ExecError),
    /// Limits that the scheduler refuses.
    #[error(transparent)]
    Engine(EngineError),
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// A launcher or an MPI library that cannot be used.
    #[error("{0}")]
    Launcher(String),
}

/// Of a session that was stopped while it opened.
pub(super) const NOT_LOADED: &str = "the model was not loaded, so there is no result";

/// What failed although nothing was wrong with the wish.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum RunError {
    #[error(transparent)]
    Hub(HubError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Device(#[from] candle_core::Error),
    #[error(transparent)]
    Decode(#[from] TextError),
    /// A GPU that ran out of memory although the ledger saw room.
    #[error("{0}")]
    OutOfMemory(String),
    #[error("the telemetry thread could not be started: {0}")]
    Telemetry(std::io::Error),
    /// What a load was cut short by, where it is of no use in part.
    #[error("{0}")]
    Failed(String),
    /// What there is until then.
    #[error("interrupted: {0}")]
    Interrupted(&'static str),
}
