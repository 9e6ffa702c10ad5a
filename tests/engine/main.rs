//! Whole models and whole loads: the right tokens, however the work is cut.

#[path = "../cli_support/mod.rs"]
mod cli_support;
#[path = "../common/mod.rs"]
mod common;
mod experts;
mod golden;
mod oracle;
mod play;
mod scheduler;
mod tensor_parallel;
