//! As `src/ops/cpu/sync.rs`: real threads, and locks that ThreadSanitizer sees into.

pub use std::hint::spin_loop;
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicUsize};
pub use std::{thread, thread_local};

pub use parking_lot::MutexGuard;
use std::sync::LockResult;

/// Threads start at this cost: fewer runs than the checker has orders.
const FEWER: usize = 20;
const ORDERS: usize = 10_000;

/// As the standard library's.
pub struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        Ok(self.0.lock())
    }
}

/// As the standard library's.
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(&mut guard);
        Ok(guard)
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

pub fn explore(orders: usize, f: impl Fn() + Send + Sync + 'static) {
    for _ in 0..orders / FEWER {
        f();
    }
}

/// As many as of any other: nothing says when all have come up.
pub fn every_order(_most: usize, f: impl Fn() + Send + Sync + 'static) {
    explore(ORDERS, f);
}
