//! One sparse layer at the shape of Qwen3-235B-A22B beside what this host can do:
//! `cargo bench --bench experts [-- FILTER]`.
//!
//! Rows choose as those of a trained router nearly do: each expert as often as any other, apart from chance.
//! Calls take different choices in turn, so that weights come from memory.

mod cards;
mod roofs;

use candle_core::DType;
use candlepower::ground::recorder::Cost;
use candlepower::ops::cpu::Cpu;
use candlepower::ops::{Backend, Expert, ExpertSpace, Experts, Kernels, Routes, cost, storage};
use roofs::{Beside, Case, Place, Traffic};

const HIDDEN: usize = 4096;
const WIDTH: usize = 1536;
const EXPERTS: usize = 128;
const TOP_K: usize = 8;
const ROWS: [usize; 4] = [1, 8, 32, 128];
/// Sets of choices that calls take in turn.
const STEPS: usize = 16;

fn main() {
    roofs::beside(|beside| {
        for (name, dtype) in [("fp8", DType::F8E4M3), ("bf16", DType::BF16)] {
            measure(beside, name, dtype);
        }
    });
}

fn measure(beside: &mut Beside, name: &'static str, dtype: DType) {
    let expert = || Expert {
        gate_up: cards::weights(2 * WIDTH, HIDDEN, dtype),
        down: cards::weights(HIDDEN, WIDTH, dtype),
    };
    let experts = Experts {
        first: 0,
        held: (0..EXPERTS).map(|_| expert()).collect(),
    };
    for rows in ROWS {
        let routes: Vec<Routes> = (0..STEPS).map(|step| choices(rows, step)).collect();
        let mut total = Cost::default();
        for routes in &routes {
            total += cost::Activations::F32
                .experts(&experts, routes, rows)
                .expect("routes are read");
        }
        let case = Case {
            kernel: "experts",
            name: format!("{name} {rows} rows"),
            cost: Cost {
                bytes: total.bytes / STEPS as u64,
                flops: total.flops / STEPS as u64,
            },
            traffic: Traffic::Read,
            place: Place::Memory,
        };
        let set_up = || {
            let chosen = rows * TOP_K;
            let space = ExpertSpace {
                gate_up: cards::buffer(chosen, 2 * WIDTH),
                activated: cards::buffer(chosen, WIDTH),
                out: cards::buffer(chosen, HIDDEN),
            };
            (
                cards::buffer(rows, HIDDEN),
                cards::buffer(rows, HIDDEN),
                space,
            )
        };
        beside.kernel(&case, set_up, |(x, out, space), turn| {
            Cpu::F32.experts(x, &experts, &routes[turn % STEPS], rows, space, out)
        });
    }
}

/// What `rows` rows choose, of equal weight: the same for the same `step`.
fn choices(rows: usize, step: usize) -> Routes {
    /// Of a generator of good spectrum.
    const MULTIPLIER: u64 = 0xd134_2543_de82_ef95;
    let mut state = (step as u64 + 1).wrapping_mul(MULTIPLIER);
    let mut chosen = Vec::with_capacity(rows * TOP_K);
    for row in 0..rows {
        let start = row * TOP_K;
        while chosen.len() < start + TOP_K {
            state = state.wrapping_mul(MULTIPLIER).wrapping_add(1);
            let expert = (state >> (u64::BITS - EXPERTS.ilog2())) as u32;
            if !chosen[start..].contains(&expert) {
                chosen.push(expert);
            }
        }
    }
    let routes = Routes {
        experts: Cpu::F32.index_buffer(rows, TOP_K).expect("a buffer"),
        weights: cards::buffer(rows, TOP_K),
    };
    let written = storage::write(&routes.experts, |experts: &mut [u32]| {
        experts.copy_from_slice(&chosen);
        Ok(())
    });
    written.expect("choices are written");
    routes
}
