//! Metrics, references and reports against figures worked out by hand.

mod checks;
mod extended;
mod fixture;
mod gpus;
mod nulls;
mod reference;
mod report;
mod source;
