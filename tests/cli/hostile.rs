//! Input that means harm: what the program says, how it ends, and how much memory it took.

mod child;
mod counts;
mod files;
mod inputs;
mod programs;
mod table;
