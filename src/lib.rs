#![warn(missing_docs)]
//! candlepower measures what a machine can do with a large language model, from inside one process.
//!
//! ```
//! use candlepower::{EngineOptions, Generation, LoadOptions};
//!
//! let mut session = EngineOptions::new("tests/fixtures/llama-tiny").device("cpu").open()?;
//! for token in session.generate(&[Generation::new([1, 2, 3]).max_tokens(4)])? {
//!     println!("{}", token?.id);
//! }
//! let load = LoadOptions::default().concurrency([2]).requests([4]).input_len(8).output_len(4);
//! let results = session.play(&load)?;
//! println!("{:?} tok/s", results.runs[0].metrics.output_tokens_per_sec);
//! # Ok::<(), candlepower::Error>(())
//! ```
//!
//! [`EngineOptions`] opens a [`Session`] on a model; the session draws [`Token`]s and plays loads, whose [`Results`] hold
//! every metric; [`Question`] asks whether a model fits without loading it; [`gpus`] and [`models`] list what is known by
//! name. These names, and the rooms `session`, `bench` and `fit` behind them, are the crate's face. The other rooms are
//! public for the program's own tests and benchmarks; they change without notice.
//!
//! # The house
//!
//! From the street to the ground. Data runs one way: a room uses only rooms below it
//! (`tests/architecture.rs` holds that).
//!
//! - `cli`: one file a subcommand; the only room that prints or reads arguments
//! - `audit`: whether a written result can be believed
//! - `report`: Results -> console table, JSON, CSV, Markdown, a page of HTML, vLLM's JSON
//! - `comparison`: results side by side: what differs, ratios with their intervals, verdicts
//! - `archive`: the files of results, read back
//! - `recommend`: the cheapest cards that hold a model and a load, with the commands to run there
//! - `capacity`: many loads: the search for the edge, grids, the frontier
//! - `reference`: other tools' results, read into the same terms
//! - `bench`: a load played against an engine: arrivals in, events out
//! - `profile`: operations timed one by one -> kernel table, roofline, Chrome trace
//! - `session`: from a model and plain options to a loaded engine, on any device: what a program embeds
//! - `fit`: will a model run on that hardware: a memory ledger, a verdict, the nearest changes
//! - `metrics`: records -> the metric set (pure functions)
//! - `telemetry`: CPU, memory and GPU samples on one clock with the events
//! - `workload`: requests: prompts, lengths, arrival times
//! - `engine`: the loop: scheduler -> StepPlan -> executor -> tokens -> events
//! - `scheduler`: queues, policy, block pool, prefix hashes -> Decision (no candle, no clock)
//! - `exec`: Executor: where steps run
//! - `model`: ModelSpec (from config.json), the one decoder, weights
//! - `parallel`: Collective: how ranks act as one
//! - `ops`: what candle lacks: linear, attention, KV write, norm, rope, sampling
//! - `shape`: what a model is made of: tensors with their roles, what layers keep; read without the engine
//! - `text`: tokenizer and chat template
//! - `hub`: where a model's files come from: directory, card, cache, download
//! - `hardware`: GPU data sheets, measured limits and link times, as data
//! - `ground`: plain data and clocks that every room may use

#[doc(hidden)]
pub mod archive;
#[doc(hidden)]
pub mod audit;
pub mod bench;
#[doc(hidden)]
pub mod capacity;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod comparison;
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod exec;
pub mod fit;
#[doc(hidden)]
pub mod ground;
#[doc(hidden)]
pub mod hardware;
#[doc(hidden)]
pub mod hub;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod ops;
#[doc(hidden)]
pub mod parallel;
#[doc(hidden)]
pub mod profile;
#[doc(hidden)]
pub mod recommend;
#[doc(hidden)]
pub mod reference;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod scheduler;
pub mod session;
#[doc(hidden)]
pub mod shape;
#[doc(hidden)]
pub mod telemetry;
#[doc(hidden)]
pub mod text;
#[doc(hidden)]
pub mod workload;

pub use bench::{LoadOptions, Preset};
pub use fit::{Answer, KvType, Release, Verdict};
pub use ground::results::{Extended, Metrics, Results, Run, Slo};
pub use ground::{FinishReason, Progress, Task, TokenLogprobs, Unwatched};
pub use hardware::Gpu;
pub use hub::Card;
pub use model::WeightType;
pub use scheduler::Policy;
pub use session::{
    ActivationScheme, EngineOptions, Generation, Question, Session, SessionError as Error, Token,
    Tokens,
};
pub use workload::{Lengths, Rate};

/// The GPUs that are known by name: data sheets, and what others measured.
///
/// ```
/// let gpus = candlepower::gpus()?;
/// let h100 = gpus.iter().find(|gpu| gpu.name == "h100-sxm").unwrap();
/// assert!(h100.bandwidth_gb_s > 3000.0);
/// # Ok::<(), candlepower::Error>(())
/// ```
///
/// # Errors
/// The table in this crate is malformed, which a test rules out.
pub fn gpus() -> Result<Vec<Gpu>, Error> {
    let known = hardware::known().map_err(session::Wish::from)?;
    Ok(known.to_vec())
}

/// The model cards: shapes of real models that need no files.
///
/// ```
/// assert!(candlepower::models().iter().any(|card| card.name == "QwQ-32B"));
/// ```
pub fn models() -> &'static [Card] {
    hub::CARDS
}

/// The code of `docs/embedding.md`, which is run as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct EmbeddingPage;
