//! The simulated device: how near its predictions come to published figures, and the laws it keeps.

#[path = "simulated/cases.rs"]
mod cases;
#[path = "simulated/command.rs"]
mod command;
#[path = "simulated/extremes.rs"]
mod extremes;
#[path = "simulated/laws.rs"]
mod laws;
#[path = "simulated/mixtures.rs"]
mod mixtures;
#[path = "simulated/pauses.rs"]
mod pauses;
#[path = "simulated/published.rs"]
mod published;
#[path = "simulated/report.rs"]
mod report;
#[path = "simulated/scale.rs"]
mod scale;
#[path = "simulated/setup.rs"]
mod setup;

mod cli_support;
