//! `profile`: its table adds up, its contract holds, its trace nests.

mod command;
mod flags;
mod graphs;
mod perfetto;
mod table;
mod trace;
