//! Pauses on a real clock: those in which the engine holds nothing are nobody's load.

use candlepower::bench::Load;
use candlepower::ground::results::Run;
use candlepower::workload::{Arrivals, Dataset, Work, WorkItem};

use super::paced::played;

fn all_hold(run: &Run) {
    assert!(run.checks.iter().all(|check| check.ok), "{:?}", run.checks);
    assert!(run.checks.iter().any(|check| check.name == "engine_load"));
}

fn trace(arrivals: &[f64]) -> Option<Work> {
    let item = |&arrival| WorkItem {
        prompt: [1; 10].into(),
        output_len: 3,
        arrival: Some(arrival),
    };
    Some(Work::Dataset(
        Dataset::from_iter(arrivals.iter().map(item)).into(),
    ))
}

#[test]
fn an_open_loop_with_pauses_holds() {
    let load = Load::Open(Arrivals::new(8.0, 1.0).unwrap());
    all_hold(&played(load, None, 8, &[]));
}

#[test]
fn a_trace_with_gaps_holds() {
    let even: Vec<f64> = (0..6).map(|i| f64::from(i) * 0.05).collect();
    all_hold(&played(Load::Trace, trace(&even), 6, &[]));
    all_hold(&played(Load::Trace, trace(&[0.0, 0.0, 1.5, 1.51]), 4, &[]));
}

#[test]
fn a_closed_loop_holds_as_before() {
    for concurrency in [1, 4] {
        all_hold(&played(Load::Closed { concurrency }, None, 12, &[]));
    }
}
