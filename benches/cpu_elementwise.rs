//! The CPU's kernels that pass over rows once, at the widths of real models, beside what moving their
//! bytes costs: `cargo bench --bench cpu_elementwise [-- FILTER]`.

mod cards;
mod roofs;

use std::cell::{Cell, LazyCell};

use candle_core::{DType, Result};
use candlepower::ground::recorder::Cost;
use candlepower::model::ModelSpec;
use candlepower::ops::cpu::Cpu;
use candlepower::ops::{HeadNorms, Kernels, Linear, Rope, cost};
use half::bf16;
use roofs::{Beside, Case, Place, Traffic};

/// A step's rows find what the kernel before them wrote; many are found in memory, too.
const SIZES: [(usize, Place); 6] = [
    (1, Place::Cache),
    (8, Place::Cache),
    (32, Place::Cache),
    (100, Place::Cache),
    (512, Place::Cache),
    (512, Place::Memory),
];
/// Rows that a gather picks from.
const GATHERED: usize = 512;
/// Steps from token to token, and from row to row: prime, so that all are met.
const TOKEN_STRIDE: u32 = 7919;
const ROW_STRIDE: usize = 37;

fn main() {
    roofs::beside(|beside| {
        for (model, spec) in cards::models() {
            let table = LazyCell::new(|| cards::weights(spec.vocab_size, spec.hidden_size));
            for (rows, place) in SIZES {
                let mut size = Size {
                    beside,
                    model,
                    rows,
                    place,
                };
                norms(&mut size, &spec);
                cache_rows(&mut size, &spec);
                activation(&mut size, &spec);
                copies(&mut size, &spec, &table);
            }
        }
    });
}

struct Size<'a> {
    beside: &'a mut Beside,
    model: &'static str,
    rows: usize,
    place: Place,
}

impl Size<'_> {
    /// `one` makes a set of operands.
    fn run<T>(
        &mut self,
        kernel: &'static str,
        width: usize,
        cost: Cost,
        one: impl Fn() -> T,
        call: impl Fn(&T) -> Result<()>,
    ) {
        let case = Case {
            kernel,
            name: format!("{} {} x {width}, {:?}", self.model, self.rows, self.place)
                .to_lowercase(),
            cost,
            traffic: Traffic::Copy,
            place: self.place,
        };
        self.beside.kernel(
            &case,
            || (0..case.sets()).map(|_| one()).collect::<Vec<T>>(),
            |sets, turn| call(&sets[turn % sets.len()]),
        );
    }
}

fn norms(size: &mut Size, spec: &ModelSpec) {
    let (rows, width) = (size.rows, spec.hidden_size);
    let norm = cards::norm(width, spec);
    let buffer = || cards::buffer(rows, width);
    let (two, four) = (cost::norm(rows, width, 2), cost::norm(rows, width, 4));
    size.run(
        "norm",
        width,
        two,
        || (buffer(), buffer()),
        |(x, out)| Cpu.add_norm(x, None, &norm, rows, out),
    );
    let three = || (buffer(), buffer(), buffer());
    size.run("add_norm", width, four, three, |(x, delta, out)| {
        Cpu.add_norm(x, Some(delta), &norm, rows, out)
    });
}

fn cache_rows(size: &mut Size, spec: &ModelSpec) {
    let (rows, shape) = (size.rows, cards::attention(spec));
    let width = spec.head_dim;
    let rope = Rope {
        inverse_frequencies: spec.rope.inverse_frequencies(width),
        attention_factor: spec.rope.attention_factor(),
    };
    let step = cards::rows(1, rows, rows);
    let rotation = || cards::buffer(rows, width);
    size.run("rope", width, cost::copy(rows, width), rotation, |out| {
        Cpu.rope(&rope, &step.positions, out)
    });
    let norms = spec.qk_norm.then(|| HeadNorms {
        q: cards::norm(width, spec),
        k: cards::norm(width, spec),
    });
    let blocks = cards::blocks(1, rows);
    let operands = || {
        let cache = Cpu.kv_layer(blocks, cards::BLOCK_SIZE, &shape, DType::BF16);
        let cache = cache.expect("a cache");
        cards::fill(&cache.k, bf16::ZERO);
        cards::fill(&cache.v, bf16::ZERO);
        (cards::buffer(rows, shape.qkv_width()), rotation(), cache)
    };
    let cost = cost::write_kv(&shape, rows, DType::BF16);
    size.run(
        "write_kv",
        shape.qkv_width(),
        cost,
        operands,
        |(qkv, rotation, cache)| Cpu.write_kv(qkv, &shape, norms.as_ref(), rotation, &step, cache),
    );
}

fn activation(size: &mut Size, spec: &ModelSpec) {
    let (rows, width) = (size.rows, spec.intermediate_size);
    let operands = || (cards::buffer(rows, 2 * width), cards::buffer(rows, width));
    size.run(
        "silu_mul",
        width,
        cost::silu_mul(rows, width),
        operands,
        |(gate_up, out)| Cpu.silu_mul(gate_up, rows, out),
    );
}

fn copies(size: &mut Size, spec: &ModelSpec, table: &LazyCell<Linear, impl FnOnce() -> Linear>) {
    let (rows, width) = (size.rows, spec.hidden_size);
    let next = Cell::new(0_u32);
    let operands = || {
        let token =
            |_| next.replace(next.get().wrapping_add(TOKEN_STRIDE)) % spec.vocab_size as u32;
        LazyCell::force(table);
        (
            (0..rows).map(token).collect::<Vec<u32>>(),
            cards::buffer(rows, width),
        )
    };
    let elements = (rows * width) as u64;
    let cost = Cost {
        bytes: elements * (size_of::<bf16>() + size_of::<f32>()) as u64,
        flops: 0,
    };
    size.run("embed", width, cost, operands, |(tokens, out)| {
        Cpu.embed(table, tokens, out)
    });
    let indices: Vec<u32> = (0..rows)
        .map(|i| (i * ROW_STRIDE % GATHERED) as u32)
        .collect();
    let operands = || (cards::buffer(GATHERED, width), cards::buffer(rows, width));
    size.run(
        "gather",
        width,
        cost::copy(rows, width),
        operands,
        |(x, out)| Cpu.gather(x, &indices, out),
    );
}
