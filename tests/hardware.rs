//! GPUs and links as data: complete, plausible, sourced; files of one's own; all-reduce times.

mod cli_support;

#[path = "hardware/all_reduce.rs"]
mod all_reduce;
#[path = "hardware/bounds.rs"]
mod bounds;
#[path = "hardware/command.rs"]
mod command;
#[path = "hardware/known.rs"]
mod known;
#[path = "hardware/own_card.rs"]
mod own_card;
