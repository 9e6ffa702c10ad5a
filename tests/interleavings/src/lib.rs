//! The files of `src/ops/cpu` in which threads wait for each other, built over the threads of shuttle, which runs one
//! at a time and changes between them at every atomic operation, lock and wait: by chance, or through every order.
//!
//! Its memory is sequentially consistent. So are the files: they use no weaker order where threads wait.

#[path = "../../../src/ops/cpu/rendezvous.rs"]
#[allow(dead_code)]
pub mod rendezvous;
#[cfg(feature = "shuttle")]
#[path = "scheduled.rs"]
mod sync;
#[cfg(not(feature = "shuttle"))]
#[path = "parallel.rs"]
mod sync;
#[path = "../../../src/ops/cpu/workers.rs"]
#[allow(dead_code)]
pub mod workers;

pub use sync::{Arc, AtomicUsize, every_order, explore, thread};

/// Runs `f(rank)` on a thread each, all with one meeting point.
pub fn on_ranks<R: Send + 'static>(
    ranks: usize,
    spin: bool,
    f: impl Fn(&rendezvous::Rendezvous, usize) -> R + Send + Sync + 'static,
) -> Vec<R> {
    let shared = Arc::new((rendezvous::Rendezvous::new(ranks, spin), f));
    let threads: Vec<_> = (0..ranks)
        .map(|rank| {
            let shared = shared.clone();
            thread::spawn(move || (shared.1)(&shared.0, rank))
        })
        .collect();
    let results = threads.into_iter().map(|thread| thread.join());
    results.map(|result| result.expect("no panic")).collect()
}
