//! candlepower measures what a machine can do with a large language model, from inside one process.
//!
//! The house, from the street to the ground. Data runs one way: a room uses only rooms below it
//! (`tests/architecture.rs` holds that).
//!
//! - `cli`: one file a subcommand; the only room that prints or reads arguments
//! - `report`: Results -> console table, JSON, CSV, Markdown, vLLM's JSON
//! - `reference`: other tools' results, read into the same terms
//! - `bench`: a load played against an engine: arrivals in, events out
//! - `profile`: operations timed one by one -> kernel table, roofline, Chrome trace
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
//! - `text`: tokenizer and chat template
//! - `hub`: where a model's files come from: directory, card, cache, download
//! - `hardware`: GPU data sheets, measured limits and link times, as data
//! - `ground`: plain data and clocks that every room may use

pub mod bench;
pub mod cli;
pub mod engine;
pub mod exec;
pub mod fit;
pub mod ground;
pub mod hardware;
pub mod hub;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod parallel;
pub mod profile;
pub mod reference;
pub mod report;
pub mod scheduler;
pub mod telemetry;
pub mod text;
pub mod workload;
