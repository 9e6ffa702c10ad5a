//! Metrics, references and reports against figures worked out by hand.

#[path = "metrics/checks.rs"]
mod checks;
#[path = "metrics/extended.rs"]
mod extended;
#[path = "metrics/fixture.rs"]
mod fixture;
#[path = "metrics/gpus.rs"]
mod gpus;
#[path = "metrics/headline.rs"]
mod headline;
#[path = "metrics/headline_words.rs"]
mod headline_words;
#[path = "metrics/nulls.rs"]
mod nulls;
#[path = "metrics/reference.rs"]
mod reference;
#[path = "metrics/report.rs"]
mod report;
#[path = "metrics/screen.rs"]
mod screen;
#[path = "metrics/source.rs"]
mod source;
