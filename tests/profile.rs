//! `profile`: its table adds up, its contract holds, its trace nests.

mod cli_support;

#[path = "profile/command.rs"]
mod command;
#[path = "profile/flags.rs"]
mod flags;
#[path = "profile/perfetto.rs"]
mod perfetto;
#[path = "profile/table.rs"]
mod table;
#[path = "profile/trace.rs"]
mod trace;
