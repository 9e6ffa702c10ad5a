//! As `src/ops/cpu/sync.rs`: real threads.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicBool, AtomicUsize};
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub use std::{thread, thread_local};

/// Threads start at this cost: fewer runs than the checker has orders.
const FEWER: usize = 20;

pub fn explore(orders: usize, f: impl Fn() + Send + Sync + 'static) {
    for _ in 0..orders / FEWER {
        f();
    }
}

pub fn every_order(most: usize, f: impl Fn() + Send + Sync + 'static) {
    explore(most, f);
}
