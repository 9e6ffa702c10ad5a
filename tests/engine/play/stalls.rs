//! A run that was held up says so, in whichever place it was.

use std::time::Duration;

use candlepower::bench::Load;
use candlepower::ground::results::{Check, Run};
use candlepower::workload::{Arrivals, Dataset, Work, WorkItem};

use super::paced::played;

const HELD: Duration = Duration::from_millis(1400);

fn check<'a>(run: &'a Run, name: &str) -> &'a Check {
    let found = run.checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", run.checks))
}

#[test]
fn a_step_far_beyond_its_kind_is_found() {
    let load = Load::Closed { concurrency: 2 };
    for step in [5, 21] {
        let run = played(load.clone(), None, 8, &[(step, HELD)]);
        let stalls = check(&run, "stalls");
        assert!(!stalls.ok, "{stalls:?}");
        let named = format!("step {step} took 1.4");
        assert!(stalls.detail.starts_with(&named), "{stalls:?}");
        assert!(stalls.detail.contains("held up"), "{stalls:?}");
        // Its own law still holds: both observers saw the time pass.
        assert!(check(&run, "engine_load").ok);
    }
}

#[test]
fn even_steps_and_a_slow_first_one_are_none() {
    let load = Load::Closed { concurrency: 2 };
    assert!(check(&played(load.clone(), None, 8, &[]), "stalls").ok);
    // Whoever comes first sets up what the others find.
    assert!(check(&played(load, None, 8, &[(0, HELD)]), "stalls").ok);
}

#[test]
fn clocks_that_go_alike_are_seen_to() {
    let run = played(Load::Closed { concurrency: 1 }, None, 4, &[]);
    let clocks = check(&run, "clocks");
    assert!(
        clocks.ok && clocks.detail.contains("went on alike"),
        "{clocks:?}"
    );
}

/// A step under way keeps arrivals waiting, as the scheduler's does in any server: they come at its end, on time.
#[test]
fn arrivals_inside_a_long_step_are_on_schedule() {
    let load = Load::Open(Arrivals::new(40.0, 1.0).unwrap());
    let run = played(load, None, 20, &[(4, HELD)]);
    let schedule = check(&run, "arrival_schedule");
    assert!(schedule.ok, "{schedule:?}");
    assert!(run.extended.max_submit_delay_ms.unwrap() > 500.0);
}

/// Requests that take longer to make than the schedule leaves time for.
#[test]
fn a_generator_that_falls_behind_fails_a_check() {
    let pool = candlepower::text::TokenPool::below(30_000).unwrap();
    let work = Work::synthetic(3_000_000, 1, pool);
    let load = Load::Open(Arrivals::new(1e6, 1.0).unwrap());
    // None of them fits the engine: what is left is the time of making them.
    let run = played(load, Some(work), 50, &[]);
    let schedule = check(&run, "arrival_schedule");
    assert!(!schedule.ok, "{schedule:?}");
    assert!(
        schedule.detail.contains("lower than asked for"),
        "{schedule:?}"
    );
}

#[test]
fn a_trace_is_held_to_its_times_and_a_closed_loop_has_none() {
    let item = |arrival| WorkItem {
        prompt: [1; 10].into(),
        output_len: 2,
        arrival: Some(arrival),
    };
    let items = [0.0, 0.1, 0.1, 0.4].map(item);
    let run = played(
        Load::Trace,
        Some(Work::Dataset(Dataset::from_iter(items).into())),
        4,
        &[],
    );
    assert!(check(&run, "arrival_schedule").ok);
    let closed = played(Load::Closed { concurrency: 1 }, None, 2, &[]);
    assert!(
        closed
            .checks
            .iter()
            .all(|check| check.name != "arrival_schedule")
    );
}
