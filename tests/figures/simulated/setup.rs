//! Simulations by a few words, played without the command line.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candlepower::bench::{Limits, Load, Recording, Script, play};
use candlepower::exec::Server;
use candlepower::fit::KvType;
use candlepower::ground::Sampling;
use candlepower::ground::results::{Run, Scenario};
use candlepower::hardware::{self, Gpu};
use candlepower::hub::cards;
use candlepower::metrics::{MeasureInput, measure};
use candlepower::model::ModelSpec;
use candlepower::parallel::{AllReduce, Split};
use candlepower::scheduler::{Policy, SchedulerConfig};
use candlepower::session::Simulation;
use candlepower::shape::ModelShape;
use candlepower::shape::reading::{Files, Named, read};
use candlepower::text::TokenPool;
use candlepower::workload::Work;
use serde_json::Value;

/// The shapes of a card in `models/`.
pub fn card(name: &str) -> ModelSpec {
    ModelSpec::from_json(cards::find(name).unwrap().config_json, name).unwrap()
}

pub fn gpu(name: &str) -> Gpu {
    hardware::find(name).unwrap()
}

/// A configuration of `tests/fixtures/calibration/configs`.
pub fn config(name: &str) -> Value {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/calibration/configs");
    let text = fs::read_to_string(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&text).unwrap()
}

/// What is read of it without the engine.
pub fn shape(config: &Value) -> ModelShape {
    let text = config.to_string();
    let name = "config.json";
    let files = Files {
        config: Named { text: &text, name },
        beside: None,
        headers: None,
    };
    read(&files).unwrap()
}

/// With the defaults of the command line.
pub fn simulation(spec: ModelSpec, gpu: Gpu, tp: usize, server: Option<Server>) -> Simulation {
    simulation_of(spec.shape(), gpu, tp, server)
}

/// The same of any model.
pub fn simulation_of(shape: ModelShape, gpu: Gpu, tp: usize, server: Option<Server>) -> Simulation {
    Simulation {
        model: "a model".to_owned(),
        shape,
        gpu,
        split: Split::from(tp),
        server,
        graphs: true,
        all_reduce: AllReduce::Auto,
        dtype: None,
        kv_type: KvType::Auto,
        kv_bytes: None,
        utilization: 0.9,
        scheduler: SchedulerConfig {
            policy: Policy::Mixed,
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            max_model_len: 701,
            block_size: 16,
            num_blocks: 0,
            prefix_cache: false,
        },
    }
}

/// What is asked of it.
#[derive(Clone)]
pub struct Asked {
    pub load: Load,
    pub requests: usize,
    pub input_len: usize,
    pub output_len: usize,
}

impl Asked {
    /// One of the report's loads.
    pub fn report(concurrency: usize, requests: usize) -> Self {
        Self {
            load: Load::Closed { concurrency },
            requests,
            input_len: 100,
            output_len: 601,
        }
    }

    pub fn script(&self) -> Script {
        Script {
            work: Work::synthetic(
                self.input_len,
                self.output_len,
                TokenPool::below(32_000).unwrap(),
            ),
            load: self.load.clone(),
            requests: self.requests,
            warmup: 0,
            limits: Limits::default(),
            sampling: Sampling::GREEDY,
            end_tokens: Vec::new(),
            seed: 0,
        }
    }
}

pub fn record(simulation: &Simulation, asked: &Asked) -> Recording {
    let mut started = simulation.start().unwrap_or_else(|e| panic!("{e}"));
    let never = AtomicBool::new(false);
    let recording = play(&mut started.engine, &asked.script(), &never, &mut || ());
    assert_eq!(recording.cut_short, None);
    recording
}

pub fn run(simulation: &Simulation, asked: &Asked) -> Run {
    measured(&record(simulation, asked), asked.requests)
}

pub fn measured(recording: &Recording, requests: usize) -> Run {
    let run = measure(&MeasureInput {
        requests: &recording.requests,
        steps: &recording.steps,
        telemetry: &[],
        experts: &recording.experts,
        scenario: Scenario::default(),
        model: "a model",
        prompt: "",
        timestamp: "",
        capacity: requests,
        gpus: &[],
        watched: &[],
        roofs: None,
        clocks: recording.clocks,
    });
    assert_eq!(run.metrics.failed_requests, Some(0));
    run
}

/// Milliseconds from one token of a request to the next, averaged over its whole answer.
pub fn ms_per_token(run: &Run) -> f64 {
    1e3 / run.metrics.output_tokens_per_sec.unwrap()
}
