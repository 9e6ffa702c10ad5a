//! Metrics, references and reports against figures worked out by hand.

mod checks;
mod extended;
mod fixture;
mod gpus;
mod headline;
mod headline_words;
mod nulls;
mod places;
mod reference;
mod report;
mod screen;
mod source;
mod waterfall;
