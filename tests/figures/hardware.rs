//! GPUs and links as data: complete, plausible, sourced; files of one's own; all-reduce times.

mod all_reduce;
mod bounds;
mod command;
mod known;
mod own_card;
