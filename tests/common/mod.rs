//! What the numeric tests share: models from files, engines played to greedy tokens, logits of a bare rank.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod f64_model;
pub mod golden;
pub mod probe;
pub mod random;
pub mod random_model;
pub mod slice;
pub mod stored;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Result};
use candlepower::engine::Engine;
use candlepower::exec::graphs::GraphLimits;
use candlepower::exec::warm_up::WarmUp;
use candlepower::exec::{Executor, KvLayout, Rank, Ranks};
use candlepower::ground::{EventKind, Request, RequestId, Sampling, StopRule, WallClock};
use candlepower::hub::weights_in;
use candlepower::model::{Checkpoint, Decoder, ModelSpec, Share, StepLimits, WeightSource};
use candlepower::ops::{self, cpu::Cpu, reference::Reference};
use candlepower::parallel::{Collective, ShardPlan, Split};
use candlepower::scheduler::{Policy, SchedulerConfig};

/// The dense checkpoints of `tests/fixtures`.
pub const DENSE: [&str; 5] = [
    "qwen2-tiny",
    "qwen2-tied-tiny",
    "llama-tiny",
    "llama-tied-tiny",
    "qwen3-tiny",
];

/// Those with experts, with weights in FP8, and with both.
pub const EXPERTS_AND_FP8: [&str; 3] = ["qwen3-moe-tiny", "qwen3-fp8-tiny", "qwen3-moe-fp8-tiny"];

pub const FIXTURES: [&str; 8] = [
    "qwen2-tiny",
    "qwen2-tied-tiny",
    "llama-tiny",
    "llama-tied-tiny",
    "qwen3-tiny",
    "qwen3-moe-tiny",
    "qwen3-fp8-tiny",
    "qwen3-moe-fp8-tiny",
];

/// No cache of these tests comes near it.
const MACHINE_MEMORY: u64 = 1 << 30;

pub fn fixture(name: &str) -> PathBuf {
    // Cargo names it again when tests run: a copy of the clone has its own.
    let root = std::env::var("CARGO_MANIFEST_DIR");
    let root = root.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&root).join("tests/fixtures").join(name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Cpu,
    Reference,
}

impl Backend {
    pub fn kernels(self) -> Box<dyn ops::Backend> {
        match self {
            Self::Cpu => Box::new(Cpu::F32),
            Self::Reference => Box::new(Reference),
        }
    }
}

/// What a rank works with.
pub type Connected = (Box<dyn ops::Backend>, Box<dyn Collective>);

/// A checkpoint directory, opened.
pub struct Model {
    pub spec: ModelSpec,
    pub source: Arc<dyn WeightSource>,
}

impl Model {
    pub fn open(dir: &Path) -> Self {
        let file = dir.join("config.json");
        let text = std::fs::read_to_string(&file).unwrap();
        let spec = ModelSpec::from_json(&text, &file.display().to_string()).unwrap();
        spec.check_runnable("config.json").unwrap();
        let checkpoint = Checkpoint::open(&weights_in(dir).unwrap(), &spec).unwrap();
        assert_eq!(checkpoint.warnings, Vec::<String>::new());
        Self {
            spec,
            source: Arc::new(checkpoint),
        }
    }

    pub fn load(
        &self,
        backend: Backend,
        split: impl Into<Split>,
        threads: usize,
        limits: StepLimits,
    ) -> Ranks {
        let connect = move |collective| Ok((backend.kernels(), collective));
        self.load_on(connect, split, threads, limits)
    }

    /// On whatever kernels and collective `connect` makes of a rank's view of the threads around it.
    pub fn load_on(
        &self,
        connect: impl Fn(Box<dyn Collective>) -> Result<Connected> + Send + Sync + 'static,
        split: impl Into<Split>,
        threads: usize,
        limits: StepLimits,
    ) -> Ranks {
        let split = split.into();
        let plan = Arc::new(ShardPlan::split(&self.spec.shape(), split).unwrap());
        let elements = plan.kv_elements_per_token();
        let (spec, source) = (self.spec.clone(), self.source.clone());
        let build = move |collective: Box<dyn Collective>| {
            let (kernels, collective) = connect(collective)?;
            let share = Share {
                spec: &spec,
                plan: &plan,
                rank: collective.rank(),
            };
            let decoder = Decoder::load(
                share,
                source.as_ref(),
                kernels.as_ref(),
                limits,
                &mut |_| (),
            )?;
            Ok(Rank::new(kernels, collective, decoder))
        };
        Ranks::load(split.tp, threads, MACHINE_MEMORY, elements, Arc::new(build)).unwrap()
    }
}

/// How an engine is built.
#[derive(Debug, Clone)]
pub struct Setup {
    pub backend: Backend,
    pub kv: DType,
    pub tp: usize,
    pub expert_parallel: bool,
    pub threads: usize,
    pub scheduler: SchedulerConfig,
    /// Decode steps that a device keeps as graphs.
    pub graphs: Option<GraphLimits>,
}

