//! The CPU's paged attention beside what this host can do: `cargo bench --bench cpu_attention`.

mod roofs;

use std::time::Instant;

use candlepower::ops::cpu::attention::{Attend, attend};
use half::bf16;
use roofs::GIGA;

/// `(name, heads, kv_heads, head_dim)`.
const MODELS: [(&str, usize, usize, usize); 3] = [
    ("Qwen2.5-0.5B", 14, 2, 64),
    ("Llama-3.1-8B", 32, 8, 128),
    ("one head a group", 16, 16, 64),
];
/// `(sequences, query rows of each, context)`: decode twice, prefill once.
const LOADS: [(usize, usize, usize); 3] = [(8, 1, 512), (8, 1, 4096), (1, 512, 512)];
const BLOCK_SIZE: usize = 16;
/// Layers' caches measured in turn hold at least this, so that none is found in a cache.
const KV_BYTES: usize = 128 << 20;
const TRIES: usize = 7;
/// Makes block tables that jump about: odd, so that it visits every block of a power of two.
const BLOCK_STRIDE: usize = 101;

fn main() {
    roofs::beside(measure);
}

fn measure(bandwidth: f64, peak: f64) {
    for (name, heads, kv_heads, head_dim) in MODELS {
        for (sequences, rows, context) in LOADS {
            let blocks = context / BLOCK_SIZE;
            let total = (sequences * blocks).next_power_of_two();
            let elements = total * BLOCK_SIZE * kv_heads * head_dim;
            let layers = KV_BYTES.div_ceil(2 * elements * size_of::<bf16>());
            let cache = vec![vec![bf16::from_f32(0.01); elements]; 2 * layers];
            let tables: Vec<u32> = (0..sequences * blocks)
                .map(|i| (i * BLOCK_STRIDE % total) as u32)
                .collect();
            let query_offsets: Vec<u32> = (0..=sequences).map(|i| (i * rows) as u32).collect();
            let context_lens = vec![context as u32; sequences];
            let width = heads * head_dim;
            let q = vec![0.1; sequences * rows * width];
            let mut out = vec![0.0; q.len()];
            let mut best = f64::INFINITY;
            for _ in 0..TRIES {
                for kv in cache.chunks_exact(2) {
                    let args = Attend {
                        q: &q,
                        q_stride: width,
                        k: &kv[0],
                        v: &kv[1],
                        heads,
                        kv_heads,
                        head_dim,
                        block_size: BLOCK_SIZE,
                        query_offsets: &query_offsets,
                        context_lens: &context_lens,
                        block_tables: &tables,
                        table_stride: blocks,
                        window: None,
                        scale: 0.1,
                        out_stride: width,
                    };
                    let start = Instant::now();
                    attend(&args, &mut out);
                    best = best.min(start.elapsed().as_secs_f64());
                }
            }
            std::hint::black_box(&out);
            let bytes = (2 * sequences * context * kv_heads * head_dim * size_of::<bf16>()) as f64;
            // Row i of a chunk sees context - rows + 1 + i keys; q·k and p·v, two FLOPs each.
            let pairs = sequences * (rows * (context - rows) + rows * (rows + 1) / 2);
            let flops = (4 * pairs * width) as f64;
            println!(
                "{name:16} {sequences} x {rows:3} rows, context {context:4}: {:5.1} GB/s {:3.0} %   {:6.1} GFLOP/s {:3.0} %   {:8.1} us",
                bytes / best / GIGA,
                100.0 * bytes / best / bandwidth,
                flops / best / GIGA,
                100.0 * flops / best / peak,
                best * 1e6
            );
        }
    }
}
