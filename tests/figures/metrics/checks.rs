//! The laws inside a run: they hold for a sound record and fail for a broken one.

use candlepower::ground::results::Check;
use candlepower::ground::{FinishReason, RequestRecord, StepRecord};
use candlepower::report::RawRun;

use super::fixture::{measured, raw, scenario};

fn check(checks: &[Check], name: &str) -> Check {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check {name}")).clone()
}

#[test]
fn all_hold_for_a_sound_run() {
    let checks = measured(&raw(), scenario()).checks;
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    let expected = [
        "littles_law",
        "e2el_identity",
        "event_order",
        "concurrency_limit",
    ];
    assert_eq!(names, expected);
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let little = check(&checks, "littles_law").detail;
    assert!(little.starts_with("1.525000 in flight"), "{little}");
}

#[test]
fn time_that_runs_backwards_is_found() {
    let mut raw = raw();
    raw.requests[1].admitted = Some(1.75);
    let found = check(&measured(&raw, scenario()).checks, "event_order");
    assert!(!found.ok);
    assert_eq!(found.detail, "request 1: 1.5 s follows 1.75 s");
}

#[test]
fn tokens_without_a_stamp_are_found() {
    let mut raw = raw();
    raw.requests[0].output_tokens = 5;
    let found = check(&measured(&raw, scenario()).checks, "event_order");
    assert!(!found.ok && found.detail.contains("5 output tokens, but 4"));
}

#[test]
fn more_in_flight_than_asked_for_is_found() {
    let mut narrow = scenario();
    narrow.concurrency = Some(2);
    let found = check(&measured(&raw(), narrow).checks, "concurrency_limit");
    assert!(!found.ok);
    assert_eq!(found.detail, "at most 3 in flight, 2 asked for");
}

/// A stamp that is no number breaks the sum.
#[test]
fn a_broken_identity_is_found() {
    let mut raw = raw();
    raw.requests[1].tokens[0] = f64::NAN;
    let found = check(&measured(&raw, scenario()).checks, "e2el_identity");
    assert!(!found.ok && found.detail.starts_with("request 1: E2EL 2 s, but"));
}

/// `count` requests, one token each in steps of 0.1 s that begin at `starts`.
fn in_step(count: u64, starts: &[f64]) -> RawRun {
    let stamps: Vec<f64> = starts.iter().map(|start| start + 0.1).collect();
    let request = |id| RequestRecord {
        id,
        prompt_tokens: 1,
        output_tokens: stamps.len(),
        arrival: starts[0],
        submitted: Some(starts[0]),
        admitted: Some(starts[0]),
        tokens: stamps.clone(),
        finish: Some(FinishReason::Length),
        preemptions: 0,
        error: None,
    };
    let step = |start: &f64| StepRecord {
        start: *start,
        end: start + 0.1,
        running: count as usize,
        ..StepRecord::default()
    };
    RawRun {
        requests: (0..count).map(request).collect(),
        steps: starts.iter().map(step).collect(),
        ..RawRun::default()
    }
}

fn starts(first: f64) -> Vec<f64> {
    (0..10).map(|i| first + f64::from(i) * 0.1).collect()
}

/// Both runs after each other.
fn joined(mut first: RawRun, second: RawRun) -> RawRun {
    first.requests.extend(second.requests);
    first.steps.extend(second.steps);
    first
}

/// Two requests, one token each of ten steps of 0.1 s: 2 request-seconds by stamps and by steps.
#[test]
fn an_engine_that_counts_otherwise_is_found() {
    let found = |waiting| {
        let mut raw = in_step(2, &starts(0.0));
        for step in &mut raw.steps {
            step.waiting = waiting;
        }
        check(&measured(&raw, scenario()).checks, "engine_load")
    };
    assert!(found(0).ok, "{}", found(0).detail);
    assert!(found(0).detail.starts_with("2.000 request-seconds"));
    // One more request in every step than the stamps know of: 3 request-seconds, 2.22 allowed.
    assert!(!found(1).ok, "{}", found(1).detail);
}

/// Two runs of a second, and a pause of a minute between them.
#[test]
fn a_pause_counts_unless_the_engine_held_no_request() {
    let load = |raw: &RawRun| check(&measured(raw, scenario()).checks, "engine_load");
    let mut apart = joined(in_step(2, &starts(0.0)), in_step(2, &starts(61.0)));
    // The engine did not say that it was idle, and no request was there: one of the two is wrong.
    assert!(!load(&apart).ok, "{}", load(&apart).detail);
    apart.steps[10].idle_seconds = 60.0;
    assert!(load(&apart).ok, "{}", load(&apart).detail);
    assert!(load(&apart).detail.starts_with("4.000 request-seconds"));
    // Half of the pause was idle, and the rest nobody's.
    apart.steps[10].idle_seconds = 30.0;
    assert!(!load(&apart).ok, "{}", load(&apart).detail);

    // The same pause with requests in flight is theirs,
    let mut through = in_step(2, &[starts(0.0), starts(61.0)].concat());
    assert!(load(&through).ok, "{}", load(&through).detail);
    assert!(load(&through).detail.starts_with("124.000 request-seconds"));
    // and no engine may call it idle.
    through.steps[10].idle_seconds = 60.0;
    assert!(!load(&through).ok, "{}", load(&through).detail);
}

/// What was idle before the first step is before the run.
#[test]
fn a_run_begins_with_its_first_step() {
    let mut raw = in_step(3, &starts(5.0));
    raw.steps[0].idle_seconds = 5.0;
    let found = check(&measured(&raw, scenario()).checks, "engine_load");
    assert!(found.ok && found.detail.starts_with("3.000"), "{found:?}");
}
