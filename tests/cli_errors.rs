//! Bad input: an exit code, one sentence that names what is wrong and the way out, never a panic.

mod cli_support;

#[path = "cli_errors/checkpoint.rs"]
mod checkpoint;
#[path = "cli_errors/config.rs"]
mod config;
#[path = "cli_errors/files_of_others.rs"]
mod files_of_others;
#[path = "cli_errors/flags.rs"]
mod flags;
#[path = "cli_errors/quantised.rs"]
mod quantised;
#[path = "cli_errors/requests.rs"]
mod requests;
#[path = "cli_errors/tensor_names.rs"]
mod tensor_names;
