//! The steps of a run as they were, and as an ideal scheduler had filled them.

use std::collections::BTreeMap;

use crate::ground::results::Scenario;
use crate::ground::{Log, StepRecord};

/// Share of the fullest decode step from which one counts as full.
const FULL: f64 = 0.95;

/// What a full schedule makes of each step: how often it counts.
#[derive(Debug)]
pub struct Schedule {
    /// Requests from which a decode step is full, and how often each full one counts, so that they make the tokens of all
    /// decode steps. `Err`: why nothing is known of a full schedule; then every step counts once.
    full: Result<Full, String>,
}

#[derive(Debug)]
struct Full {
    from: usize,
    each: f64,
    /// For a reader.
    note: String,
}

fn decodes(step: &StepRecord) -> bool {
    step.prefill_tokens == 0 && step.output_tokens > 0
}

impl Schedule {
    pub fn of(steps: &Log<StepRecord>, scenario: &Scenario) -> Self {
        let Some(target) = scenario.concurrency else {
            return Self {
                full: Err("an open loop asks for no batch: requests run as they come".to_owned()),
            };
        };
        // Steps and tokens by the requests that ran.
        let mut batches: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        let mut preempted = 0;
        for step in steps {
            preempted += step.preempted;
            if decodes(&step) {
                let (count, tokens) = batches.entry(step.scheduled).or_default();
                *count += 1;
                *tokens += step.output_tokens;
            }
        }
        let Some((&most, _)) = batches.last_key_value() else {
            return Self {
                full: Err("no step decodes alone: each reads prompts".to_owned()),
            };
        };
        let from = (FULL * most as f64).ceil() as usize;
        let sums =
            |sum: (usize, usize), (count, tokens): &(usize, usize)| (sum.0 + count, sum.1 + tokens);
        let (count, tokens) = batches.values().fold((0, 0), sums);
        let (full, full_tokens) = batches.range(from..).map(|(_, of)| of).fold((0, 0), sums);
        let again = match preempted {
            0 => String::new(),
            _ => format!("; {preempted} preemptions: what is computed again counts as a prompt"),
        };
        Self {
            full: Ok(Full {
                from,
                each: tokens as f64 / full_tokens as f64,
                note: format!(
                    "{full} of {count} decode steps ran {from} requests or more of {target} asked for{again}"
                ),
            }),
        }
    }

    /// How often the step counts.
    pub fn weight(&self, step: &StepRecord) -> f64 {
        match &self.full {
            Ok(full) if decodes(step) && step.scheduled < full.from => 0.0,
            Ok(full) if decodes(step) => full.each,
            _ => 1.0,
        }
    }

    /// What is full; `Err`: why that is not known.
    pub fn note(&self) -> Result<String, String> {
        self.full
            .as_ref()
            .map(|full| full.note.clone())
            .map_err(Clone::clone)
    }
}
