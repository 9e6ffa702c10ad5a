//! What profiling costs, and how well a slice of a model tells its whole:
//! `cargo bench --bench profile [-- cost | slice]`.

mod activations;
mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use candlepower::exec::{Executor, Ranks, StepOutput, StepPlan};
use candlepower::ground::recorder::{Cost, Recorder};
use candlepower::ground::results::Kind;
use candlepower::ground::{Clock, Unwatched, WallClock};
use candlepower::model::ModelSpec;
use candlepower::profile::{self, About, Load, Phase, Profile, StepCount, Steps};

const BLOCK_SIZE: usize = 16;
const SLICE_LAYERS: usize = 4;
/// `(phase, sequences, context, rounds)`.
const LOADS: [(Phase, usize, usize, usize); 5] = [
    (Phase::Decode, 1, 132, 40),
    (Phase::Decode, 8, 132, 30),
    (Phase::Decode, 32, 132, 16),
    (Phase::Prefill, 1, 100, 12),
    (Phase::Prefill, 1, 512, 8),
];

fn main() {
    let only = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let spec = steps::card("Qwen2.5-0.5B");
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut whole = steps::load(&spec, 1, threads);
    whole.touch_kv().expect("a cache");
    if wanted("cost") {
        cost(&spec, &mut whole);
    }
    if wanted("slice") {
        let mut sliced = spec.clone();
        sliced.truncate_layers(SLICE_LAYERS);
        let mut slice = steps::load(&sliced, 1, threads);
        slice.touch_kv().expect("a cache");
        slice_tells_the_whole(&spec, &mut whole, &mut slice);
    }
}

/// Steps with timing off, off again and on, in turns: neighbours in time.
fn cost(spec: &ModelSpec, ranks: &mut Ranks) {
    println!("timing of operations: off once more and on, time to that of off (median, quartiles)");
    let clock: Arc<dyn Clock> = Arc::new(WallClock::start());
    for (phase, batch, context, rounds) in LOADS {
        let plan = Arc::new(load(phase, batch, context).plan(BLOCK_SIZE, spec.vocab_size));
        step(ranks, &plan);
        let (mut again, mut on) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let timed = |ranks: &mut Ranks| {
                ranks.start_timelines(&clock).expect("a CPU");
                let time = step(ranks, &plan);
                ranks.take_timelines().expect("a CPU");
                time
            };
            // Each of the three in each place by turns.
            let times = match round % 3 {
                0 => [step(ranks, &plan), step(ranks, &plan), timed(ranks)],
                1 => {
                    let on = timed(ranks);
                    [step(ranks, &plan), step(ranks, &plan), on]
                }
                _ => {
                    let first = step(ranks, &plan);
                    let on = timed(ranks);
                    [first, step(ranks, &plan), on]
                }
            };
            let [off, twice, timed] = times.map(|time| time.as_secs_f64());
            again.push(twice / off);
            on.push(timed / off);
        }
        println!(
            "  {phase} {batch:2} x {context}: off {}, on {}",
            quartiles(&mut again),
            quartiles(&mut on)
        );
    }
    println!(
        "one operation that does nothing: {:.1} ns off, {:.1} ns on",
        empty(false),
        empty(true)
    );
}

/// Nanoseconds that the recorder takes of an operation.
fn empty(is_on: bool) -> f64 {
    const OPERATIONS: u32 = 1_000_000;
    let recorder = Recorder::default();
    if is_on {
        recorder.start_timeline(Arc::new(WallClock::start()), None);
    }
    let start = Instant::now();
    for _ in 0..OPERATIONS {
        let cost = std::hint::black_box(Cost { bytes: 1, flops: 1 });
        let done: Result<(), ()> = recorder.run("nothing", None, cost, || Ok(()));
        done.expect("nothing fails");
    }
    let time = start.elapsed();
    std::hint::black_box((
        recorder.take_total(),
        recorder.take_timeline().unwrap_or_default().len(),
    ));
    time.as_secs_f64() / f64::from(OPERATIONS) * 1e9
}

/// What the slice predicts, beside what the whole takes, in turns: neighbours in time.
fn slice_tells_the_whole(spec: &ModelSpec, whole: &mut Ranks, slice: &mut Ranks) {
    const STEPS: usize = 2;
    println!(
        "{SLICE_LAYERS} of {} layers: predicted to measured step (median, quartiles), and the fastest of each",
        spec.num_hidden_layers
    );
    for (phase, batch, context, rounds) in LOADS {
        let load = load(phase, batch, context);
        let (mut ratios, mut predicted, mut measured) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let part = profiled(spec, slice, SLICE_LAYERS, load, STEPS);
            let all = profiled(spec, whole, spec.num_hidden_layers, load, STEPS);
            let tells = part.whole_model.expect("a slice").step_us;
            ratios.push(tells / all.step_us);
            predicted.push(tells / 1e3);
            measured.push(all.step_us / 1e3);
        }
        println!(
            "  {phase} {batch:2} x {context}: {:8.2} ms predicted, {:8.2} ms measured, ratio {}, of the fastest {:.3}",
            median(&mut predicted),
            median(&mut measured),
            quartiles(&mut ratios),
            predicted[0] / measured[0],
        );
    }
}

fn profiled(
    spec: &ModelSpec,
    ranks: &mut Ranks,
    layers: usize,
    load: Load,
    steps: usize,
) -> Profile {
    let clock: Arc<dyn Clock> = Arc::new(WallClock::start());
    let plan = Arc::new(load.plan(BLOCK_SIZE, spec.vocab_size));
    let steps = Steps {
        count: StepCount::Exactly(steps),
        by_events: false,
    };
    let measured = profile::measure(ranks, &clock, &plan, steps, None, ("step", &Unwatched));
    let about = About {
        kind: Kind::Measured,
        device: "cpu".to_owned(),
        hardware: String::new(),
        model: String::new(),
        layers,
        model_layers: spec.num_hidden_layers,
        threads: 0,
        load,
    };
    profile::profile(&about, &measured.expect("steps"))
}

fn load(phase: Phase, batch: usize, context: usize) -> Load {
    Load {
        phase,
        batch,
        context,
    }
}

fn step(ranks: &mut Ranks, plan: &Arc<StepPlan>) -> Duration {
    let mut output = StepOutput::default();
    let start = Instant::now();
    let ticket = ranks.submit(plan.clone()).expect("a step");
    ranks.wait(ticket, &mut output).expect("a step");
    start.elapsed()
}

/// Sorts the values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median, and the middle half of the values.
fn quartiles(values: &mut [f64]) -> String {
    let median = median(values);
    let quarter = values.len() / 4;
    format!(
        "{median:.3} ({:.3} to {:.3})",
        values[quarter],
        values[values.len() - 1 - quarter]
    )
}