impl Default for Setup {
    /// Room for every golden prompt at once.
    fn default() -> Self {
        Self {
            backend: Backend::Cpu,
            kv: DType::F32,
            tp: 1,
            expert_parallel: false,
            threads: 1,
            scheduler: SchedulerConfig {
                policy: Policy::Mixed,
                max_num_seqs: 16,
                max_num_batched_tokens: 2048,
                max_model_len: 512,
                block_size: 16,
                num_blocks: 129,
                prefix_cache: false,
            },
            graphs: None,
        }
    }
}

impl Setup {
    pub fn limits(&self) -> StepLimits {
        let config = &self.scheduler;
        StepLimits {
            rows: config.max_num_batched_tokens,
            logit_rows: config.max_num_seqs.min(config.max_num_batched_tokens),
        }
    }

    pub fn split(&self) -> Split {
        Split {
            tp: self.tp,
            expert_parallel: self.expert_parallel,
        }
    }
}

/// One request of a played load.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Engine steps before it is submitted.
    pub step: usize,
    pub prompt: Vec<u32>,
    pub max_tokens: usize,
}

pub struct Session {
    pub engine: Engine,
    next: RequestId,
}

impl Session {
    pub fn start(model: &Model, setup: &Setup) -> Self {
        let executor = model.load(setup.backend, setup.split(), setup.threads, setup.limits());
        Self::around(executor, setup)
    }

    pub fn around(mut executor: Ranks, setup: &Setup) -> Self {
        let config = setup.scheduler.clone();
        let layout = KvLayout {
            num_blocks: config.num_blocks,
            block_size: config.block_size,
            dtype: setup.kv,
        };
        if let Some(limits) = setup.graphs {
            let warm_up = WarmUp {
                rows: config.max_num_batched_tokens,
                sequences: limits.rows,
                max_model_len: config.max_model_len,
                block_size: config.block_size,
            };
            let kv = setup.kv;
            let warm = move |rank: &mut Rank| rank.warm_up(&warm_up, kv, Some(limits));
            executor.together(warm).unwrap();
        }
        executor.allocate_kv(&layout).unwrap();
        if let Some(limits) = setup.graphs {
            let capture = move |rank: &mut Rank| rank.capture(&limits, usize::MAX, || false);
            executor.together(capture).unwrap();
        }
        let clock = Arc::new(WallClock::start());
        Self {
            engine: Engine::new(config, Box::new(executor), clock).unwrap(),
            next: 0,
        }
    }

    /// Greedy continuations of prompts that arrive together.
    pub fn together(&mut self, prompts: &[Vec<u32>], max_tokens: usize) -> Vec<Vec<u32>> {
        let arrivals = prompts.iter().map(|prompt| Arrival {
            step: 0,
            prompt: prompt.clone(),
            max_tokens,
        });
        self.play(&arrivals.collect::<Vec<_>>())
    }

    /// Greedy continuations of prompts that arrive each after the one before has finished.
    pub fn alone(&mut self, prompts: &[Vec<u32>], max_tokens: usize) -> Vec<Vec<u32>> {
        let one = |prompt| self.together(std::slice::from_ref(prompt), max_tokens);
        prompts.iter().flat_map(one).collect()
    }

    /// Runs to the end and checks the scheduler after every step. Continuations in the order of `arrivals`.
    pub fn play(&mut self, arrivals: &[Arrival]) -> Vec<Vec<u32>> {
        let first = self.next;
        self.next += arrivals.len() as RequestId;
        let mut outputs: BTreeMap<RequestId, Vec<u32>> = BTreeMap::new();
        let mut waiting: Vec<(RequestId, &Arrival)> = (first..).zip(arrivals).collect();
        let mut events = Vec::new();
        let mut step = 0;
        while !(waiting.is_empty() && self.engine.is_idle()) {
            waiting.retain(|(id, arrival)| {
                let due = arrival.step <= step;
                if due {
                    self.engine.submit(greedy(*id, arrival), &mut events);
                }
                !due
            });
            if !self.engine.is_idle() {
                self.engine.step(&mut events).unwrap();
                self.engine.scheduler().check_integrity().unwrap();
            }
            for event in events.drain(..) {
                match event.kind {
                    EventKind::Token { token, .. } => {
                        outputs.entry(event.request).or_default().push(token);
                    }
                    EventKind::Failed(reason) => panic!("request {}: {reason}", event.request),
                    _ => {}
                }
            }
            step += 1;
        }
        assert_eq!(outputs.len(), arrivals.len(), "requests were lost");
        assert_eq!(self.engine.scheduler().blocks_used(), 0, "blocks leaked");
        outputs.into_values().collect()
    }
}

fn greedy(id: RequestId, arrival: &Arrival) -> Request {
    Request {
        id,
        prompt: arrival.prompt.as_slice().into(),
        stop: StopRule {
            max_tokens: arrival.max_tokens,
            end_tokens: Arc::default(),
        },
        sampling: Sampling::GREEDY,
        arrival: Duration::ZERO,
    }
}

/// The largest difference, relative to the largest of `expected`, or to 1 where that is smaller.
pub fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    let size = expected.iter().fold(1.0f32, |size, v| size.max(v.abs()));
    largest_difference(found, expected) / size
}

/// The largest difference; panics on a number that is not finite.
pub fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0, |worst, (f, e)| {
        assert!(f.is_finite() && e.is_finite(), "{f} against {e}");
        worst.max((f - e).abs())
    })
}
