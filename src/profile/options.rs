//! What is to be profiled, and whether the engine's limits allow such steps.

use derive_setters::Setters;

use super::load::{Load, Phase};
use crate::session::{EngineOptions, LARGEST_COUNT, SessionError, Wish};

/// The steps to time: every batch at every context.
#[derive(Debug, Clone, PartialEq, Eq, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct ProfileOptions {
    pub phase: Phase,
    /// Sequences of the step.
    #[setters(into)]
    pub batch: Vec<usize>,
    /// Tokens of each sequence, those of the step included.
    #[setters(into)]
    pub context: Vec<usize>,
    /// How often each step is run; `None`: for about three seconds, 4 to 64 times.
    pub steps: Option<usize>,
    /// On a GPU: timed by events around each operation, with CUDA graphs off, also where CUPTI tells of its kernels.
    pub by_events: bool,
}

impl Default for ProfileOptions {
    /// One decode step of one sequence, 512 tokens of context.
    fn default() -> Self {
        Self {
            phase: Phase::Decode,
            batch: vec![1],
            context: vec![512],
            steps: None,
            by_events: false,
        }
    }
}

impl ProfileOptions {
    /// Every batch at every context.
    pub fn loads(&self) -> Vec<Load> {
        let contexts = self.context.iter();
        let loads = contexts.flat_map(|&context| {
            let load = move |&batch| Load {
                phase: self.phase,
                batch,
                context,
            };
            self.batch.iter().map(load)
        });
        loads.collect()
    }

    /// # Errors
    /// A count out of its range, or a step larger than the engine's limits.
    pub fn check(&self, options: &EngineOptions) -> Result<(), SessionError> {
        let counts = [("batch", &self.batch), ("context", &self.context)];
        let counts = counts.iter().flat_map(|(flag, values)| {
            let values = values.iter();
            values.map(move |&value| (*flag, value))
        });
        for (flag, value) in counts.chain(self.steps.map(|steps| ("steps", steps))) {
            if !(1..=LARGEST_COUNT).contains(&value) {
                return Err(Wish::OutOfRange {
                    flag,
                    value: value.to_string(),
                    rule: format!("from 1 to {LARGEST_COUNT}"),
                }
                .into());
            }
        }
        for load in self.loads() {
            within_limits(&load, options)?;
        }
        Ok(())
    }
}

/// What the engine's limits allow a step to be.
fn within_limits(load: &Load, options: &EngineOptions) -> Result<(), Wish> {
    let Load {
        phase,
        batch,
        context,
    } = load;
    if *batch > options.seqs() {
        return Err(Wish::Load(format!(
            "--batch {batch} is more than --max-num-seqs {}; lower the one or raise the other",
            options.seqs()
        )));
    }
    let rows = load.rows();
    if rows > options.tokens() {
        return Err(Wish::Load(format!(
            "{phase} of {batch} x {context} is one step of {rows} tokens, more than --max-num-batched-tokens {}; lower --batch or --context, or raise it",
            options.tokens()
        )));
    }
    Ok(())
}
