//! Routing and experts against the reference.

mod loads;

use std::ops::Range;

use candle_core::{DType, Device, IndexOp, Result, Tensor};
use candlepower::ops::cuda::Cuda;
use candlepower::ops::reference::Reference;
use candlepower::ops::{
    Backend, Buffer, Expert, ExpertSpace, Experts, Kernels, Linear, Routes, Routing,
};

use crate::common::random::Random;
use crate::common::stored::Stored;
use crate::scaled::{Blocks, pack};
use crate::support::{DTYPES, SPARE, UNTOUCHED, cuda, exact, sent, untouched, values};

/// A sparse layer, and a step on it.
struct Case {
    dtype: DType,
    quantize: bool,
    rows: usize,
    top_k: usize,
    hidden: usize,
    width: usize,
    /// gate, up and down of every expert of the model.
    weights: Vec<[Stored; 3]>,
    held: Range<usize>,
    /// Of gate and up, and of down.
    blocks: [Blocks; 2],
}

impl Case {
    /// `whole`: of shapes that the tensor cores' kernels take.
    fn new(random: &mut Random, dtype: DType, fp8: bool, whole: bool, rows: usize) -> Self {
        let num_experts = random.within(2..12);
        let size = |random: &mut Random, blocks: usize| match whole {
            true => random.within(1..blocks) * 16,
            false => random.within(1..60),
        };
        let (hidden, width) = (size(random, 15), size(random, 9));
        let (inner, outer) = (Blocks::new(random, whole), Blocks::new(random, whole));
        let stored = if fp8 { DType::F8E4M3 } else { dtype };
        let offset = random.within(0..1000);
        let mut part = |shape, blocks| Stored::new(random, shape, stored, blocks, offset);
        let weights = (0..num_experts).map(|_| {
            let gate = part((width, hidden), inner);
            [
                gate,
                part((width, hidden), inner),
                part((hidden, width), outer),
            ]
        });
        let weights = weights.collect();
        let first = random.within(0..num_experts);
        let held = match random.flip() {
            true => 0..num_experts,
            false => first..random.within(first + 1..num_experts + 1),
        };
        Self {
            dtype,
            quantize: fp8 && random.flip(),
            rows,
            top_k: random.within(1..num_experts.min(8) + 1),
            hidden,
            width,
            weights,
            held,
            blocks: [inner, outer],
        }
    }

