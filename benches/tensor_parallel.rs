//! One step on two ranks beside the same step on one, the same threads in all, in turns:
//! `cargo bench --bench tensor_parallel [-- CARD [LAYERS]]`.

mod activations;
mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use candlepower::exec::{Executor, Ranks, StepOutput, StepPlan};

const RANKS: usize = 2;
/// `(sequences, rows of each, context of each, rounds)`.
const LOADS: [(usize, usize, usize, usize); 5] = [
    (1, 1, 132, 40),
    (8, 1, 132, 40),
    (32, 1, 132, 20),
    (8, 100, 100, 8),
    (1, 512, 512, 8),
];

fn main() {
    let (name, spec) = steps::model_of_arguments();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut one = steps::load(&spec, 1, threads);
    let mut split = steps::load(&spec, RANKS, threads);
    println!(
        "{name}, {threads} threads in all: one rank, {RANKS} ranks, throughput of these to that"
    );
    for (sequences, rows, context, rounds) in LOADS {
        let plan = Arc::new(steps::plan(&spec, sequences, rows, context));
        let mut output = StepOutput::default();
        step(&mut one, &plan, &mut output);
        step(&mut split, &plan, &mut output);
        let (mut alone, mut shared, mut ratios, mut exchanging) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            // Neighbours in time: what slows one slows the other.
            let first = step(&mut one, &plan, &mut output);
            let second = step(&mut split, &plan, &mut output);
            ratios.push(first.as_secs_f64() / second.as_secs_f64());
            exchanging.push(output.traffic.time.as_secs_f64() / second.as_secs_f64());
            alone.push(first.as_secs_f64());
            shared.push(second.as_secs_f64());
        }
        println!(
            "  {sequences:3} x {rows:3} rows, context {context}: {:8.2} ms {:8.2} ms  ratio {:.3} ({:.3} of the fastest), {:4.1} % of it in exchanges, {:.1} KB a step",
            1e3 * median(&mut alone),
            1e3 * median(&mut shared),
            median(&mut ratios),
            alone[0] / shared[0],
            100.0 * median(&mut exchanging),
            output.traffic.bytes as f64 / 1e3,
        );
    }
}

fn step(ranks: &mut Ranks, plan: &Arc<StepPlan>, output: &mut StepOutput) -> Duration {
    let start = Instant::now();
    let ticket = ranks.submit(plan.clone()).expect("a step");
    ranks.wait(ticket, output).expect("a step");
    start.elapsed()
}

/// Sorts the values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
