//! The CPU's kernels that pass over rows once, at the widths of real models, beside what moving their
//! bytes costs: `cargo bench --bench cpu_elementwise [-- FILTER]`.

mod cards;
mod roofs;

use std::cell::{Cell, LazyCell};
use std::ops::Deref;

use candle_core::{DType, Result};
use candlepower::ground::recorder::Cost;
use candlepower::model::ModelSpec;
use candlepower::ops::cpu::Cpu;
use candlepower::ops::{Kernels, Linear, cost};
use half::bf16;
use roofs::{Beside, Case, Place, Traffic};

/// A step's rows find what the kernel before them wrote; many are found in memory, too.
const SIZES: [(usize, Place); 5] = [
    (1, Place::Cache),
    (8, Place::Cache),
    (32, Place::Cache),
    (512, Place::Cache),
    (512, Place::Memory),
];
/// Rows that a gather picks from.
const GATHERED: usize = 512;
/// Steps from token to token, and from row to row: prime, so that all are met.
const TOKEN_STRIDE: usize = 7919;
const ROW_STRIDE: usize = 37;

fn main() {
    roofs::beside(|beside| {
        for (model, spec) in cards::models() {
            let table =
                LazyCell::new(|| cards::weights(spec.vocab_size, spec.hidden_size, DType::BF16));
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
                embedding(&mut size, &spec, &table);
                gather(&mut size, &spec);
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
        (kernel, width, traffic): (&'static str, usize, Traffic),
        cost: Cost,
        one: impl Fn() -> T,
        call: impl Fn(&T) -> Result<()>,
    ) {
        let case = Case {
            kernel,
            name: format!("{} {} x {width}, {:?}", self.model, self.rows, self.place),
            cost,
            traffic,
            place: self.place,
        };
        let sets = || (0..case.sets()).map(|_| one()).collect::<Vec<T>>();
        self.beside
            .kernel(&case, sets, |sets, turn| call(&sets[turn % sets.len()]));
    }
}

fn norms(size: &mut Size, spec: &ModelSpec) {
    let (rows, width) = (size.rows, spec.hidden_size);
    let norm = cards::norm(width, spec);
    let buffer = || cards::buffer(rows, width);
    let (two, four) = (
        cost::Activations::F32.norm(rows, width, 2),
        cost::Activations::F32.norm(rows, width, 4),
    );
    let plain = ("norm", width, Traffic::Copy);
    size.run(
        plain,
        two,
        || (buffer(), buffer()),
        |(x, out)| Cpu::F32.add_norm(x, None, &norm, rows, out),
    );
    let added = ("add_norm", width, Traffic::Update);
    let operands = || (buffer(), buffer(), buffer());
    size.run(added, four, operands, |(x, delta, out)| {
        Cpu::F32.add_norm(x, Some(delta), &norm, rows, out)
    });
}

fn cache_rows(size: &mut Size, spec: &ModelSpec) {
    let (rows, shape, width) = (size.rows, cards::attention(spec), spec.head_dim);
    let (rope, norms) = (cards::rope(spec), cards::head_norms(spec));
    let step = cards::rows(1, rows, rows);
    let rotation = || cards::buffer(rows, width);
    let table = ("rope", width, Traffic::Copy);
    size.run(
        table,
        cost::Activations::F32.copy(rows, width),
        rotation,
        |out| Cpu::F32.rope(&rope, &step.positions, out),
    );
    let (width, cost) = (
        shape.qkv_width(),
        cost::Activations::F32.write_kv(&shape, rows, DType::BF16),
    );
    let operands = || {
        (
            cards::buffer(rows, width),
            rotation(),
            cards::cache(&shape, 1, rows),
        )
    };
    let write = ("write_kv", width, Traffic::Update);
    size.run(write, cost, operands, |(qkv, rotation, cache)| {
        Cpu::F32.write_kv(qkv, &shape, norms.as_ref(), rotation, &step, cache)
    });
}

fn activation(size: &mut Size, spec: &ModelSpec) {
    let (rows, width) = (size.rows, spec.intermediate_size);
    let (gated, cost) = (
        ("silu_mul", width, Traffic::Copy),
        cost::Activations::F32.silu_mul(rows, width),
    );
    let operands = || (cards::buffer(rows, 2 * width), cards::buffer(rows, width));
    size.run(gated, cost, operands, |(x, out)| {
        Cpu::F32.silu_mul(x, rows, out)
    });
}

fn embedding(size: &mut Size, spec: &ModelSpec, table: &impl Deref<Target = Linear>) {
    let (rows, width, next) = (size.rows, spec.hidden_size, Cell::new(0));
    let token = |_| next.replace((next.get() + TOKEN_STRIDE) % spec.vocab_size) as u32;
    let operands = || {
        let _packed_now: &Linear = table;
        (
            (0..rows).map(token).collect::<Vec<u32>>(),
            cards::buffer(rows, width),
        )
    };
    let cost = Cost {
        bytes: (rows * width * (size_of::<bf16>() + size_of::<f32>())) as u64,
        flops: 0,
    };
    let embed = ("embed", width, Traffic::Copy);
    size.run(embed, cost, operands, |(tokens, out)| {
        Cpu::F32.embed(table, 0, tokens, out)
    });
}

fn gather(size: &mut Size, spec: &ModelSpec) {
    let (rows, width) = (size.rows, spec.hidden_size);
    let row = |i| (i * ROW_STRIDE % GATHERED) as u32;
    let indices: Vec<u32> = (0..rows).map(row).collect();
    let operands = || (cards::buffer(GATHERED, width), cards::buffer(rows, width));
    let gather = ("gather", width, Traffic::Copy);
    size.run(
        gather,
        cost::Activations::F32.copy(rows, width),
        operands,
        |(x, out)| Cpu::F32.gather(x, &indices, out),
    );
}
