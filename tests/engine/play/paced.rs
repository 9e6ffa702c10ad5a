//! A device of even steps on a real clock, some of which may take longer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use candlepower::bench::{Limits, Load, Recording, Script, play};
use candlepower::engine::Engine;
use candlepower::exec::{ExecError, Executor, KvLayout, Simulated, StepOutput, StepPlan, Ticket};
use candlepower::ground::results::{RankMemory, Roofs, Run, Scenario};
use candlepower::ground::{Sampling, VirtualClock, WallClock};
use candlepower::metrics::{MeasureInput, measure};
use candlepower::workload::Work;

use super::{config, simulated};

const STEP: Duration = Duration::from_millis(4);

/// What a simulated device computes, at a pace of the real clock.
pub struct Paced {
    inner: Simulated,
    steps: usize,
    /// Step, counted from 0, and how long it is held up.
    held: Vec<(usize, Duration)>,
}

impl Paced {
    pub fn new(held: &[(usize, Duration)]) -> Self {
        let inner = simulated(&config(), Arc::new(VirtualClock::default()));
        Self {
            inner,
            steps: 0,
            held: held.to_vec(),
        }
    }
}

impl Executor for Paced {
    fn memory(&mut self) -> Result<Vec<RankMemory>, ExecError> {
        self.inner.memory()
    }

    fn measure_roofs(&mut self) -> Option<Roofs> {
        None
    }

    fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError> {
        self.inner.allocate_kv(layout)
    }

    fn submit(&mut self, plan: Arc<StepPlan>) -> Result<Ticket, ExecError> {
        self.inner.submit(plan)
    }

    fn wait(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError> {
        std::thread::sleep(STEP);
        for (step, time) in &self.held {
            if *step == self.steps {
                std::thread::sleep(*time);
            }
        }
        self.steps += 1;
        self.inner.wait(ticket, output)
    }
}

/// Plays requests of three prompt tokens, or `work`, on a device with `held` steps.
pub fn played(load: Load, work: Option<Work>, requests: usize, held: &[(usize, Duration)]) -> Run {
    let clock = Arc::new(WallClock::start());
    let mut engine = Engine::new(config(), Box::new(Paced::new(held)), clock).unwrap();
    let fixed = Work::fixed(vec![1, 2, 3], 8);
    let script = Script {
        work: work.unwrap_or(fixed),
        load: load.clone(),
        requests,
        warmup: 0,
        limits: Limits::default(),
        sampling: Sampling::GREEDY,
        end_tokens: Vec::new(),
        seed: 0,
    };
    let never = AtomicBool::new(false);
    let recording = play(&mut engine, &script, &never, &mut || ());
    assert_eq!(recording.cut_short, None);
    run_of(&recording, load)
}

fn run_of(recording: &Recording, load: Load) -> Run {
    let concurrency = match load {
        Load::Closed { concurrency } => Some(concurrency),
        Load::Open(_) | Load::Capped { .. } | Load::Trace => None,
    };
    measure(&MeasureInput {
        requests: &recording.requests,
        steps: &recording.steps,
        telemetry: &[],
        experts: &recording.experts,
        scenario: Scenario {
            concurrency,
            ..Scenario::default()
        },
        model: "a model",
        prompt: "",
        timestamp: "",
        capacity: 8,
        gpus: &[],
        watched: &[],
        roofs: None,
        clocks: recording.clocks,
    })
}
