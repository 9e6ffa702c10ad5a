//! Decode steps that a device keeps and queues as one, for each of some counts of rows.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::time::Duration;

use candle_core::Result;
use serde::{Deserialize, Serialize};

use super::StepPlan;
use crate::ground::recorder::{Captured, Timer};
use crate::ops::{Pick, Replay, Rows};

/// Buckets up to this one are powers of two; larger ones are its multiples.
const STRIDE: usize = 8;

/// The decode steps that graphs are kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphLimits {
    /// Rows of the largest.
    pub rows: usize,
    /// Rows of the largest step of any kind.
    pub step_rows: usize,
    /// Row stride of the block tables: the blocks of the longest sequence.
    pub max_blocks: usize,
}

impl GraphLimits {
    /// Counts of rows that have a graph, ascending: a step of another count runs with rows that stand for nothing.
    pub fn buckets(&self) -> Vec<usize> {
        let small = [1, 2, 4].into_iter();
        let large = (STRIDE..).step_by(STRIDE);
        let mut buckets: Vec<usize> = small
            .chain(large)
            .take_while(|&rows| rows < self.rows)
            .collect();
        buckets.push(self.rows);
        buckets
    }

    /// A step of `rows` rows that all stand for nothing: token 0 at position 0 of the null block.
    pub fn plan(&self, rows: usize) -> StepPlan {
        let mut plan = StepPlan::default();
        pad(&mut plan, rows, self.max_blocks);
        plan
    }
}

/// One captured step.
pub struct Graph {
    rows: usize,
    max_blocks: usize,
    replay: Box<dyn Replay>,
    /// The same with marks around its exchanges.
    timed: Option<Timed>,
    /// The same while its operations are timed.
    recorded: RefCell<Option<Recorded>>,
    /// The last plan, filled up.
    padded: RefCell<StepPlan>,
}

/// A graph that was captured while operations were recorded.
pub struct Recorded {
    pub replay: Box<dyn Replay>,
    pub captured: Captured,
}

/// A graph that times its exchanges each time that it is replayed.
pub struct Timed {
    pub replay: Box<dyn Replay>,
    pub exchanges: Box<dyn Timer>,
}

#[derive(Default)]
pub struct Graphs {
    by_rows: BTreeMap<usize, Graph>,
}

impl Graphs {
    pub fn keep(
        &mut self,
        limits: GraphLimits,
        rows: usize,
        replay: Box<dyn Replay>,
        timed: Option<Timed>,
    ) {
        let graph = Graph {
            rows,
            max_blocks: limits.max_blocks,
            replay,
            timed,
            recorded: RefCell::default(),
            padded: RefCell::default(),
        };
        self.by_rows.insert(rows, graph);
    }

    /// Nobody times operations any more.
    pub fn forget_recorded(&self) {
        self.by_rows
            .values()
            .for_each(|graph| drop(graph.recorded.take()));
    }

    /// Times of the marks of a graph's last timed replay.
    ///
    /// # Errors
    /// The device has failed.
    pub fn exchanges(&mut self, rows: usize) -> std::result::Result<Vec<Duration>, String> {
        let timed = self.by_rows.get_mut(&rows);
        let timed = timed.and_then(|graph| graph.timed.as_mut());
        timed.map_or_else(|| Ok(Vec::new()), |timed| timed.exchanges.times())
    }

    /// The smallest graph that holds a decode step; `None` for any other step.
    pub fn of(&self, plan: &StepPlan) -> Option<&Graph> {
        let count = plan.rows.len();
        let (_, graph) = self.by_rows.range(count.max(1)..).next()?;
        let decodes = plan.rows.sequences() == count && plan.picks.len() == count;
        (decodes && count > 0 && plan.rows.max_blocks <= graph.max_blocks).then_some(graph)
    }
}

impl Graph {
    /// The plan with as many rows as the graph, and its stride of block tables.
    pub fn pad(&self, plan: &StepPlan) -> std::cell::Ref<'_, StepPlan> {
        let mut padded = self.padded.borrow_mut();
        let to = &mut padded.rows;
        to.clear();
        let Rows {
            positions,
            slots,
            context_lens,
            ..
        } = &plan.rows;
        to.positions.extend_from_slice(positions);
        to.slots.extend_from_slice(slots);
        to.context_lens.extend_from_slice(context_lens);
        for sequence in 0..plan.rows.sequences() {
            let table = plan.rows.block_table(sequence);
            to.block_tables.extend_from_slice(table);
            let end = (sequence + 1) * self.max_blocks;
            to.block_tables.resize(end, 0);
        }
        padded.tokens.clear();
        padded.tokens.extend_from_slice(&plan.tokens);
        padded.picks.clone_from(&plan.picks);
        pad(&mut padded, self.rows, self.max_blocks);
        drop(padded);
        self.padded.borrow()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn recorded(&self) -> RefMut<'_, Option<Recorded>> {
        self.recorded.borrow_mut()
    }

    pub fn replay(&self) -> Result<()> {
        self.replay.replay()
    }

    /// With marks around its exchanges, where it has any.
    pub fn replay_timed(&self) -> Result<()> {
        let timed = self.timed.as_ref();
        timed.map_or(&self.replay, |timed| &timed.replay).replay()
    }
}

