//! Routing, experts and block-scaled linear layers of the CPU: against f64, against the plain reference, and
//! the same bits in every batch.

use std::ops::Range;

use candle_core::{DType, Device, IndexOp, Tensor};
use candlepower::ops::cpu::Cpu;
use candlepower::ops::cpu::workers::Workers;
use candlepower::ops::reference::Reference;
use candlepower::ops::{
    Backend, Buffer, Expert, ExpertSpace, Experts, Kernels, Linear, PartScales, Routes, Routing,
    WeightRows, cost, storage,
};
use float8::F8E4M3;
use proptest::prelude::*;

use crate::common::random::Random;
use crate::common::stored::Stored;

const DTYPES: [DType; 4] = [DType::BF16, DType::F16, DType::F32, DType::F8E4M3];
/// Rows of a buffer beyond those of the step, and what they hold.
const SPARE: usize = 3;
const UNTOUCHED: f32 = 7.5;
/// Of the sum of the sizes of what is added up.
const TOLERANCE: f64 = 3e-6;

/// Blocks of a model's weights.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    size: [usize; 2],
    column_offset: usize,
}

impl Blocks {
    fn new(random: &mut Random) -> Self {
        let size = random.pick(&[[128, 128], [16, 32], [7, 5], [1, 1], [40, 3]]);
        let column_offset = random.within(0..size[1]);
        Self {
            size,
            column_offset,
        }
    }
}

impl Stored {
    fn new(random: &mut Random, (n, k): (usize, usize), dtype: DType, blocks: Blocks) -> Self {
        if dtype != DType::F8E4M3 {
            let values = tensor(random, n, k).to_dtype(dtype).unwrap();
            return Self {
                values,
                scales: None,
            };
        }
        let values = random.units(n * k);
        let values = values.iter().map(|v| F8E4M3::from_f32(v * 448.0));
        let values: Vec<F8E4M3> = values.collect();
        let offset = [random.within(0..blocks.size[0]), blocks.column_offset];
        let grid = [
            (offset[0] + n).div_ceil(blocks.size[0]),
            (offset[1] + k).div_ceil(blocks.size[1]),
        ];
        Self {
            values: Tensor::from_vec(values, (n, k), &Device::Cpu).unwrap(),
            scales: Some(PartScales {
                values: (tensor(random, grid[0], grid[1]) / 448.0).unwrap(),
                block: blocks.size,
                offset,
            }),
        }
    }

    /// Row by row in f64.
    fn wide(&self) -> Vec<Vec<f64>> {
        let rows = self.values.to_dtype(DType::F32).unwrap();
        let rows = rows.to_dtype(DType::F64).unwrap();
        let mut rows = rows.to_vec2::<f64>().unwrap();
        if let Some(scales) = &self.scales {
            let grid = scales.values.to_vec2::<f32>().unwrap();
            let ([bn, bk], [on, ok]) = (scales.block, scales.offset);
            for (i, row) in rows.iter_mut().enumerate() {
                for (j, value) in row.iter_mut().enumerate() {
                    *value *= f64::from(grid[(on + i) / bn][(ok + j) / bk]);
                }
            }
        }
        rows
    }
}

fn tensor(random: &mut Random, rows: usize, width: usize) -> Tensor {
    let values = random.units(rows * width);
    Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
}

fn buffer(tensor: Tensor) -> Buffer {
    Buffer::new(tensor.force_contiguous().unwrap()).unwrap()
}

fn untouched(rows: usize, width: usize) -> Buffer {
    buffer(Tensor::full(UNTOUCHED, (rows + SPARE, width), &Device::Cpu).unwrap())
}

fn pack(kernels: &dyn Backend, parts: &[Stored]) -> Linear {
    let parts: Vec<&dyn WeightRows> = parts.iter().map(|p| p as &dyn WeightRows).collect();
    kernels.pack(&parts, None).unwrap()
}

