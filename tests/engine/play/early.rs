//! What ends before all is played: runs by their time, requests that are given up or late, queues that keep growing.
//! On a virtual clock: what is due is known to the step.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use candlepower::bench::{Limits, Load, Recording, Script, play};
use candlepower::engine::Engine;
use candlepower::ground::results::{AtEnd, Cancel, Run, Scenario};
use candlepower::ground::{FinishReason, RequestRecord, Sampling, VirtualClock};
use candlepower::metrics::{MeasureInput, measure};
use candlepower::scheduler::SchedulerConfig;
use candlepower::workload::{Arrivals, Work};

use super::{config, simulated};

const OUTPUT: usize = 20;

fn engine() -> Engine {
    let config = SchedulerConfig {
        // Few: requests wait and are preempted.
        num_blocks: 13,
        ..config()
    };
    let clock = Arc::new(VirtualClock::default());
    let device = simulated(&config, clock.clone());
    Engine::new(config, Box::new(device), clock).unwrap()
}

/// Played to its end, after which the engine is whole and holds nothing.
fn played(load: &Load, requests: usize, limits: Limits) -> (Recording, Run) {
    let mut engine = engine();
    let script = Script {
        work: Work::fixed(vec![1, 2, 3], OUTPUT),
        load: load.clone(),
        requests,
        warmup: 0,
        limits,
        sampling: Sampling::GREEDY,
        end_tokens: Vec::new(),
        seed: 3,
    };
    let mut told = 0;
    let never = AtomicBool::new(false);
    let recording = play(&mut engine, &script, &never, &mut || told += 1);
    assert_eq!(told, recording.requests.len(), "each has ended");
    assert!(engine.is_idle() && engine.scheduler().blocks_used() == 0);
    engine.scheduler().check_integrity().unwrap();
    let concurrency = match load {
        Load::Closed { concurrency } => Some(*concurrency),
        _ => None,
    };
    let run = measure(&MeasureInput {
        requests: &recording.requests,
        steps: &recording.steps,
        telemetry: &[],
        experts: &[],
        scenario: Scenario {
            concurrency,
            ..Scenario::default()
        },
        model: "a model",
        prompt: "",
        timestamp: "",
        capacity: 8,
        gpus: &[],
        watched: &[],
        roofs: None,
        clocks: None,
    });
    assert!(run.checks.iter().all(|check| check.ok), "{:?}", run.checks);
    (recording, run)
}

fn records(recording: &Recording) -> Vec<RequestRecord> {
    recording.requests.iter().map(|r| r.into_owned()).collect()
}

fn closed(concurrency: usize) -> Load {
    Load::Closed { concurrency }
}

fn for_time(seconds: f64, at_end: AtEnd) -> Limits {
    Limits {
        duration: Some(Duration::from_secs_f64(seconds)),
        at_end,
        ..Limits::default()
    }
}

#[test]
fn a_run_of_a_time_sends_until_it_is_over_and_drains() {
    for load in [closed(4), Load::Open(Arrivals::new(900.0, 1.0).unwrap())] {
        let (recording, run) = played(&load, usize::MAX, for_time(0.25, AtEnd::Drain));
        let records = records(&recording);
        assert!(records.len() > 20, "{load:?}: {}", records.len());
        assert!(records.iter().all(|r| r.arrival < 0.25));
        assert!(
            records
                .iter()
                .all(|r| r.finish == Some(FinishReason::Length))
        );
        let last = records
            .iter()
            .filter_map(|r| r.tokens.last())
            .fold(0.0, |a: f64, b| a.max(*b));
        assert!(last > 0.25, "what was in flight was played to its end");
        assert_eq!(run.extended.cut_off, 0);
        // The same requests as in a run of so many.
        let (counted, _) = played(&load, records.len(), Limits::default());
        assert_eq!(self::records(&counted), records);
    }
}

#[test]
fn a_run_of_a_time_may_be_cut() {
    for load in [closed(4), Load::Open(Arrivals::new(900.0, 1.0).unwrap())] {
        let (recording, run) = played(&load, usize::MAX, for_time(0.25, AtEnd::Cut));
        let records = records(&recording);
        let cut = records
            .iter()
            .filter(|r| r.finish == Some(FinishReason::Cut));
        assert_eq!(cut.clone().count() as u64, run.extended.cut_off);
        assert!(run.extended.cut_off > 0 && run.extended.failed == 0);
        let tokens: usize = cut.map(|r| r.output_tokens).sum();
        assert_eq!(run.extended.cancelled_output_tokens, tokens as u64);
        assert_eq!(run.metrics.success_rate, Some(100.0));
        // Nothing begins after the end; the step that was under way ends.
        assert!(recording.steps.iter().all(|step| step.start < 0.25));
        assert_eq!(recording.cut_short, None, "it is what was asked for");
        let figures = &run.extended;
        let all = figures.total_output_tokens + tokens as u64;
        let rate = all as f64 / figures.duration.unwrap();
        assert!((figures.generated_throughput.unwrap() / rate - 1.0).abs() < 1e-9);
        assert_eq!(figures.percentile_n.e2el as u64, figures.completed);
    }
}

