//! What is worked out rather than run: capacity, data sheets, predicted times, metrics.

#[path = "../cli_support/mod.rs"]
mod cli_support;
mod fit;
mod hardware;
mod imports;
mod imports_of_all_forms;
mod metrics;
mod recommend;
mod simulated;
mod vllm_reference;
