//! Metrics, references and reports against figures worked out by hand.

#[path = "metrics/checks.rs"]
mod checks;
#[path = "metrics/extended.rs"]
mod extended;
#[path = "metrics/fixture.rs"]
mod fixture;
#[path = "metrics/gpus.rs"]
mod gpus;
#[path = "metrics/nulls.rs"]
mod nulls;
#[path = "metrics/places.rs"]
mod places;
#[path = "metrics/reference.rs"]
mod reference;
#[path = "metrics/report.rs"]
mod report;
#[path = "metrics/source.rs"]
mod source;
