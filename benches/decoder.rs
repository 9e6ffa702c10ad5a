//! One step of a whole decoder, operation by operation, beside this host's roofs:
//! `cargo bench --bench decoder [-- CARD [LAYERS]]`.

mod activations;
mod roofs;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candlepower::exec::{Executor, Ranks, StepOutput, StepPlan};
use candlepower::ground::WallClock;
use roofs::GIGA;

/// `(sequences, rows of each, context of each, steps)`.
const LOADS: [(usize, usize, usize, usize); 6] = [
    (1, 1, 132, 24),
    (8, 1, 132, 16),
    (32, 1, 132, 10),
    (8, 1, 2048, 6),
    (1, 100, 100, 5),
    (1, 512, 512, 3),
];

fn main() {
    let (name, spec) = steps::model_of_arguments();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut ranks = steps::load(&spec, 1, threads);
    for (sequences, rows, context, steps) in LOADS {
        let plan = steps::plan(&spec, sequences, rows, context);
        let mut output = StepOutput::default();
        ranks
            .with_first(|rank| rank.step(&plan, &mut output))
            .expect("a warm-up step");
        let mut walls: Vec<Duration> = (0..steps)
            .map(|_| {
                ranks.with_first(|rank| {
                    let start = Instant::now();
                    rank.step(&plan, &mut output).expect("a step");
                    start.elapsed()
                })
            })
            .collect();
        walls.sort_unstable();
        let wall = walls[steps / 2].as_secs_f64();
        let roofs = ranks.measure_roofs().expect("a CPU's roofs");
        let (bandwidth, peak) = (roofs.read_bytes_per_s, roofs.flop_per_s);
        println!(
            "\n{name}: {sequences} x {rows} rows, context {context}: {:.2} ms, {:.1} tok/s; {:.1} GB/s ({:.0} %), {:.0} GFLOP/s ({:.0} %) of {:.1} GB/s, {:.0} GFLOP/s",
            wall * 1e3,
            (sequences * rows) as f64 / wall,
            output.cost.bytes as f64 / wall / GIGA,
            100.0 * output.cost.bytes as f64 / wall / bandwidth,
            output.cost.flops as f64 / wall / GIGA,
            100.0 * output.cost.flops as f64 / wall / peak,
            bandwidth / GIGA,
            peak / GIGA,
        );
        by_operation(&mut ranks, &plan, steps, bandwidth, peak);
    }
}

fn by_operation(ranks: &mut Ranks, plan: &StepPlan, steps: usize, bandwidth: f64, peak: f64) {
    let mut output = StepOutput::default();
    let records = ranks.with_first(|rank| {
        rank.start_timeline(Arc::new(WallClock::start()));
        for _ in 0..steps {
            rank.step(plan, &mut output).expect("a step");
        }
        rank.take_timeline().expect("the CPU times its operations")
    });
    let mut operations: BTreeMap<&str, (Vec<Duration>, u64, u64)> = BTreeMap::new();
    for record in &records {
        let (times, bytes, flops) = operations.entry(record.name).or_default();
        times.push(record.time);
        *bytes += record.cost.bytes;
        *flops += record.cost.flops;
    }
    let total: f64 = records.iter().map(|r| r.time.as_secs_f64()).sum();
    for (name, (mut times, bytes, flops)) in operations {
        times.sort_unstable();
        let time: f64 = times.iter().map(Duration::as_secs_f64).sum();
        println!(
            "  {name:9} {:5} calls  median {:9.1} us  {:5.1} %   {:5.1} GB/s {:3.0} %   {:6.1} GFLOP/s {:3.0} %",
            times.len() / steps,
            times[times.len() / 2].as_secs_f64() * 1e6,
            100.0 * time / total,
            bytes as f64 / time / GIGA,
            100.0 * bytes as f64 / time / bandwidth,
            flops as f64 / time / GIGA,
            100.0 * flops as f64 / time / peak,
        );
    }
}
