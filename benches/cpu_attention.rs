//! The CPU's paged attention at the shapes of real models beside what this host can do:
//! `cargo bench --bench cpu_attention [-- FILTER]`.

mod cards;
mod roofs;

use candle_core::DType;
use candlepower::ops::cpu::Cpu;
use candlepower::ops::{Kernels, cost};
use roofs::{Case, Place, Traffic};

/// `(sequences, query rows of each, context)`: decode at each batch, one long context, long contexts, prefill.
const LOADS: [(usize, usize, usize); 9] = [
    (1, 1, 512),
    (2, 1, 512),
    (4, 1, 512),
    (8, 1, 512),
    (32, 1, 512),
    (1, 1, 4096),
    (8, 1, 4096),
    (1, 100, 100),
    (1, 512, 512),
];

fn main() {
    roofs::beside(|beside| {
        for (model, spec) in cards::models() {
            let shape = cards::attention(&spec);
            for (sequences, rows, context) in LOADS {
                let step = cards::rows(sequences, rows, context);
                let case = Case {
                    kernel: "attend",
                    name: format!("{model} {sequences} x {rows} rows, context {context}"),
                    cost: cost::Activations::F32.attend(&shape, &step, DType::BF16),
                    traffic: Traffic::Read,
                    place: Place::Memory,
                };
                beside.kernel(
                    &case,
                    || {
                        let caches =
                            (0..case.sets()).map(|_| cards::cache(&shape, sequences, context));
                        let qkv = cards::buffer(step.len(), shape.qkv_width());
                        let out = cards::buffer(step.len(), shape.q_width());
                        (caches.collect::<Vec<_>>(), qkv, out)
                    },
                    |(caches, qkv, out), turn| {
                        Cpu::F32.attend(qkv, &shape, &step, &caches[turn % caches.len()], out)
                    },
                );
            }
        }
    });
}
