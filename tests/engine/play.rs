//! Loads against engines whose executors fail, pause or run late: nothing is lost, nothing of the warm-up
//! leaks into the run.

mod bounds;
mod early;
mod paced;
mod pauses;
mod stalls;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::DType;
use candlepower::bench::{Limits, Load, Recording, Script, play};
use candlepower::engine::Engine;
use candlepower::exec::simulated::Setup;
use candlepower::exec::{ExecError, Executor, KvLayout, Simulated, StepOutput, StepPlan, Ticket};
use candlepower::ground::results::{RankMemory, Roofs};
use candlepower::ground::{Sampling, VirtualClock, WallClock};
use candlepower::hub::cards;
use candlepower::model::{ModelSpec, StepLimits, WeightType};
use candlepower::parallel::{AllReduce, ShardPlan, Split};
use candlepower::scheduler::{Policy, SchedulerConfig};
use candlepower::workload::Work;

/// Fails every step.
struct Broken;

impl Executor for Broken {
    fn memory(&mut self) -> Result<Vec<RankMemory>, ExecError> {
        Ok(Vec::new())
    }

    fn measure_roofs(&mut self) -> Option<Roofs> {
        None
    }

    fn allocate_kv(&mut self, _layout: &KvLayout) -> Result<(), ExecError> {
        Ok(())
    }

    fn submit(&mut self, _plan: Arc<StepPlan>) -> Result<Ticket, ExecError> {
        Err(ExecError::NoKv)
    }

    fn wait(&mut self, _ticket: Ticket, _output: &mut StepOutput) -> Result<(), ExecError> {
        Err(ExecError::NoKv)
    }
}

fn config() -> SchedulerConfig {
    SchedulerConfig {
        policy: Policy::Mixed,
        max_num_seqs: 8,
        max_num_batched_tokens: 64,
        max_model_len: 32,
        block_size: 16,
        num_blocks: 33,
        prefix_cache: false,
    }
}

/// A card on a clock of its own, with a KV cache of `config`, that runs the smallest model.
fn simulated(config: &SchedulerConfig, clock: Arc<VirtualClock>) -> Simulated {
    let card = cards::find("Qwen2.5-0.5B").unwrap();
    let spec = ModelSpec::from_json(card.config_json, "a card").unwrap();
    let setup = Setup {
        plan: Arc::new(ShardPlan::split(&spec.shape(), Split::from(1)).unwrap()),
        gpu: candlepower::hardware::find("h100-sxm").unwrap(),
        dtype: WeightType::Bf16,
        graphs: true,
        all_reduce: AllReduce::Auto,
        server: None,
        limits: StepLimits {
            rows: 64,
            logit_rows: 8,
        },
    };
    let mut device = Simulated::new(setup, clock).unwrap();
    device
        .allocate_kv(&KvLayout {
            num_blocks: config.num_blocks,
            block_size: config.block_size,
            dtype: DType::BF16,
        })
        .unwrap();
    device
}

fn played(warmup: usize) -> (Recording, Engine, usize) {
    let clock = Arc::new(WallClock::start());
    let mut engine = Engine::new(config(), Box::new(Broken), clock).unwrap();
    let script = Script {
        work: Work::fixed(vec![1, 2, 3], 4),
        load: Load::Closed { concurrency: 2 },
        requests: 5,
        warmup,
        limits: Limits::default(),
        sampling: Sampling::GREEDY,
        end_tokens: Vec::new(),
        seed: 0,
    };
    let mut told = 0;
    let recording = play(&mut engine, &script, &AtomicBool::new(false), &mut || {
        told += 1
    });
    (recording, engine, told)
}

#[test]
fn a_warm_up_that_fails_ends_the_run_before_it_begins() {
    let (recording, engine, told) = played(3);
    let reason = recording.cut_short.unwrap();
    assert!(reason.starts_with("warm-up failed: "), "{reason}");
    assert!(recording.requests.is_empty() && recording.steps.is_empty());
    assert_eq!(told, 0, "requests of the warm-up are nobody's progress");
    assert!(engine.is_idle(), "no request is left behind");
    assert_eq!(engine.scheduler().blocks_used(), 0);
}

#[test]
fn a_step_that_fails_fails_what_was_in_flight() {
    let (recording, engine, told) = played(0);
    assert!(recording.cut_short.is_some());
    assert_eq!((recording.requests.len(), told), (2, 2));
    assert!(
        recording
            .requests
            .iter()
            .all(|r| r.error.is_some() && r.finish.is_none())
    );
    assert!(engine.is_idle());
}
