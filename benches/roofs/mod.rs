//! What every bench of kernels stands beside: this host's roofs, measured in the same run.
//!
//! Criterion's line has the median. The line under it has the best sample, for a roof is the best of
//! its tries as well, and what share of each roof that is.

#![allow(dead_code, reason = "each bench uses its own part")]

#[path = "../activations/mod.rs"]
pub mod activations;
mod traffic;

use std::cell::{Cell, LazyCell};
use std::time::{Duration, Instant};

use candle_core::Result;
use candlepower::ground::recorder::Cost;
use candlepower::ops::cpu::roof;
use candlepower::ops::cpu::workers::{self, Workers};
use criterion::{Criterion, SamplingMode};

pub use traffic::{Place, Traffic};

pub const GIGA: f64 = 1e9;
const PERCENT: f64 = 100.0;
const MICRO: f64 = 1e-6;
/// For all samples of a case, and for the calls before them.
const MEASURE: Duration = Duration::from_millis(60);
const WARM_UP: Duration = Duration::from_millis(10);
/// Short samples fall between what else the host runs; Criterion wants ten of the longest.
const MIN_SAMPLES: f64 = 10.0;
const MAX_SAMPLES: f64 = 50.0;
/// Of the bootstrap behind Criterion's intervals: few, for there are many cases.
const RESAMPLES: usize = 2_000;
/// Roofs are looked at again after this long: others may have used the host when they last were.
const ROOFS_AGE: Duration = Duration::from_secs(4);
/// Operands taken in turn hold at least this where they are to come from memory: four times the cache.
const MEMORY_BYTES: u64 = 128 << 20;
const MAX_SETS: u64 = 4096;

/// One kernel at one size.
pub struct Case {
    pub kernel: &'static str,
    pub name: String,
    pub cost: Cost,
    pub traffic: Traffic,
    pub place: Place,
}

impl Case {
    /// How many sets of operands to take in turn, so that they come from `place`.
    pub fn sets(&self) -> usize {
        match self.place {
            Place::Cache => 1,
            Place::Memory => MEMORY_BYTES.div_ceil(self.cost.bytes).min(MAX_SETS) as usize,
        }
    }
}

pub struct Beside {
    criterion: Criterion,
    moved: traffic::Roofs,
    /// Bytes a second read from memory, and FLOP/s: the best yet.
    read: f64,
    peak: f64,
    looked: Instant,
}

/// Calls `measure` with a rank's workers on all cores, and the roofs that they reach.
pub fn beside(measure: impl FnOnce(&mut Beside)) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut all = Workers::new(threads, true).expect("threads start");
    all.install(|| {
        let mut beside = Beside {
            criterion: Criterion::default().configure_from_args(),
            moved: traffic::Roofs::default(),
            read: 0.0,
            peak: 0.0,
            looked: Instant::now(),
        };
        beside.look();
        measure(&mut beside);
        beside.criterion.final_summary();
    });
}

impl Beside {
    fn look(&mut self) {
        self.read = self.read.max(roof::read_bandwidth().unwrap());
        self.peak = self
            .peak
            .max(roof::multiply_add_peak(activations::cpu().activations));
        self.looked = Instant::now();
        println!(
            "{} threads: {:.1} GB/s read from memory, {:.0} GFLOP/s multiply-add",
            workers::threads(),
            self.read / GIGA,
            self.peak / GIGA
        );
    }

    /// Times `call` on what `set_up` made; the number it is given counts the calls. Nothing is made
    /// where Criterion's filter leaves the case out.
    pub fn kernel<S>(
        &mut self,
        case: &Case,
        set_up: impl FnOnce() -> S,
        call: impl Fn(&S, usize) -> Result<()>,
    ) {
        let state = LazyCell::new(set_up);
        let (turn, best) = (Cell::new(0), Cell::new(f64::INFINITY));
        let least = (case.cost.bytes as f64 / self.read).max(case.cost.flops as f64 / self.peak);
        let samples = (MEASURE.as_secs_f64() / least).clamp(MIN_SAMPLES, MAX_SAMPLES);
        let mut group = self.criterion.benchmark_group(case.kernel);
        group
            .sample_size(samples as usize)
            .sampling_mode(SamplingMode::Flat)
            .measurement_time(MEASURE)
            .warm_up_time(WARM_UP)
            .nresamples(RESAMPLES);
        group.bench_function(&case.name, |bencher| {
            let state = LazyCell::force(&state);
            bencher.iter_custom(|calls| {
                let start = Instant::now();
                for _ in 0..calls {
                    call(state, turn.get()).expect("the kernel runs");
                    turn.set(turn.get() + 1);
                }
                let elapsed = start.elapsed();
                best.set(best.get().min(elapsed.as_secs_f64() / calls as f64));
                elapsed
            });
        });
        group.finish();
        if turn.get() > 0 {
            if self.looked.elapsed() > ROOFS_AGE {
                self.look();
            }
            self.report(case, best.get());
        }
    }

    fn report(&mut self, case: &Case, seconds: f64) {
        let (bytes, flops) = (case.cost.bytes as f64, case.cost.flops as f64);
        let bandwidth = match (case.traffic, case.place) {
            (Traffic::Read, Place::Memory) => self.read,
            _ => self.moved.get(case.traffic, case.place, case.cost.bytes),
        };
        let computed = match case.cost.flops {
            0 => String::new(),
            _ => format!(
                "; {:.1} GFLOP/s, {:.0} % of multiply-add",
                flops / seconds / GIGA,
                PERCENT * flops / seconds / self.peak
            ),
        };
        println!(
            "    {}, {}: {:.1} us; {:.1} GB/s, {:.0} % of {} at {:.1}{computed}",
            case.kernel,
            case.name,
            seconds / MICRO,
            bytes / seconds / GIGA,
            PERCENT * bytes / seconds / bandwidth,
            traffic::describe(case.traffic, case.place),
            bandwidth / GIGA,
        );
    }
}
