//! Loads that leave the engine without a request for a while: what they measure is sound, and says so.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

use candlepower::bench::{Load, Script, play};
use candlepower::ground::StepRecord;
use candlepower::ground::results::Run;
use candlepower::workload::{Arrivals, Dataset, Work, WorkItem};

use super::setup::{Asked, card, gpu, measured, simulation};

fn item(arrival: f64, output_len: usize) -> WorkItem {
    WorkItem {
        prompt: [1; 32].into(),
        output_len,
        arrival: Some(arrival),
    }
}

/// Plays the requests of a dataset at their times, or `asked`.
fn played(load: Load, items: Option<Vec<WorkItem>>, requests: usize) -> (Run, Vec<StepRecord>) {
    let simulation = simulation(card("Qwen2.5-0.5B"), gpu("h100-sxm"), 1, None);
    let asked = Asked {
        load,
        requests,
        input_len: 100,
        output_len: 64,
    };
    let mut script = asked.script();
    script.warmup = 2;
    if let Some(items) = items {
        script.work = Work::Dataset(Dataset::from_iter(items).into());
    }
    let steps = |script: &Script| {
        let mut engine = simulation.start().unwrap().engine;
        play(&mut engine, script, &AtomicBool::new(false), &mut || ())
    };
    let recording = steps(&script);
    (
        measured(&recording, requests),
        recording.steps.iter().map(Cow::into_owned).collect(),
    )
}

fn all_hold(run: &Run) {
    assert!(run.checks.iter().all(|check| check.ok), "{:?}", run.checks);
    assert!(run.checks.iter().any(|check| check.name == "engine_load"));
}

fn idle(steps: &[StepRecord]) -> f64 {
    steps.iter().map(|step| step.idle_seconds).sum()
}

#[test]
fn an_open_loop_with_pauses_holds() {
    for (rate, burstiness) in [(1.0, 1.0), (20.0, 0.1), (0.01, 4.0)] {
        let load = Load::Open(Arrivals::new(rate, burstiness).unwrap());
        let (run, steps) = played(load, None, 10);
        all_hold(&run);
        let duration = run.metrics.total_duration.unwrap();
        assert!(
            idle(&steps) > 0.5 * duration,
            "{} of {duration}",
            idle(&steps)
        );
    }
}

#[test]
fn a_trace_with_a_gap_of_minutes_holds() {
    let arrivals = [0.0, 0.0, 0.5, 600.0, 600.001, 7200.0];
    let items = arrivals.map(|arrival| item(arrival, 40)).to_vec();
    let (run, steps) = played(Load::Trace, Some(items), arrivals.len());
    all_hold(&run);
    assert_eq!(run.metrics.successful_requests, Some(6));
    let pauses: Vec<f64> = steps
        .iter()
        .map(|s| s.idle_seconds)
        .filter(|&s| s > 0.0)
        .collect();
    assert_eq!(pauses.len(), 3, "{pauses:?}");
    assert!(pauses[1] > 599.0 && pauses[2] > 6599.0, "{pauses:?}");
}

/// A request that runs through the arrivals of others leaves no pause.
#[test]
fn a_busy_engine_has_no_pause() {
    let mut items = vec![item(0.0, 600)];
    items.extend((1..20).map(|i| item(f64::from(i) * 0.01, 2)));
    let (run, steps) = played(Load::Trace, Some(items), 20);
    all_hold(&run);
    assert_eq!(idle(&steps), 0.0);

    let (run, steps) = played(Load::Closed { concurrency: 4 }, None, 24);
    all_hold(&run);
    assert_eq!(idle(&steps), 0.0);
}
