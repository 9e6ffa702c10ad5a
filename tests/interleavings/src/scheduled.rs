//! As `src/ops/cpu/sync.rs`, of shuttle.

pub use shuttle::hint::spin_loop;
pub use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
pub use shuttle::{thread, thread_local};

use shuttle::Config;
use shuttle::scheduler::DfsScheduler;

/// Changes of thread that probabilistic concurrency testing puts where they matter: most faults need two or three.
const DEPTH: usize = 3;

/// Runs `f` in `orders` orders: half of them drawn step by step, half with few changes at random places.
pub fn explore(orders: usize, f: impl Fn() + Send + Sync + 'static) {
    let f = Arc::new(f);
    let again = f.clone();
    shuttle::check_random(move || f(), orders / 2);
    shuttle::check_pct(move || again(), orders / 2, DEPTH);
}

/// Runs `f` in every order there is: fewer than `most`.
pub fn every_order(most: usize, f: impl Fn() + Send + Sync + 'static) {
    let runner = shuttle::Runner::new(DfsScheduler::new(Some(most), false), Config::default());
    let orders = runner.run(f);
    assert!(orders < most, "there are more than {most} orders");
    println!("{orders} orders");
}
