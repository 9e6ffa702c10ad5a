//! A fixture over ranks on several GPUs, in any way that they add up: as a session, or step by step.

use candle_core::DType;
use candlepower::exec::warm_up::WarmUp;
use candlepower::exec::{Executor, KvLayout, Rank, Ranks, StepOutput, StepPlan};
use candlepower::ops::Pick;
use candlepower::parallel::{AllReduce, Split};

use crate::common::golden::Golden;
use crate::common::probe::{Chunk, rows};
use crate::common::{Model, Session, Setup, fixture};
use crate::model;

const BLOCK_SIZE: usize = 16;
/// Of the largest step.
const STEP_ROWS: usize = 16;
/// And how many of its rows have logits.
pub const LOGIT_ROWS: usize = 4;

/// Small steps: ranks rehearse the largest ones and half of those, and kernels are interpreted.
pub fn setup(split: Split, graphs: bool) -> Setup {
    let mut setup = model::setup(split, graphs);
    setup.scheduler.max_num_batched_tokens = STEP_ROWS;
    setup.scheduler.max_num_seqs = LOGIT_ROWS;
    if let Some(limits) = &mut setup.graphs {
        (limits.rows, limits.step_rows) = (LOGIT_ROWS, STEP_ROWS);
    }
    setup
}

/// A fixture, split over ranks that add up in a way, with graphs or without.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub split: Split,
    pub way: AllReduce,
    pub graphs: bool,
}

impl Case {
    fn load(&self, model: &Model) -> (Ranks, Setup) {
        let setup = setup(self.split, self.graphs);
        let ranks = model::load_by(self.way, model, DType::F32, self.split, setup.limits());
        (ranks, setup)
    }

    /// The first tokens after the first prompts: kernels are interpreted, and whole models take their time.
    pub fn is_golden(&self, prompts: usize, tokens: usize) {
        let (model, golden) = (Model::open(&fixture(self.name)), Golden::read(self.name));
        let (ranks, setup) = self.load(&model);
        let mut session = Session::around(ranks, &setup);
        let found = session.together(&golden.prompts[..prompts], tokens);
        let expected: Vec<_> = golden.greedy[..prompts]
            .iter()
            .map(|tokens_of| tokens_of[..tokens].to_vec())
            .collect();
        assert_eq!(found, expected, "{self:?}");
    }
}

/// Ranks with a cache, and with graphs of all buckets where these are wanted.
pub fn ranks(model: &Model, case: Case) -> Ranks {
    let (mut ranks, setup) = case.load(model);
    let layout = KvLayout {
        num_blocks: 9,
        block_size: BLOCK_SIZE,
        dtype: DType::F32,
    };
    let warm_up = WarmUp {
        rows: setup.scheduler.max_num_batched_tokens,
        sequences: setup.scheduler.max_num_seqs,
        max_model_len: setup.scheduler.max_model_len,
        block_size: BLOCK_SIZE,
    };
    let warm = move |rank: &mut Rank| rank.warm_up(&warm_up, DType::F32, setup.graphs);
    ranks.together(warm).unwrap();
    ranks.allocate_kv(&layout).unwrap();
    if let Some(limits) = setup.graphs {
        let capture = move |rank: &mut Rank| rank.capture(&limits, usize::MAX, || false);
        ranks.together(capture).unwrap();
    }
    ranks
}

/// A step over one sequence of `tokens`, of which `start` are in the cache.
pub fn plan(tokens: &[u32], start: usize) -> StepPlan {
    let table: Vec<u32> = (1..9).collect();
    let chunk = Chunk {
        start,
        end: tokens.len(),
        table: &table,
    };
    let fresh = tokens[start..].to_vec();
    StepPlan {
        timed: false,
        logit_rows: (0..fresh.len() as u32).collect(),
        picks: vec![Pick::GREEDY; fresh.len()],
        rows: rows(&[chunk], BLOCK_SIZE),
        tokens: fresh,
    }
}

/// The bits of what each rank's layers came to.
pub fn hidden_bits(ranks: &mut Ranks, plan: StepPlan) -> Vec<Vec<u32>> {
    let hidden = ranks.on_all(move |rank| rank.hidden_states(&plan)).unwrap();
    let bits = hidden.into_iter().map(|states| {
        let states = states.unwrap().flatten_all().unwrap();
        let states = states.to_vec1::<f32>().unwrap();
        states.into_iter().map(f32::to_bits).collect()
    });
    bits.collect()
}

/// Step by step, golden tokens after a prompt, and behind each of them every rank's residual stream in the same bits: those
/// of graphs and of steps without one.
pub fn tokens_and_bits_are_golden(name: &'static str, split: Split, way: AllReduce, count: usize) {
    const PROMPT: usize = 1;
    let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
    let mut streams = Vec::new();
    for graphs in [false, true] {
        let case = Case {
            name,
            split,
            way,
            graphs,
        };
        let mut ranks = ranks(&model, case);
        let (mut tokens, mut start) = (golden.prompts[PROMPT].clone(), 0);
        for &expected in &golden.greedy[PROMPT][..count] {
            let mut plan = plan(&tokens, start);
            plan.logit_rows.drain(..tokens.len() - start - 1);
            plan.picks.truncate(1);
            let bits = hidden_bits(&mut ranks, plan.clone());
            let agree = bits.iter().all(|states| states == &bits[0]);
            assert!(agree, "{case:?} before token {expected}");
            streams.push(bits);
            let mut output = StepOutput::default();
            let ticket = ranks.submit(plan.into()).unwrap();
            ranks.wait(ticket, &mut output).unwrap();
            assert_eq!(output.sampled[0].token, expected, "{case:?}");
            start = tokens.len();
            tokens.push(expected);
        }
    }
    assert_eq!(
        streams[..count],
        streams[count..],
        "{name}, {split:?}, {way}"
    );
}
