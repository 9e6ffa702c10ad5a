//! Counts as large as the command line takes them: nothing is made before it is due, and a run that is asked to
//! stop stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candlepower::bench::{Limits, Load, Recording, Script, play};
use candlepower::engine::Engine;
use candlepower::ground::{FinishReason, Sampling, WallClock};
use candlepower::workload::{Arrivals, Work};

use super::config;
use super::paced::Paced;

/// The largest count that the command line takes.
const MOST: usize = 1 << 31;
const AFTER: Duration = Duration::from_millis(150);
/// Of time until a run that was asked to stop has stopped.
const PATIENCE: Duration = Duration::from_secs(2);

fn script(load: Load, requests: usize, warmup: usize) -> Script {
    Script {
        work: Work::fixed(vec![1, 2, 3], 8),
        load,
        requests,
        warmup,
        limits: Limits::default(),
        sampling: Sampling::GREEDY,
        end_tokens: Vec::new(),
        seed: 0,
    }
}

fn resident_mib() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    (pages * 4096) >> 20
}

/// Played, and stopped a moment later. The engine is whole afterwards.
fn stopped(script: &Script) -> Recording {
    let clock = Arc::new(WallClock::start());
    let mut engine = Engine::new(config(), Box::new(Paced::new(&[])), clock).unwrap();
    let stop = AtomicBool::new(false);
    let before = resident_mib();
    let recording = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(AFTER);
            stop.store(true, Ordering::Relaxed);
        });
        let start = Instant::now();
        let recording = play(&mut engine, script, &stop, &mut || {});
        assert!(start.elapsed() < AFTER + PATIENCE, "{:?}", start.elapsed());
        recording
    });
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < 64, "{grown} MiB");
    assert!(engine.is_idle() && engine.scheduler().blocks_used() == 0);
    engine.scheduler().check_integrity().unwrap();
    recording
}

#[test]
fn a_warm_up_without_end_is_bounded_and_stops() {
    for warmup in [1_000_000_000, MOST, usize::MAX >> 1] {
        let recording = stopped(&script(Load::Closed { concurrency: 1 }, 4, warmup));
        let reason = recording.cut_short.unwrap();
        assert!(reason.contains("in the warm-up"), "{reason}");
        assert!(recording.requests.is_empty() && recording.steps.is_empty());
    }
}

#[test]
fn as_many_requests_as_can_be_asked_for_are_made_when_they_are_due() {
    let open = Load::Open(Arrivals::new(200.0, 1.0).unwrap());
    for load in [Load::Closed { concurrency: 3 }, open, Load::Trace] {
        let requests = match &load {
            // Without times of their own, all would be due at once.
            Load::Trace => 1000,
            _ => MOST,
        };
        let recording = stopped(&script(load, requests, 1));
        assert_eq!(recording.cut_short.as_deref(), Some("interrupted"));
        let played = recording.requests.len();
        assert!(played > 3 && played < 2000, "{played}");
        let cut = recording.requests.iter();
        let cut = cut.filter(|r| r.finish == Some(FinishReason::Cut));
        assert!(cut.count() < played);
        assert!(recording.requests.iter().all(|r| r.error.is_none()));
    }
}

#[test]
fn more_at_once_than_memory_holds_is_refused_with_its_size() {
    let most = Load::Closed { concurrency: MOST };
    let recording = stopped(&script(most, MOST, 1000));
    let reason = recording.cut_short.unwrap();
    for part in [
        "--concurrency 2147483648",
        "2147483648 requests",
        "MiB",
        "at most",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(recording.requests.is_empty());

    // By hand: 3 and 8 tokens, 12 bytes for each, and 1,024.
    let each = 1024 + 12 * 11;
    let many = script(Load::Closed { concurrency: 100 }, 1000, 0);
    assert_eq!(many.check(100 * each), Ok(()));
    let refusal = many.check(99 * each).unwrap_err();
    assert_eq!((refusal.requests, refusal.most), (100, 99));
    // Fewer requests than places, and memory that nobody knows.
    let few = script(Load::Closed { concurrency: MOST }, 10, 0);
    assert_eq!(few.check(10 * each), Ok(()));
    assert_eq!(many.check(0), Ok(()));
}

/// Where requests are longer than anything, sums do not begin again at 0.
#[test]
fn sizes_beyond_numbers_are_refused() {
    let mut long = script(Load::Closed { concurrency: MOST }, MOST, 0);
    long.work = Work::fixed(vec![1], usize::MAX >> 1);
    assert_eq!(long.check(1 << 40).unwrap_err().bytes, u64::MAX);
    let recording = stopped(&long);
    assert!(recording.cut_short.unwrap().contains("--concurrency"));
}