    fn experts(&self, kernels: &dyn Backend, quantize: bool) -> Experts {
        let pack = |parts: &[Stored]| match quantize {
            true => pack(kernels, parts, None).with_quantized_activations(),
            false => pack(kernels, parts, None),
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

    /// Chosen by the reference from random scores.
    fn routes(&self, random: &mut Random) -> Routes {
        let num_experts = self.weights.len();
        let scores = exact(random, self.rows, num_experts, DType::F32);
        let routing = Routing {
            num_experts,
            top_k: self.top_k,
            normalize: random.flip(),
        };
        let routes = Routes {
            experts: Reference.index_buffer(self.rows, self.top_k).unwrap(),
            weights: Reference.buffer(self.rows, self.top_k).unwrap(),
        };
        let load = Reference.index_buffer(1, num_experts).unwrap();
        let scores = Buffer::new(scores).unwrap();
        Reference
            .route(&scores, &routing, self.rows, &routes, &load)
            .unwrap();
        routes
    }

    /// Rows of the step, and the rows beyond.
    fn run(&self, cuda: &Cuda, x: &Tensor, routes: &Routes) -> Vec<f32> {
        let choices = self.rows * self.top_k;
        let buffer = |width| cuda.buffer(choices, width).unwrap();
        let space = ExpertSpace {
            gate_up: buffer(2 * self.width),
            activated: buffer(self.width),
            out: buffer(self.hidden),
        };
        let x = sent(cuda, x, self.dtype);
        let out = sent(cuda, &untouched(self.rows, self.hidden), self.dtype);
        let experts = self.experts(cuda, self.quantize);
        let routes = moved(cuda, routes);
        cuda.experts(&x, &experts, &routes, self.rows, &space, &out)
            .unwrap();
        values(&out)
    }

    /// Choice by choice with the reference's operations, each result stored as `dtype`.
    fn expected(&self, x: &Tensor, routes: &Routes) -> Result<Vec<f32>> {
        let experts = self.experts(&Reference, false);
        let stored = |t: &Tensor| t.to_dtype(self.dtype)?.to_dtype(DType::F32);
        let read = |x: &Tensor, blocks: Blocks| match self.quantize {
            true => blocks.rounded(x),
            false => x.clone(),
        };
        let linear = |x: &Tensor, layer: &Linear| {
            let out = Reference.buffer(1, layer.n)?;
            Reference.linear(x, layer, 1, &out)?;
            stored(&out)
        };
        let chosen = routes.experts.to_vec2::<u32>()?;
        let weights = routes.weights.to_vec2::<f32>()?;
        let mut out = Vec::new();
        for row in 0..self.rows {
            let x = read(&x.i(row..row + 1)?, self.blocks[0]);
            let mut sum = Tensor::zeros((1, self.hidden), DType::F32, &Device::Cpu)?;
            for (&expert, &weight) in chosen[row].iter().zip(&weights[row]) {
                let Some(local) = experts.local(expert) else {
                    continue;
                };
                let Expert { gate_up, down } = &experts.held[local];
                let activated = Reference.buffer(1, self.width)?;
                Reference.silu_mul(&linear(&x, gate_up)?, 1, &activated)?;
                let activated = read(&stored(&activated)?, self.blocks[1]);
                sum = (sum + (linear(&activated, down)? * f64::from(weight))?)?;
            }
            out.extend(values(&sum));
        }
        out.resize((self.rows + SPARE) * self.hidden, UNTOUCHED);
        Ok(out)
    }

    /// How far a row may be off, relative to its length: the last rounding, and where sums in another order fall to
    /// the other side of a rounding between.
    fn tolerance(&self) -> f32 {
        match (self.quantize, self.dtype) {
            (true, _) => 2e-2,
            (false, DType::F32) => 2e-5,
            (false, DType::F16) => 1e-3,
            (false, _) => 8e-3,
        }
    }

    fn check(&self, random: &mut Random) {
        let routes = self.routes(random);
        self.check_on(&cuda(self.dtype), random, &routes);
    }

    fn check_on(&self, cuda: &Cuda, random: &mut Random, routes: &Routes) {
        let x = exact(random, self.rows + SPARE, self.hidden, self.dtype);
        let found = self.run(cuda, &x, routes);
        let expected = self.expected(&x, routes).unwrap();
        assert_eq!(found.len(), expected.len());
        let rows = found.chunks(self.hidden).zip(expected.chunks(self.hidden));
        for (row, (found, expected)) in rows.enumerate() {
            let length = |v: &mut dyn Iterator<Item = f32>| v.map(|v| v * v).sum::<f32>().sqrt();
            let off = length(&mut found.iter().zip(expected).map(|(f, e)| f - e));
            let size = length(&mut expected.iter().copied());
            let near = off <= self.tolerance() * (1.0 + size);
            assert!(
                near,
                "row {row} of {} x {} in {:?}, rounded {}: {off} of {size}",
                self.hidden, self.width, self.dtype, self.quantize
            );
        }
    }
}

fn moved(cuda: &Cuda, routes: &Routes) -> Routes {
    Routes {
        experts: sent(cuda, &routes.experts, DType::U32),
        weights: sent(cuda, &routes.weights, DType::F32),
    }
}

fn check_cases(seed: u64, fp8: bool, whole: bool) {
    let random = &mut Random(seed);
    for case in 0..15 {
        let dtype = DTYPES[case % DTYPES.len()];
        let rows = random.pick(&[1, 3, 9, 20, 45, 100]);
        Case::new(random, dtype, fp8, whole, rows).check(random);
    }
}

#[test]
fn dense_weights_agree_with_the_reference() {
    check_cases(31, false, true);
}

#[test]
fn dense_weights_of_odd_shapes_agree_with_the_reference() {
    check_cases(32, false, false);
}

#[test]
fn fp8_agrees_with_the_reference() {
    check_cases(33, true, true);
}

#[test]
fn fp8_of_odd_shapes_agrees_with_the_reference() {
    check_cases(34, true, false);
}

#[test]
fn a_row_that_chose_nobody_here_gets_zeros() {
    let random = &mut Random(35);
    let mut case = Case::new(random, DType::BF16, false, true, 5);
    case.top_k = 1;
    case.held = 0..1;
    let mut routes = case.routes(random);
    routes.experts = Buffer::new(Tensor::ones((5, 1), DType::U32, &Device::Cpu).unwrap()).unwrap();
    let x = exact(random, 5, case.hidden, case.dtype);
    let found = case.run(&cuda(case.dtype), &x, &routes);
    assert!(found[..5 * case.hidden].iter().all(|v| *v == 0.0));
}

#[test]
fn routes_agree_with_the_reference() {
    let random = &mut Random(36);
    for _ in 0..40 {
        let (rows, num_experts) = (random.within(1..40), random.within(1..200));
        let routing = Routing {
            num_experts,
            top_k: random.within(1..num_experts.min(12) + 1),
            normalize: random.flip(),
        };
        // Few levels, so that many are equal.
        let levels = random.tokens((rows + SPARE) * num_experts, 40);
        let scores: Vec<f32> = levels.iter().map(|&v| v as f32 / 8.0).collect();
        let scores = Tensor::from_vec(scores, (rows + SPARE, num_experts), &Device::Cpu).unwrap();
        let cuda = cuda(DType::BF16);
        let mut found = Vec::new();
        for kernels in [&Reference as &dyn Backend, &cuda] {
            let scores = match kernels.name() {
                "cuda" => sent(&cuda, &scores, DType::F32),
                _ => Buffer::new(scores.copy().unwrap()).unwrap(),
            };
            let routes = Routes {
                experts: kernels.index_buffer(rows + SPARE, routing.top_k).unwrap(),
                weights: kernels.wide_buffer(rows + SPARE, routing.top_k).unwrap(),
            };
            let load = kernels.index_buffer(1, num_experts).unwrap();
            // Twice: loads add up.
            for _ in 0..2 {
                kernels
                    .route(&scores, &routing, rows, &routes, &load)
                    .unwrap();
            }
            found.push([&*routes.experts, &*load, &*routes.weights].map(values));
        }
        assert_eq!(found[0][..2], found[1][..2]);
        for (ours, plain) in found[1][2].iter().zip(&found[0][2]) {
            assert!((ours - plain).abs() <= 1e-6, "{ours}, expected {plain}");
        }
    }
}

/// Choices stay within the experts, each once.
#[test]
fn scores_that_are_no_numbers_choose_experts_that_are_there() {
    let cuda = cuda(DType::F32);
    let scores = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
    let scores: Vec<f32> = (0..20).map(|i| scores[i * i % 7 % 5]).collect();
    let scores = Tensor::from_vec(scores, (4, 5), &Device::Cpu).unwrap();
    let routing = Routing {
        num_experts: 5,
        top_k: 5,
        normalize: true,
    };
    let routes = Routes {
        experts: cuda.index_buffer(4, 5).unwrap(),
        weights: cuda.wide_buffer(4, 5).unwrap(),
    };
    let load = cuda.index_buffer(1, 5).unwrap();
    let scores = sent(&cuda, &scores, DType::F32);
    cuda.route(&scores, &routing, 4, &routes, &load).unwrap();
    assert_eq!(values(&load), [4.0; 5]);
}
