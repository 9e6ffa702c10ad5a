//! A model before it runs: where its files come from, what they say, how ranks share them.

mod checkpoint;
#[path = "../cli_support/mod.rs"]
mod cli_support;
#[path = "../common/mod.rs"]
mod common;
mod corpora;
mod hub;
mod shard;
mod shard_experts;
mod spec;
mod text;
