//! What every bench of kernels stands beside: this host's roofs, measured in the same run.

use candlepower::ops::cpu::roof;
use candlepower::ops::cpu::workers::{self, Workers};

pub const GIGA: f64 = 1e9;

/// Calls `measure` on all cores with the read bandwidth (bytes/s) and the multiply-add peak (FLOP/s).
#[allow(dead_code, reason = "each bench uses its own part")]
pub fn beside(measure: impl FnOnce(f64, f64)) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut all = Workers::new(threads).expect("threads start");
    all.install(|| {
        let (bandwidth, peak) = (roof::read_bandwidth(), roof::multiply_add_peak());
        println!(
            "{} threads: {:.1} GB/s read, {:.0} GFLOP/s multiply-add",
            workers::threads(),
            bandwidth / GIGA,
            peak / GIGA
        );
        measure(bandwidth, peak);
    });
}
