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

/// Two requests, one token each of ten steps of 0.1 s: 2 request-seconds by stamps and by steps.
#[test]
fn an_engine_that_counts_otherwise_is_found() {
    let stamps: Vec<f64> = (1..=10).map(|i| f64::from(i) * 0.1).collect();
    let request = |id| RequestRecord {
        id,
        prompt_tokens: 1,
        output_tokens: 10,
        arrival: 0.0,
        submitted: Some(0.0),
        admitted: Some(0.0),
        tokens: stamps.clone(),
        finish: Some(FinishReason::Length),
        preemptions: 0,
        error: None,
    };
    let step = |waiting| {
        move |end: &f64| StepRecord {
            start: end - 0.1,
            end: *end,
            running: 2,
            waiting,
            ..StepRecord::default()
        }
    };
    let found = |waiting| {
        let raw = RawRun {
            requests: vec![request(0), request(1)],
            steps: stamps.iter().map(step(waiting)).collect(),
            ..RawRun::default()
        };
        check(&measured(&raw, scenario()).checks, "engine_load")
    };
    assert!(found(0).ok, "{}", found(0).detail);
    assert!(found(0).detail.starts_with("2.000 request-seconds"));
    // One more request in every step than the stamps know of: 3 request-seconds, 2.22 allowed.
    assert!(!found(1).ok, "{}", found(1).detail);
}
