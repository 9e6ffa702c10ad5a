//! candlepower measures what a machine can do with a large language model, from inside one process.
//!
//! The house, from the street to the ground. Data runs one way, and a room uses only rooms below it
//! (`tests/architecture.rs` holds that).

pub mod bench; // a scenario played against an engine: arrivals in, events out
pub mod cli; // one file a subcommand; the only room that prints or reads arguments
pub mod engine; // the loop: scheduler -> StepPlan -> executor -> tokens -> events
pub mod exec; // Executor: one rank on the CPU
pub mod ground;
pub mod hub; // where a model's files come from: directory, card, cache, download
pub mod metrics; // events -> the metric set (pure functions)
pub mod model; // ModelSpec (from config.json), the one decoder, weights
pub mod ops; // what candle lacks: linear, attention, kv write, norm, rope, sampling
pub mod parallel; // Collective: how ranks act as one
pub mod reference; // other tools' results, read into the same terms
pub mod report; // Results -> console table, JSON, CSV, Markdown, vLLM's JSON
pub mod scheduler; // queues, policy, block pool, prefix hashes -> Decision (no candle, no clock)
pub mod telemetry; // CPU and RAM samples on one clock with the events
pub mod text; // tokenizer and chat template
pub mod workload; // requests: prompts, lengths, arrival times // plain data and clocks that every room may use
