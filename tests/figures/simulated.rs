//! The simulated device: how near its predictions come to published figures, and the laws it keeps.

mod cases;
mod command;
mod device;
mod edges;
mod exchange;
mod extremes;
mod laws;
mod mixtures;
mod others;
mod others_command;
mod own;
mod pauses;
mod published;
pub mod quantised;
mod report;
mod scale;
mod setup;