#[test]
fn a_time_that_is_longer_than_the_load_changes_nothing() {
    let (bounded, _) = played(&closed(4), 30, for_time(100.0, AtEnd::Cut));
    let (free, _) = played(&closed(4), 30, Limits::default());
    assert_eq!(records(&bounded), records(&free));
}

#[test]
fn requests_are_given_up_somewhere_in_their_answers_and_leave_nothing_behind() {
    let cancel = |text: &str| Limits {
        cancel: Some(text.parse::<Cancel>().unwrap()),
        ..Limits::default()
    };
    for load in [closed(8), Load::Open(Arrivals::new(900.0, 1.0).unwrap())] {
        let (recording, run) = played(&load, 400, cancel("0.25"));
        let records = records(&recording);
        let given_up = |r: &&RequestRecord| r.finish == Some(FinishReason::Cancelled);
        let count = records.iter().filter(given_up).count();
        assert!((70..130).contains(&count), "{count}");
        assert_eq!(run.extended.cancelled, count as u64);
        assert_eq!(
            (run.extended.failed, run.extended.completed),
            (0, 400 - count as u64)
        );
        let parts: Vec<usize> = records
            .iter()
            .filter(given_up)
            .map(|r| r.output_tokens)
            .collect();
        assert!(
            parts.iter().all(|part| (1..OUTPUT).contains(part)),
            "{parts:?}"
        );
        assert!(parts.iter().any(|part| *part < 5) && parts.iter().any(|part| *part > 15));
        assert!(run.extended.preemptions > 0, "the cache was full");
        assert_eq!(run.extended.percentile_n.ttft, 400 - count);
        // Who is given up, and where, depends on the seed alone.
        let (again, _) = played(&closed(1), 400, cancel("0.25"));
        let again = self::records(&again);
        let same = |r: &RequestRecord| (r.id, r.finish, r.output_tokens);
        assert!(again.iter().map(same).eq(records.iter().map(same)));
    }
    let (recording, run) = played(&closed(8), 100, cancel("1:0.01"));
    for record in records(&recording) {
        assert!(
            record
                .tokens
                .iter()
                .all(|time| *time < record.arrival + 0.02)
        );
    }
    assert_eq!(run.extended.cancelled, 100);
    assert_eq!(run.metrics.success_rate, None);
    assert_eq!(run.extended.output_throughput, Some(0.0));
    assert!(run.extended.generated_throughput.unwrap() > 0.0);
}

#[test]
fn late_requests_fail_and_count_in_no_latency() {
    let limits = Limits {
        request_timeout: Some(Duration::from_millis(30)),
        ..Limits::default()
    };
    let load = Load::Open(Arrivals::new(900.0, 1.0).unwrap());
    let (recording, run) = played(&load, 200, limits);
    let records = records(&recording);
    let late = records.iter().filter(|r| r.error.is_some()).count();
    assert!(late > 20 && late < 200, "{late}");
    assert_eq!(run.extended.failed, late as u64);
    assert_eq!(run.extended.percentile_n.e2el, 200 - late);
    assert!(run.extended.e2el.max_e2el_ms.unwrap() <= 30.0);
}

#[test]
fn an_open_loop_beyond_its_capacity_stops_and_one_below_does_not() {
    let watched = Limits {
        stop_when_saturated: true,
        ..Limits::default()
    };
    let at = |rate| Load::Open(Arrivals::new(rate, 1.0).unwrap());
    let (recording, run) = played(&at(5000.0), 4000, watched);
    let reason = recording.cut_short.unwrap();
    assert!(reason.starts_with("saturated: "), "{reason}");
    assert!(reason.contains("lower rate"), "{reason}");
    assert!(
        recording.requests.len() < 400,
        "{}",
        recording.requests.len()
    );
    assert!(run.extended.cut_off > 0 && run.extended.failed == 0);
    let (recording, run) = played(&at(50.0), 4000, watched);
    assert_eq!((recording.cut_short, run.extended.completed), (None, 4000));
}

#[test]
fn a_rate_that_rises_stops_where_it_is_too_high() {
    let limits = Limits {
        stop_when_saturated: true,
        ..for_time(10.0, AtEnd::Drain)
    };
    let rate = "ramp:10-4000".parse().unwrap();
    let load = Load::Open(Arrivals::changing(&rate, 10.0, 1.0).unwrap());
    let (recording, _) = played(&load, usize::MAX, limits);
    assert!(recording.cut_short.unwrap().starts_with("saturated"));
    let last = recording
        .requests
        .iter()
        .map(|r| r.arrival)
        .fold(0.0, f64::max);
    assert!(last > 0.2 && last < 9.0, "{last}");
}