/// A sparse layer of a small model, and a step on it.
struct Case {
    routing: Routing,
    rows: usize,
    hidden: usize,
    width: usize,
    /// gate, up and down of every expert of the model.
    weights: Vec<[Stored; 3]>,
    x: Buffer,
    scores: Buffer,
    /// Of experts.
    held: Range<usize>,
}

impl Case {
    fn new(seed: u64, rows: usize, dtype: DType) -> Self {
        let random = &mut Random(seed);
        let num_experts = random.within(4..65);
        let top_k = random.within(1..9).min(num_experts);
        let (hidden, width) = (random.within(1..150), random.within(1..90));
        let (inner, outer) = (Blocks::new(random), Blocks::new(random));
        let mut expert = || {
            let gate = Stored::new(random, (width, hidden), dtype, inner);
            let up = Stored::new(random, (width, hidden), dtype, inner);
            let down = Stored::new(random, (hidden, width), dtype, outer);
            [gate, up, down]
        };
        let weights = (0..num_experts).map(|_| expert()).collect();
        let x = buffer(tensor(random, rows + SPARE, hidden));
        // Few levels, so that many are equal.
        let levels = random.tokens((rows + SPARE) * num_experts, 40);
        let scores: Vec<f32> = levels.iter().map(|&v| v as f32 / 8.0).collect();
        let scores = Tensor::from_vec(scores, (rows + SPARE, num_experts), &Device::Cpu);
        let first = random.within(0..num_experts);
        let held = match random.flip() {
            true => 0..num_experts,
            false => first..random.within(first + 1..num_experts + 1),
        };
        Self {
            routing: Routing {
                num_experts,
                top_k,
                normalize: random.flip(),
            },
            rows,
            hidden,
            width,
            weights,
            x,
            scores: buffer(scores.unwrap()),
            held,
        }
    }

    fn routes(&self, kernels: &dyn Backend) -> (Routes, Vec<u32>) {
        let Routing {
            num_experts, top_k, ..
        } = self.routing;
        let routes = Routes {
            experts: kernels.index_buffer(self.rows, top_k).unwrap(),
            weights: kernels.buffer(self.rows, top_k).unwrap(),
        };
        let load = kernels.index_buffer(1, num_experts).unwrap();
        kernels
            .route(&self.scores, &self.routing, self.rows, &routes, &load)
            .unwrap();
        (routes, load.flatten_all().unwrap().to_vec1().unwrap())
    }

    fn experts(&self, kernels: &dyn Backend, quantize: bool) -> Experts {
        let pack = |parts: &[Stored]| match quantize {
            true => pack(kernels, parts).with_quantized_activations(),
            false => pack(kernels, parts),
        };
        let held = self.weights[self.held.clone()].iter();
        let held = held.map(|[gate, up, down]| Expert {
            gate_up: pack(&[gate.clone(), up.clone()]),
            down: pack(std::slice::from_ref(down)),
        });
        Experts {
            first: self.held.start,
            held: held.collect(),
        }
    }

    fn run(
        &self,
        kernels: &dyn Backend,
        experts: &Experts,
        x: &Buffer,
        routes: &Routes,
    ) -> Vec<f32> {
        let rows = routes.experts.dim(0).unwrap();
        let chosen = rows * self.routing.top_k;
        let space = ExpertSpace {
            gate_up: kernels.buffer(chosen, 2 * self.width).unwrap(),
            activated: kernels.buffer(chosen, self.width).unwrap(),
            out: kernels.buffer(chosen, self.hidden).unwrap(),
        };
        let out = untouched(rows, self.hidden);
        let done = kernels.experts(x, experts, routes, rows, &space, &out);
        done.unwrap();
        let mut out = out.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let spare = out.split_off(rows * self.hidden);
        assert!(spare.iter().all(|v| *v == UNTOUCHED), "wrote past its rows");
        out
    }

