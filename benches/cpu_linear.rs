//! The CPU's linear layer beside what this host can do: `cargo bench --bench cpu_linear`.

mod roofs;

use std::time::Instant;

use candlepower::ops::cpu::gemm::{Gemm, linear};
use candlepower::ops::cpu::panel::packed_len;
use half::bf16;
use roofs::GIGA;

/// `(k, n)`: gate and up, and a slice of the head, of Qwen2.5-0.5B; and its down projection.
const SHAPES: [(usize, usize); 3] = [(896, 2 * 4864), (896, 19456), (4864, 896)];
const ROWS: [usize; 8] = [1, 2, 4, 8, 16, 32, 96, 512];
/// Weights measured in turn hold at least this, so that none is found in a cache.
const WEIGHT_BYTES: usize = 192 << 20;
const TRIES: usize = 7;

fn main() {
    roofs::beside(measure);
}

fn measure(bandwidth: f64, peak: f64) {
    for (k, n) in SHAPES {
        let copies = WEIGHT_BYTES.div_ceil(packed_len(n, k) * size_of::<bf16>());
        let weights = vec![vec![bf16::from_f32(0.01); packed_len(n, k)]; copies];
        for rows in ROWS {
            let x = vec![0.5; rows * k];
            let mut out = vec![0.0; rows * n];
            let mut best = f64::INFINITY;
            for _ in 0..TRIES {
                for w in &weights {
                    let job = Gemm {
                        x: &x,
                        ldx: k,
                        rows,
                        w,
                        n,
                        k,
                        bias: None,
                        ldo: n,
                    };
                    let start = Instant::now();
                    linear(&job, &mut out);
                    best = best.min(start.elapsed().as_secs_f64());
                }
            }
            std::hint::black_box(&out);
            let flops = (2 * rows * n * k) as f64 / best;
            let bytes = (n * k * size_of::<bf16>()) as f64 / best;
            println!(
                "k {k:5} n {n:5} rows {rows:3}: {:6.1} GFLOP/s {:3.0} %   {:5.1} GB/s {:3.0} %   {:8.1} us",
                flops / GIGA,
                100.0 * flops / peak,
                bytes / GIGA,
                100.0 * bytes / bandwidth,
                best * 1e6
            );
        }
    }
}
