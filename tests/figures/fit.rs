//! Will it fit: the report's models on its cards, the contract of the command, properties of the
//! arithmetic, and vLLM's own logs.

pub mod checkpoints;
mod command;
mod engines;
mod families;
mod layouts;
mod mixtures;
mod properties;
mod report;
mod startups;

use crate::cli_support::{self, Outcome};
use serde_json::Value;

/// The one answer to `fit` with these flags.
fn fit(flags: &str) -> Value {
    outcome(flags).json()
}

/// Of `fit --json` with these flags, which have no spaces of their own.
fn outcome(flags: &str) -> Outcome {
    let mut args = vec!["fit", "--json"];
    args.extend(flags.split_whitespace());
    let outcome = cli_support::run(&args);
    assert!(matches!(outcome.code, Some(0 | 3)), "{outcome:?}");
    outcome
}

fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key}: {answer}"))
}

fn number(answer: &Value, key: &str) -> f64 {
    answer[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key}: {answer}"))
}
