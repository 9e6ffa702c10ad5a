//! One step at a time on a simulated card.

use std::sync::Arc;
use std::time::Duration;

use candle_core::DType;
use candlepower::exec::simulated::Setup;
use candlepower::exec::{Executor, KvLayout, Simulated, StepOutput, StepPlan};
use candlepower::ground::recorder::OpRecord;
use candlepower::ground::{Clock, Sampling, VirtualClock};
use candlepower::hardware::Gpu;
use candlepower::model::{StepLimits, WeightType};
use candlepower::ops::Pick;
use candlepower::parallel::{AllReduce, ShardPlan, Split};
use candlepower::shape::ModelShape;

const LIMITS: StepLimits = StepLimits {
    rows: 2048,
    logit_rows: 256,
};

/// One step: sequences of (tokens of this step, tokens in all), each of which draws a token.
pub fn plan(sequences: &[(usize, usize)]) -> StepPlan {
    let mut plan = StepPlan::default();
    plan.rows.query_offsets.push(0);
    for (stream, &(own, context)) in sequences.iter().enumerate() {
        for position in context - own..context {
            plan.tokens.push(0);
            plan.rows.positions.push(position as u32);
        }
        plan.rows.query_offsets.push(plan.tokens.len() as u32);
        plan.rows.context_lens.push(context as u32);
        plan.logit_rows.push(plan.tokens.len() as u32 - 1);
        plan.picks.push(Pick {
            stream: stream as u64,
            position: context as u32,
            sampling: Sampling::GREEDY,
        });
    }
    plan
}

pub struct Device {
    pub executor: Simulated,
    pub clock: Arc<VirtualClock>,
}

impl Device {
    pub fn new(shape: &ModelShape, gpu: Gpu, split: Split, change: impl Fn(&mut Setup)) -> Self {
        let mut setup = Setup {
            plan: Arc::new(ShardPlan::split(shape, split).unwrap()),
            gpu,
            dtype: WeightType::Bf16,
            graphs: true,
            all_reduce: AllReduce::Auto,
            server: None,
            limits: LIMITS,
        };
        change(&mut setup);
        let clock = Arc::new(VirtualClock::default());
        let mut executor = Simulated::new(setup, clock.clone()).unwrap();
        let layout = KvLayout {
            num_blocks: 1024,
            block_size: 16,
            dtype: DType::BF16,
        };
        executor.allocate_kv(&layout).unwrap();
        Self { executor, clock }
    }

    pub fn start_timeline(&mut self) {
        let clock: Arc<dyn Clock> = self.clock.clone();
        self.executor.start_timelines(&clock).unwrap();
    }

    /// Of one rank, as all are alike.
    pub fn take_timeline(&mut self) -> Vec<OpRecord> {
        self.executor.take_timelines().unwrap().remove(0)
    }

    pub fn step(&mut self, sequences: &[(usize, usize)]) -> (Duration, StepOutput) {
        let before = self.clock.now();
        let ticket = self.executor.submit(Arc::new(plan(sequences))).unwrap();
        assert_eq!(
            self.clock.now(),
            before,
            "time passes where a step is waited for"
        );
        let mut output = StepOutput::default();
        self.executor.wait(ticket, &mut output).unwrap();
        (self.clock.now() - before, output)
    }

    pub fn seconds(&mut self, sequences: &[(usize, usize)]) -> f64 {
        self.step(sequences).0.as_secs_f64()
    }
}
