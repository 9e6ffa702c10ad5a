//! The CPU's linear layers at the shapes of real models beside what this host can do:
//! `cargo bench --bench cpu_linear [-- FILTER]`.

mod cards;
mod roofs;

use std::cell::{LazyCell, RefCell};

use candle_core::DType;
use candlepower::ground::recorder::Cost;
use candlepower::ops::cpu::panel::PANEL;
use candlepower::ops::{Kernels, Linear};
use roofs::{Beside, Case, Place, Traffic, activations};

const ROWS: [usize; 7] = [1, 2, 4, 8, 32, 100, 512];
/// Of Qwen3-235B-A22B's attention, and one of its experts.
const LARGE: [(&str, usize, usize); 4] = [
    ("large qkv", 9216, 4096),
    ("large o", 4096, 8192),
    ("large gate_up", 3072, 4096),
    ("large down", 4096, 1536),
];
/// Only rows that need logits meet the head: a batch, never a prompt.
const MAX_HEAD_ROWS: usize = 32;

fn main() {
    roofs::beside(|beside| {
        for (model, spec) in cards::models() {
            for (layer, n, k) in cards::linears(&spec) {
                measure(beside, model, layer, (n, k), DType::BF16);
            }
        }
        // As the report's largest models have them, in both types.
        for (layer, n, k) in LARGE {
            for (model, dtype) in [("FP8", DType::F8E4M3), ("bf16", DType::BF16)] {
                measure(beside, model, layer, (n, k), dtype);
            }
        }
    });
}

fn measure(
    beside: &mut Beside,
    model: &str,
    layer: &'static str,
    (n, k): (usize, usize),
    dtype: DType,
) {
    let weights = LazyCell::new(|| {
        let sets = case(model, layer, (n, k), dtype, 1).sets();
        (0..sets)
            .map(|_| cards::weights(n, k, dtype))
            .collect::<Vec<Linear>>()
    });
    let cpu = activations::cpu();
    let is_head = layer == "head";
    for rows in ROWS {
        if is_head && rows > MAX_HEAD_ROWS {
            continue;
        }
        let case = case(model, layer, (n, k), dtype, rows);
        beside.kernel(
            &case,
            || {
                (
                    cards::buffer(rows, k),
                    cards::buffer(rows, n),
                    LazyCell::force(&weights),
                )
            },
            |(x, out, weights), turn| cpu.linear(x, &weights[turn % weights.len()], rows, out),
        );
        if is_head {
            let space = cards::buffer(1, 1);
            let greedy = Case {
                kernel: "greedy head",
                ..case
            };
            beside.kernel(
                &greedy,
                || {
                    (
                        cards::buffer(rows, k),
                        RefCell::default(),
                        LazyCell::force(&weights),
                    )
                },
                |(x, out, weights), turn| {
                    cpu.greedy(
                        x,
                        &weights[turn % weights.len()],
                        &(0..n),
                        rows,
                        &space,
                        &mut out.borrow_mut(),
                    )
                },
            );
        }
    }
}

fn case(
    model: &str,
    layer: &'static str,
    (n, k): (usize, usize),
    dtype: DType,
    rows: usize,
) -> Case {
    // As `ops::cost`: weights once, activations once each way; scales are a thousandth of it.
    let bytes =
        n.next_multiple_of(PANEL) * k * dtype.size_in_bytes() + rows * (n + k) * size_of::<f32>();
    Case {
        kernel: layer,
        name: format!("{model} {n} x {k}, {rows} rows"),
        cost: Cost {
            bytes: bytes as u64,
            flops: (2 * rows * n * k) as u64,
        },
        traffic: Traffic::Read,
        place: Place::Memory,
    }
}
