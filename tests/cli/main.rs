//! The program, as a user starts it.

mod bench;
mod capacity;
mod cases;
#[path = "../cli_support/mod.rs"]
mod cli_support;
mod compare;
mod conversations;
mod errors;
mod explain;
mod generate;
mod hostile;
mod launcher;
mod loads;
mod outputs;
mod profile;
mod report;
mod settings;
mod shapes;
mod smollm2;
mod sweep;
mod verify;
mod words;
mod work;