    /// Each element and how large its terms are, of the routes that were chosen.
    fn expected(&self, routes: &Routes) -> Vec<Sum> {
        let chosen = routes.experts.to_vec2::<u32>().unwrap();
        let weights = routes.weights.to_vec2::<f32>().unwrap();
        let wide: Vec<_> = (self.weights.iter())
            .map(|parts| parts.each_ref().map(Stored::wide))
            .collect();
        let mut out = Vec::new();
        for (row, x) in self.x.to_vec2::<f32>().unwrap()[..self.rows]
            .iter()
            .enumerate()
        {
            let x: Vec<Sum> = x.iter().map(|&v| Sum::of(v.into())).collect();
            let mut sums = vec![Sum::of(0.0); self.hidden];
            for (&expert, &weight) in chosen[row].iter().zip(&weights[row]) {
                if !self.held.contains(&(expert as usize)) {
                    continue;
                }
                let [gate, up, down] = &wide[expert as usize];
                let gated = product(gate, &x).into_iter().zip(product(up, &x));
                let inner: Vec<Sum> = gated.map(|(gate, up)| gate.silu_mul(up)).collect();
                for (sum, y) in sums.iter_mut().zip(product(down, &inner)) {
                    sum.value += f64::from(weight) * y.value;
                    sum.size += f64::from(weight) * y.size;
                }
            }
            out.extend(sums);
        }
        out
    }
}

/// A value and the sum of the sizes of what it was added up from.
#[derive(Debug, Clone, Copy)]
struct Sum {
    value: f64,
    size: f64,
}

impl Sum {
    fn of(value: f64) -> Self {
        Self {
            value,
            size: value.abs(),
        }
    }

    fn silu_mul(self, up: Self) -> Self {
        let silu = self.value / (1.0 + (-self.value).exp());
        Self {
            value: silu * up.value,
            // silu is steep at most by 1.1.
            size: 1.1 * self.size * up.value.abs() + silu.abs() * up.size,
        }
    }
}

