//! The laws inside a run: they hold for a sound record and fail for a broken one.

use candlepower::ground::results::Check;
use candlepower::ground::{ClockSpan, FinishReason, RequestRecord, StepRecord, TelemetrySample};

use super::fixture::{Raw, measured, measured_with, raw, request, scenario};

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
        "stalls",
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
fn requests_out_of_their_order_are_found() {
    let mut raw = raw();
    raw.requests.swap(0, 2);
    let found = check(&measured(&raw, scenario()).checks, "event_order");
    assert!(!found.ok);
    assert_eq!(
        found.detail,
        "request 1: arrives at 0.5 s, and the one before it at 1 s"
    );
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
fn in_step(count: u64, starts: &[f64]) -> Raw {
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
        cached_tokens: None,
        error: None,
    };
    let step = |start: &f64| StepRecord {
        start: *start,
        end: start + 0.1,
        running: count as usize,
        ..StepRecord::default()
    };
    Raw {
        requests: (0..count).map(request).collect(),
        steps: starts.iter().map(step).collect(),
        ..Raw::default()
    }
}

fn starts(first: f64) -> Vec<f64> {
    (0..10).map(|i| first + f64::from(i) * 0.1).collect()
}

/// Both runs after each other.
fn joined(mut first: Raw, second: Raw) -> Raw {
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
    let load = |raw: &Raw| check(&measured(raw, scenario()).checks, "engine_load");
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

/// Twenty steps of 0.1 s, of which one may be longer.
fn even(longer: Option<(usize, f64)>) -> Raw {
    let mut raw = in_step(2, &[starts(0.0), starts(1.0)].concat());
    let mut late = 0.0;
    for (number, step) in raw.steps.iter_mut().enumerate() {
        step.step = number as u64;
        step.decode_tokens = 2;
        step.start += late;
        late += longer
            .filter(|(at, _)| *at == number)
            .map_or(0.0, |(_, by)| by);
        step.end += late;
    }
    raw
}

fn stalls(raw: &Raw) -> Check {
    check(&measured(raw, scenario()).checks, "stalls")
}

#[test]
fn a_step_far_beyond_its_kind_is_a_stall() {
    assert!(stalls(&even(None)).ok);
    let held = stalls(&even(Some((7, 8.0))));
    assert!(!held.ok, "{}", held.detail);
    assert!(
        held.detail
            .starts_with("step 7 took 8.100 s, and 19 others of its kind 0.1000")
    );
    // Ten times the median, and under a second; or over one, and of a kind of its own.
    assert!(stalls(&even(Some((7, 0.85)))).ok);
    let mut other = even(Some((7, 8.0)));
    other.steps[7].prefill_tokens = 4096;
    assert!(stalls(&other).ok);
    // The first of a kind may set up what the others find.
    assert!(stalls(&even(Some((0, 8.0)))).ok);
}

#[test]
fn a_pause_with_requests_in_flight_is_a_stall() {
    let mut raw = even(None);
    for step in &mut raw.steps[12..] {
        step.start += 3.0;
        step.end += 3.0;
    }
    let held = stalls(&raw);
    assert!(
        !held.ok && held.detail.contains("waited 3.000 s for step 12"),
        "{}",
        held.detail
    );
    raw.steps[12].idle_seconds = 3.0;
    assert!(stalls(&raw).ok);
}

#[test]
fn a_watcher_that_did_not_look_is_a_stall() {
    let mut raw = even(None);
    let sample = |i: i32| TelemetrySample {
        time: f64::from(i) * 0.1,
        cpu_percent: 0.0,
        ram_percent: 0.0,
        rss_bytes: 1,
        gpus: Vec::new(),
        others: Vec::new(),
    };
    raw.telemetry = (0..20).map(sample).collect();
    assert!(stalls(&raw).ok);
    for sample in &mut raw.telemetry[9..] {
        sample.time += 2.0;
    }
    let held = stalls(&raw);
    assert!(
        !held.ok && held.detail.contains("no sample was taken for 2.100 s"),
        "{}",
        held.detail
    );
}

#[test]
fn clocks_that_part_are_found() {
    let found = |monotonic, boot, calendar| {
        let span = ClockSpan {
            monotonic,
            boot,
            calendar,
        };
        check(
            &measured_with(&raw(), scenario(), Some(span)).checks,
            "clocks",
        )
    };
    assert!(found(10.0, Some(10.01), 10.3).ok);
    assert!(found(10.0, None, 9.8).ok);
    // An hour, over which a clock may be slewed.
    assert!(found(3600.0, Some(3600.0), 3603.0).ok);
    let slept = found(10.0, Some(70.0), 70.0);
    assert!(
        !slept.ok && slept.detail.contains("suspended for 60.000 s"),
        "{}",
        slept.detail
    );
    for set in [3610.0, -90.0] {
        let set = found(10.0, Some(10.0), set);
        assert!(
            !set.ok && set.detail.contains("time of day was set"),
            "{}",
            set.detail
        );
    }
    // Virtual time has no such clocks.
    let checks = measured(&raw(), scenario()).checks;
    assert!(checks.iter().all(|check| check.name != "clocks"));
}

/// Two steps of a second; requests of an open loop that arrive before, inside and after them.
#[test]
fn an_open_loop_is_held_to_its_schedule() {
    let late = |arrival: f64, submitted: f64| {
        let mut raw = in_step(1, &starts(0.0));
        for (step, start) in raw.steps.iter_mut().zip([0.0, 5.0]) {
            (step.start, step.end) = (start, start + 1.0);
        }
        raw.steps.truncate(2);
        raw.requests = vec![request(0, 1, [arrival, submitted, 8.0], &[9.0])];
        let mut open = scenario();
        open.concurrency = None;
        check(&measured(&raw, open).checks, "arrival_schedule")
    };
    for (arrival, submitted) in [(0.0, 0.0), (0.25, 1.0), (2.0, 2.01), (5.5, 6.2), (7.0, 7.0)] {
        let found = late(arrival, submitted);
        assert!(found.ok, "{arrival}, {submitted}: {}", found.detail);
    }
    for (arrival, submitted, by) in [
        (0.0, 0.9, "0.900"),
        (0.25, 1.5, "0.500"),
        (2.0, 4.0, "2.000"),
    ] {
        let found = late(arrival, submitted);
        assert!(!found.ok && found.detail.contains(by), "{}", found.detail);
    }
}
