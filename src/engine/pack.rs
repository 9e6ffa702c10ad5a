//! A decision packed flat for the ranks.

use crate::exec::StepPlan;
use crate::ground::{RequestId, Sampling};
use crate::ops::Pick;
use crate::scheduler::{Decision, Scheduler};

/// Fills `plan` from the decision and the sequences it names. `sampling` knows each request's rule.
pub fn pack(
    decision: &Decision,
    scheduler: &Scheduler,
    sampling: impl Fn(RequestId) -> Option<Sampling>,
    plan: &mut StepPlan,
) {
    plan.clear();
    let block_size = scheduler.config().block_size;
    let sequences = || {
        let entries = decision.entries.iter();
        entries.filter_map(|entry| Some((entry, scheduler.sequence(entry.id)?)))
    };
    let rows = &mut plan.rows;
    rows.max_blocks = sequences()
        .map(|(entry, _)| entry.end().div_ceil(block_size))
        .max()
        .unwrap_or(0);
    rows.query_offsets.push(0);
    for (entry, sequence) in sequences() {
        let table = sequence.block_table();
        for position in entry.start..entry.end() {
            plan.tokens.push(sequence.tokens()[position]);
            rows.positions.push(position as u32);
            let slot = table[position / block_size] as usize * block_size + position % block_size;
            rows.slots.push(slot as u32);
        }
        rows.query_offsets.push(plan.tokens.len() as u32);
        rows.context_lens.push(entry.end() as u32);
        let used = entry.end().div_ceil(block_size);
        rows.block_tables.extend_from_slice(&table[..used]);
        let padded = rows.context_lens.len() * rows.max_blocks;
        rows.block_tables.resize(padded, 0);
        if entry.samples {
            plan.logit_rows.push(plan.tokens.len() as u32 - 1);
            plan.picks.push(Pick {
                stream: entry.id,
                position: entry.end() as u32,
                sampling: sampling(entry.id).unwrap_or(Sampling::GREEDY),
            });
        }
    }
}