fn product(weight: &[Vec<f64>], x: &[Sum]) -> Vec<Sum> {
    let row = |row: &Vec<f64>| {
        let mut sum = Sum::of(0.0);
        for (w, x) in row.iter().zip(x) {
            sum.value += w * x.value;
            sum.size += w.abs() * x.size;
        }
        sum
    };
    weight.iter().map(row).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn with_threads<R>(threads: usize, f: impl FnOnce() -> R) -> R {
    Workers::new(threads, false).unwrap().install(f)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn routing_agrees_with_the_reference(seed in any::<u64>(), rows in 1usize..71) {
        let case = Case::new(seed, rows, DType::F32);
        let (cpu, cpu_load) = case.routes(&Cpu::F32);
        let (plain, load) = case.routes(&Reference);
        prop_assert_eq!(cpu.experts.to_vec2::<u32>()?, plain.experts.to_vec2::<u32>()?);
        prop_assert_eq!(load.iter().sum::<u32>() as usize, rows * case.routing.top_k);
        prop_assert_eq!(cpu_load, load);
        let scores = case.scores.to_vec2::<f32>()?;
        let chosen = cpu.experts.to_vec2::<u32>()?.into_iter().zip(cpu.weights.to_vec2::<f32>()?);
        for ((experts, weights), scores) in chosen.zip(scores) {
            let all: f64 = scores.iter().map(|s| f64::from(*s).exp()).sum();
            let mass = |e: u32| f64::from(scores[e as usize]).exp();
            let chosen: f64 = experts.iter().map(|&e| mass(e)).sum();
            let whole = if case.routing.normalize { chosen } else { all };
            for (&e, &w) in experts.iter().zip(&weights) {
                prop_assert!((f64::from(w) - mass(e) / whole).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn experts_agree_with_f64(
        seed in any::<u64>(), rows in 1usize..71, dtype in prop::sample::select(&DTYPES[..]),
        threads in 1usize..4,
    ) {
        let case = Case::new(seed, rows, dtype);
        let (routes, _) = case.routes(&Cpu::F32);
        let experts = case.experts(&Cpu::F32, false);
        let out = with_threads(threads, || case.run(&Cpu::F32, &experts, &case.x, &routes));
        for (i, (&out, want)) in out.iter().zip(case.expected(&routes)).enumerate() {
            let error = (f64::from(out) - want.value).abs();
            prop_assert!(error <= TOLERANCE * want.size, "{i}: {out}, {want:?}");
        }
        // What was counted is what was touched.
        let chosen = routes.experts.flatten_all()?.to_vec1::<u32>()?;
        let is_chosen = |e: &usize| chosen.contains(&((e + case.held.start) as u32));
        let touched = (0..experts.held.len()).filter(is_chosen);
        let weights: u64 = touched.map(|e| experts.held[e].bytes()).sum();
        let choices = chosen.iter().filter(|&&e| case.held.contains(&(e as usize))).count();
        let activations = choices * (2 * case.hidden + (2 + 3 + 1) * case.width) * size_of::<f32>();
        let cost = cost::Activations::F32.experts(&experts, &routes, rows)?;
        prop_assert_eq!(cost.bytes, weights + activations as u64);
    }

    #[test]
    fn a_row_alone_is_the_same_bits(
        seed in any::<u64>(), rows in 2usize..40, dtype in prop::sample::select(&DTYPES[..]),
        quantize in any::<bool>(),
    ) {
        let case = Case::new(seed, rows, dtype);
        let (routes, _) = case.routes(&Cpu::F32);
        let experts = case.experts(&Cpu::F32, quantize);
        let together = with_threads(2, || case.run(&Cpu::F32, &experts, &case.x, &routes));
        for row in 0..rows {
            let one = |b: &Buffer| buffer(b.i(row..row + 1).unwrap());
            let routes = Routes { experts: one(&routes.experts), weights: one(&routes.weights) };
            let alone = case.run(&Cpu::F32, &experts, &one(&case.x), &routes);
            let among = &together[row * case.hidden..][..case.hidden];
            prop_assert_eq!(bits(&alone), bits(among));
        }
    }

    #[test]
    fn experts_agree_with_the_reference(seed in any::<u64>(), rows in 1usize..20) {
        let case = Case::new(seed, rows, DType::F8E4M3);
        let (routes, _) = case.routes(&Cpu::F32);
        let run = |kernels: &dyn Backend| {
            case.run(kernels, &case.experts(kernels, false), &case.x, &routes)
        };
        for (cpu, plain) in run(&Cpu::F32).into_iter().zip(run(&Reference)) {
            prop_assert!((cpu - plain).abs() <= 1e-4 * (1.0 + plain.abs()), "{cpu} {plain}");
        }
    }

    #[test]
    fn experts_of_several_ranks_add_up(seed in any::<u64>(), rows in 1usize..20) {
        let mut case = Case::new(seed, rows, DType::BF16);
        let (routes, _) = case.routes(&Cpu::F32);
        let all = case.routing.num_experts;
        case.held = 0..all;
        let whole = case.run(&Cpu::F32, &case.experts(&Cpu::F32, false), &case.x, &routes);
        let mut sum = vec![0.0; whole.len()];
        for held in [0..all / 2, all / 2..all] {
            case.held = held;
            let part = case.run(&Cpu::F32, &case.experts(&Cpu::F32, false), &case.x, &routes);
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        for (sum, whole) in sum.iter().zip(whole) {
            prop_assert!((sum - whole).abs() <= 1e-5 * (1.0 + whole.abs()));
        }
    }

    #[test]
    fn scaled_linear_layers_agree_with_f64(
        seed in any::<u64>(), parts in prop::collection::vec(1usize..60, 1..4),
        k in 1usize..200, rows in 1usize..40, mixed in any::<bool>(), quantize in any::<bool>(),
    ) {
        let random = &mut Random(seed);
        let blocks = Blocks::new(random);
        let stored = parts.iter().map(|&n| Stored::new(random, (n, k), DType::F8E4M3, blocks));
        let mut stored: Vec<Stored> = stored.collect();
        if mixed {
            stored.push(Stored::new(random, (5, k), DType::BF16, blocks));
        }
        let x = tensor(random, rows + SPARE, k);
        let of = |kernels: &dyn Backend| match quantize {
            true => pack(kernels, &stored).with_quantized_activations(),
            false => pack(kernels, &stored),
        };
        let (cpu, plain) = (of(&Cpu::F32), of(&Reference));
        prop_assert_eq!(cpu.weight.dtype(), if mixed { DType::F32 } else { DType::F8E4M3 });
        let (out, expected) = (untouched(rows, cpu.n), untouched(rows, cpu.n));
        Cpu::F32.linear(&x, &cpu, rows, &out)?;
        Reference.linear(&x, &plain, rows, &expected)?;
        let weights: Vec<Vec<f64>> = stored.iter().flat_map(Stored::wide).collect();
        let (out, expected) = (out.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
        for (row, x) in x.to_vec2::<f32>()?[..rows].iter().enumerate() {
            let x: Vec<Sum> = x.iter().map(|&x| Sum::of(x.into())).collect();
            for (column, want) in product(&weights, &x).into_iter().enumerate() {
                let (got, plain) = (f64::from(out[row][column]), f64::from(expected[row][column]));
                // A quotient on the edge may round either way where kernels differ; none does here.
                prop_assert!((got - plain).abs() <= 1e-6 * want.size, "{got}, reference {plain}");
                // Rounded activations are off by half a place of four: and blocks of one by nothing.
                let tolerance = if quantize { 1.0 / 16.0 } else { 1e-6 };
                prop_assert!((got - want.value).abs() <= tolerance * want.size, "{got}, {want:?}");
            }
        }
        for row in &out[rows..] {
            prop_assert!(row.iter().all(|v| *v == UNTOUCHED));
        }
    }
}

#[test]
fn broken_scales_and_nans_are_refused() {
    let random = &mut Random(3);
    let blocks = Blocks {
        size: [4, 4],
        column_offset: 1,
    };
    let good = Stored::new(random, (9, 10), DType::F8E4M3, blocks);
    let scales = good.scales.clone().unwrap();
    let with = |scales: Option<PartScales>| Stored {
        scales,
        ..good.clone()
    };
    for kernels in [&Cpu::F32 as &dyn Backend, &Reference] {
        let refuse = |parts: &[&dyn WeightRows], word: &str| {
            let error = kernels.pack(parts, None).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        kernels.pack(&[&good], None).unwrap();
        refuse(&[&with(None)], "no scales");
        let values = scales.values.i(1..).unwrap();
        let short = PartScales {
            values,
            ..scales.clone()
        };
        refuse(&[&with(Some(short))], "has scales of");
        let mut values = vec![F8E4M3::ONE; 90];
        values[70] = F8E4M3::from_bits(0xff);
        let values = Tensor::from_vec(values, (9, 10), &Device::Cpu).unwrap();
        let scales = with(Some(scales.clone())).scales;
        refuse(&[&Stored { values, scales }], "NaN");
        let mut moved = good.clone();
        moved.scales.as_mut().unwrap().offset[1] = 2;
        refuse(&[&good, &moved], "have blocks");
    }
    let linear = Cpu::F32.pack(&[&good], None).unwrap();
    let out = Cpu::F32.buffer(1, 10).unwrap();
    let error = Cpu::F32.embed(&linear, 0, &[0], &out).unwrap_err();
    assert!(error.to_string().contains("never e4m3"), "{error}");
}

#[test]
fn a_row_that_chose_nobody_here_gets_zeros() {
    let mut case = Case::new(5, 6, DType::F32);
    let (routes, _) = case.routes(&Cpu::F32);
    let all_the_same = storage::write(&routes.experts, |experts: &mut [u32]| {
        experts.fill(1);
        Ok(())
    });
    all_the_same.unwrap();
    case.held = 2..4;
    let out = case.run(&Cpu::F32, &case.experts(&Cpu::F32, false), &case.x, &routes);
    assert!(out.iter().all(|v| *v == 0.0));
}
