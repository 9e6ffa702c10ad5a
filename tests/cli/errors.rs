//! Bad input: an exit code, one sentence that names what is wrong and the way out, never a panic.

mod checkpoint;
mod config;
mod files_of_others;
mod flags;
mod quantised;
mod requests;
mod tensor_names;
