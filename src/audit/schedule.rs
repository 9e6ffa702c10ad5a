//! The scheduler's log, replayed: its decisions follow from its calls, and the steps from its decisions.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::{Evidence, held};
use crate::ground::StepRecord;
use crate::ground::results::Check;
use crate::scheduler::{Decision, SchedulerLog, replay};

const FILE: &str = "schedule.jsonl";

/// `None`: the result has no log.
pub fn check(dir: &Path, evidence: &Evidence) -> Option<Check> {
    let file = File::open(dir.join(FILE)).ok()?;
    let log = SchedulerLog::read(BufReader::new(file)).map_err(|error| error.to_string());
    let outcome = log.and_then(|log| {
        settings(&log, evidence)?;
        replay(&log)?;
        steps(&log, evidence)
    });
    Some(held("the scheduler's log, replayed", outcome))
}

fn settings(log: &SchedulerLog, evidence: &Evidence) -> Result<(), String> {
    let (config, engine) = (&log.config, &evidence.results.engine);
    for (what, logged, stated) in [
        ("max_num_seqs", config.max_num_seqs, engine.max_num_seqs),
        (
            "max_num_batched_tokens",
            config.max_num_batched_tokens,
            engine.max_num_batched_tokens,
        ),
        ("block_size", config.block_size, engine.block_size),
        (
            "num_kv_blocks",
            config.usable_blocks(),
            engine.num_kv_blocks,
        ),
    ] {
        if logged != stated {
            return Err(format!(
                "{what} is {logged} in the log and {stated} in the results"
            ));
        }
    }
    Ok(())
}

/// The steps of each run are decisions in a row; others, of warm-ups, lie between runs.
fn steps(log: &SchedulerLog, evidence: &Evidence) -> Result<String, String> {
    let decisions: Vec<&Decision> = log.steps().collect();
    let mut free = decisions.as_slice();
    for (number, raw) in evidence.raw.iter().enumerate() {
        let steps = &raw.steps;
        let is_at = |at: &usize| {
            let mut row = free[*at..].iter().zip(steps);
            row.all(|(decision, step)| is_same(decision, &step))
        };
        let last = free.len().checked_sub(steps.len());
        let found = last.and_then(|last| (0..=last).find(is_at));
        let found = found.ok_or_else(|| {
            format!(
                "the {} steps of run {number} were not decided in such a row",
                steps.len()
            )
        })?;
        free = &free[found + steps.len()..];
    }
    Ok(format!(
        "{} calls, {} steps",
        log.records.len(),
        decisions.len()
    ))
}

fn is_same(decision: &Decision, step: &StepRecord) -> bool {
    let tokens = |is_decode: bool| -> usize {
        let entries = decision.entries.iter();
        let entries = entries.filter(|entry| entry.is_decode == is_decode);
        entries.map(|entry| entry.num_tokens).sum()
    };
    decision.entries.len() == step.scheduled
        && tokens(false) == step.prefill_tokens
        && tokens(true) == step.decode_tokens
        && decision.preempted.len() == step.preempted
}
