//! A rank's threads: regions that all of them run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use interleavings::workers::{Workers, each, each_chunk, each_when_free};
use interleavings::{Arc, AtomicUsize, explore};

/// Regions follow each other and the pool ends; parts write without any other order between them than the regions'.
fn regions(threads: usize, spin: bool) {
    let mut workers = Workers::new(threads, spin).unwrap();
    let mut values = vec![0; threads];
    for round in 1..=2 {
        workers.install(|| {
            each_chunk(&mut values, 1, |_, value| value[0] += round);
        });
        assert!(values.iter().all(|value| *value == round * (round + 1) / 2));
    }
}

#[test]
fn every_region_ends_in_any_order() {
    explore(10_000, || regions(2, false));
    explore(10_000, || regions(3, false));
}

#[test]
fn every_region_ends_when_threads_spin() {
    explore(1_000, || regions(2, true));
}

#[test]
fn parts_are_taken_once() {
    explore(10_000, || {
        let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
        let mut workers = Workers::new(3, false).unwrap();
        workers.install(|| {
            each_when_free(4, |part| {
                counts[part].fetch_add(1, Ordering::SeqCst);
            });
        });
        assert!(counts.iter().all(|count| count.load(Ordering::SeqCst) == 1));
    });
}

#[test]
fn a_panic_is_told_and_the_pool_goes_on() {
    std::panic::set_hook(Box::new(|_| ()));
    explore(2_000, || {
        let mut workers = Workers::new(2, false).unwrap();
        for bad in [0, 1] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                workers.install(|| each(2, |part| assert_ne!(part, bad)));
            }));
            assert!(outcome.is_err());
        }
        workers.install(|| each(2, |_| ()));
    });
}