/// Fills a decode step up to `rows` rows.
fn pad(plan: &mut StepPlan, rows: usize, max_blocks: usize) {
    plan.tokens.resize(rows, 0);
    plan.picks.resize(rows, Pick::GREEDY);
    let to = &mut plan.rows;
    to.positions.resize(rows, 0);
    to.slots.resize(rows, 0);
    to.context_lens.resize(rows, 1);
    to.query_offsets.clear();
    to.query_offsets.extend(0..=rows as u32);
    to.block_tables.resize(rows * max_blocks, 0);
    to.max_blocks = max_blocks;
    plan.logit_rows.clear();
    plan.logit_rows.extend(0..rows as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Replay for Nothing {
        fn replay(&self) -> Result<()> {
            Ok(())
        }
    }

    const LIMITS: GraphLimits = GraphLimits {
        rows: 20,
        step_rows: 64,
        max_blocks: 3,
    };

    fn graphs() -> Graphs {
        let mut graphs = Graphs::default();
        for rows in LIMITS.buckets() {
            graphs.keep(LIMITS, rows, Box::new(Nothing), None);
        }
        graphs
    }

    fn decode(context_lens: &[u32]) -> StepPlan {
        let rows = context_lens.len();
        StepPlan {
            timed: false,
            tokens: (0..rows as u32).map(|i| 7 + i).collect(),
            rows: Rows {
                positions: context_lens.iter().map(|c| c - 1).collect(),
                slots: (0..rows as u32).map(|i| 40 + i).collect(),
                query_offsets: (0..=rows as u32).collect(),
                context_lens: context_lens.to_vec(),
                block_tables: (0..2 * rows as u32).map(|i| 1 + i).collect(),
                max_blocks: 2,
            },
            logit_rows: (0..rows as u32).collect(),
            picks: vec![Pick::GREEDY; rows],
        }
    }

    #[test]
    fn buckets_end_at_the_largest_step() {
        assert_eq!(LIMITS.buckets(), [1, 2, 4, 8, 16, 20]);
        let one = GraphLimits { rows: 1, ..LIMITS };
        assert_eq!(one.buckets(), [1]);
        let sixteen = GraphLimits { rows: 16, ..LIMITS };
        assert_eq!(sixteen.buckets(), [1, 2, 4, 8, 16]);
    }

    #[test]
    fn a_step_is_filled_up_with_rows_on_the_null_block() {
        let graphs = graphs();
        let plan = decode(&[5, 9, 30]);
        let padded = graphs.of(&plan).unwrap().pad(&plan);
        assert_eq!(padded.tokens, [7, 8, 9, 0]);
        assert_eq!(padded.rows.positions, [4, 8, 29, 0]);
        assert_eq!(padded.rows.slots, [40, 41, 42, 0]);
        assert_eq!(padded.rows.context_lens, [5, 9, 30, 1]);
        assert_eq!(padded.rows.query_offsets, [0, 1, 2, 3, 4]);
        assert_eq!(padded.rows.max_blocks, 3);
        assert_eq!(
            padded.rows.block_tables,
            [1, 2, 0, 3, 4, 0, 5, 6, 0, 0, 0, 0]
        );
        assert_eq!(padded.logit_rows, [0, 1, 2, 3]);
    }

    #[test]
    fn only_decode_steps_have_graphs() {
        let graphs = graphs();
        assert!(graphs.of(&StepPlan::default()).is_none());
        assert!(graphs.of(&decode(&[3; 21])).is_none());
        assert!(graphs.of(&decode(&[3; 20])).is_some());
        let mut prefill = decode(&[3, 4, 5]);
        prefill.rows.query_offsets = vec![0, 3];
        prefill.rows.context_lens = vec![3];
        assert!(graphs.of(&prefill).is_none());
        let mut long = decode(&[60]);
        long.rows.max_blocks = 4;
        long.rows.block_tables = vec![1, 2, 3, 4];
        assert!(graphs.of(&long).is_none());
        let mut chunk = decode(&[3, 4]);
        chunk.picks.pop();
        assert!(graphs.of(&chunk).is_none());
    }
}
