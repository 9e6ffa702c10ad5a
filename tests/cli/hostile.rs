//! Input that means harm, all of one table: what the program says, how it ends, and how much memory it took.

mod child;
mod inputs;
mod tables;
