//! Every operation of the CPU kernels against the plain reference, on random shapes.
//!
//! Outputs are compared whole, with more rows than take part: a kernel that wrote past its rows is found out.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use candlepower::ops::sampling::noise::Noise;
use candlepower::ops::{
    Ask, AttentionShape, Backend, Buffer, HeadNorms, Kernels, KvLayer, Norm, Rope, Rows,
    WeightRows, cpu::Cpu, reference::Reference,
};
use proptest::prelude::*;

use crate::common::probe::{Chunk, rows, scattered};
use crate::common::random::Random;
use crate::common::stored::Stored;

/// One operation in f32: sums of up to 200 products of numbers near 1, in another order. Of `1 + |value|`.
const F32_TOLERANCE: f32 = 1e-5;
/// A number on the edge between two bf16 (or f16) may be rounded to either by kernels that differ in f32.
const BF16_STEP: f32 = 1.0 / 128.0;
const F16_STEP: f32 = 1.0 / 1024.0;
const E4M3_STEP: f32 = 1.0 / 8.0;
/// Rows of a buffer beyond those of the step.
const SPARE: usize = 3;
/// What those rows hold; exact in every type.
const UNTOUCHED: f32 = 7.5;

const DTYPES: [DType; 3] = [DType::BF16, DType::F16, DType::F32];
/// Of a cache.
const KV_DTYPES: [DType; 4] = [DType::BF16, DType::F16, DType::F32, DType::F8E4M3];

fn tensor(random: &mut Random, rows: usize, width: usize) -> Tensor {
    let values = random.units(rows * width);
    Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
}

fn untouched(rows: usize, width: usize) -> Tensor {
    Tensor::full(UNTOUCHED, (rows + SPARE, width), &Device::Cpu).unwrap()
}

fn copied(tensor: &Tensor) -> Buffer {
    Buffer::new(tensor.copy().unwrap()).unwrap()
}

fn vector(random: &mut Random, len: usize) -> Tensor {
    Tensor::from_vec(random.units(len), len, &Device::Cpu).unwrap()
}

fn norm(random: &mut Random, width: usize) -> Norm {
    Norm {
        weight: vector(random, width),
        eps: random.pick(&[1e-6, 1e-2]),
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.flatten_all().unwrap();
    flat.to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn assert_close(cpu: &Tensor, reference: &Tensor, tolerance: f32) {
    assert_eq!(cpu.dims(), reference.dims());
    assert_eq!(cpu.dtype(), reference.dtype());
    for (i, (c, r)) in values(cpu).iter().zip(values(reference)).enumerate() {
        let near = (c - r).abs() <= tolerance * (1.0 + r.abs());
        assert!(near, "element {i} of {:?}: {c}, expected {r}", cpu.dims());
    }
}

/// Runs `f` with each backend on buffers of its own and compares them.
fn both(outputs: &[Tensor], tolerance: f32, f: impl Fn(&dyn Backend, &[Buffer]) -> Result<()>) {
    let run = |kernels: &dyn Backend| {
        let buffers: Vec<Buffer> = outputs.iter().map(copied).collect();
        f(kernels, &buffers).unwrap();
        buffers
    };
    let (cpu, reference) = (run(&Cpu::F32), run(&Reference));
    for ((cpu, reference), start) in cpu.iter().zip(&reference).zip(outputs) {
        assert_close(cpu, reference, tolerance);
        assert_ne!(values(reference), values(start), "the oracle wrote nothing");
    }
}

/// A cache of 1 to 4 sequences, and a step of prefill chunks and decode rows on it.
struct Step {
    shape: AttentionShape,
    rows: Rows,
    kv: KvLayer,
}

impl Step {
    fn new(random: &mut Random, dtype: DType) -> Self {
        let kv_heads = random.within(1..4);
        let shape = AttentionShape {
            num_heads: kv_heads * random.within(1..5),
            num_kv_heads: kv_heads,
            head_dim: 2 * random.within(1..36),
            window: random.flip().then(|| random.within(1..30)),
        };
        let block_size = random.pick(&[1, 3, 16, 32]);
        let spans: Vec<Range<usize>> = (0..random.within(1..5))
            .map(|_| {
                let start = random.within(0..40);
                let count = if random.flip() {
                    1
                } else {
                    random.within(1..25)
                };
                start..start + count
            })
            .collect();
        let (rows, total) = scattered(random, &spans, block_size);
        let mut cache = || {
            let values = tensor(random, total * block_size, kv_heads * shape.head_dim);
            let dims = (total, block_size, kv_heads, shape.head_dim);
            copied(&values.reshape(dims).unwrap().to_dtype(dtype).unwrap())
        };
        let kv = KvLayer {
            k: cache(),
            v: cache(),
        };
        Self { shape, rows, kv }
    }
}

fn step_of(dtype: DType) -> f32 {
    match dtype {
        DType::BF16 => BF16_STEP,
        DType::F16 => F16_STEP,
        DType::F8E4M3 => E4M3_STEP,
        _ => F32_TOLERANCE,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear_and_embed(
        seed in any::<u64>(),
        parts in prop::collection::vec(1usize..60, 1..4),
        k in 1usize..200,
        count in 1usize..40,
        dtype in prop::sample::select(&DTYPES[..]),
        bias in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let n: usize = parts.iter().sum();
        let stored: Vec<Stored> = parts
            .iter()
            .map(|&n| Stored::plain(tensor(&mut random, n, k).to_dtype(dtype).unwrap()))
            .collect();
        let parts: Vec<&dyn WeightRows> = stored.iter().map(|s| s as &dyn WeightRows).collect();
        let bias = bias.then(|| vector(&mut random, n));
        let x = tensor(&mut random, count + SPARE, k);
        both(&[untouched(count, n)], F32_TOLERANCE, |kernels, out| {
            let linear = kernels.pack(&parts, bias.clone())?;
            assert_eq!((linear.n, linear.k), (n, k));
            kernels.linear(&x, &linear, count, &out[0])
        });
        // A table is only copied: not a bit may change.
        // Of tokens outside it, there are zeros.
        let tokens = random.tokens(count, n + 40);
        let first = random.within(0..20) as u32;
        both(&[untouched(count, k)], 0.0, |kernels, out| {
            kernels.embed(&kernels.pack(&parts, None)?, first, &tokens, &out[0])
        });
    }

    #[test]
    fn greedy_is_the_highest_logit(
        seed in any::<u64>(),
        n in 1usize..600,
        k in 1usize..700,
        count in 1usize..140,
        dtype in prop::sample::select(&DTYPES[..]),
        bias in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let weight = Stored::plain(tensor(&mut random, n, k).to_dtype(dtype).unwrap());
        let bias = bias.then(|| vector(&mut random, n));
        let x = tensor(&mut random, count + SPARE, k);
        let head = Cpu::F32.pack(&[&weight], bias.clone()).unwrap();
        let logits = copied(&untouched(count, n));
        Cpu::F32.linear(&x, &head, count, &logits).unwrap();
        // The last rows may stand for no token.
        let tokens = random.within(0..n + 1);
        let vocab = 7000..7000 + tokens;
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        Cpu::F32.greedy(&x, &head, &vocab, count, &logits, &mut found).unwrap();
        // Not merely close: the same kernels see the same numbers in the same order.
        for (row, &(token, logit)) in logits.to_vec2::<f32>().unwrap().iter().zip(&found) {
            let highest = row[..tokens].iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(logit, highest);
            let place = row[..tokens].iter().position(|&v| v == highest);
            prop_assert_eq!(token as usize, 7000 + place.unwrap_or(0));
        }
        let head = Reference.pack(&[&weight], bias.clone()).unwrap();
        Reference
            .greedy(&x, &head, &vocab, count, &logits, &mut expected)
            .unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            let near = (found.1 - expected.1).abs() <= F32_TOLERANCE * (1.0 + expected.1.abs());
            prop_assert!(near || found.1 == expected.1, "{} {}", found.1, expected.1);
        }
    }

    #[test]
    fn rope_of_any_position(
        seed in any::<u64>(), half in 1usize..65, count in 1usize..20, factor in 0.5f64..2.0,
    ) {
        let mut random = Random(seed);
        let rope = Rope {
            inverse_frequencies: random.units(half).iter().map(|v| f64::from(v.abs())).collect(),
            attention_factor: factor,
        };
        let positions = random.tokens(count, 200_000);
        both(&[untouched(count, 2 * half)], F32_TOLERANCE, |kernels, out| {
            kernels.rope(&rope, &positions, &out[0])
        });
    }

    #[test]
    fn add_norm_with_and_without_delta(
        seed in any::<u64>(), width in 1usize..300, count in 1usize..150, delta in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let norm = norm(&mut random, width);
        let x = tensor(&mut random, count + SPARE, width);
        let delta = delta.then(|| copied(&tensor(&mut random, count + SPARE, width)));
        both(&[untouched(count, width)], F32_TOLERANCE, |kernels, out| {
            kernels.add_norm(&copied(&x), delta.as_ref(), &norm, count, &out[0])
        });
        // The sum stays in x.
        if delta.is_some() {
            both(&[x], F32_TOLERANCE, |kernels, x| {
                let out = copied(&untouched(count, width));
                kernels.add_norm(&x[0], delta.as_ref(), &norm, count, &out)
            });
        }
    }

    #[test]
    fn write_kv_with_and_without_norms(
        seed in any::<u64>(), dtype in prop::sample::select(&KV_DTYPES[..]), norms in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let Step { shape, rows, kv } = Step::new(&mut random, dtype);
        let norms = norms.then(|| HeadNorms {
            q: norm(&mut random, shape.head_dim),
            k: norm(&mut random, shape.head_dim),
        });
        let rotation = tensor(&mut random, rows.len() + SPARE, shape.head_dim);
        let qkv = tensor(&mut random, rows.len() + SPARE, shape.qkv_width());
        // What is left in the k columns of qkv is the kernel's own affair: q is compared.
        let query = |qkv: &Tensor| qkv.narrow(1, 0, shape.q_width())?.contiguous();
        let run = |kernels: &dyn Backend| {
            let cache = KvLayer { k: copied(&kv.k), v: copied(&kv.v) };
            let qkv = copied(&qkv);
            kernels.write_kv(&qkv, &shape, norms.as_ref(), &rotation, &rows, &cache)?;
            Ok::<_, candle_core::Error>((query(&qkv)?, cache))
        };
        let (q, cache) = run(&Cpu::F32).unwrap();
        let (expected_q, expected) = run(&Reference).unwrap();
        assert_close(&q, &expected_q, F32_TOLERANCE);
        assert_close(&cache.k, &expected.k, step_of(dtype));
        // v is only rounded.
        assert_close(&cache.v, &expected.v, 0.0);
        prop_assert_ne!(values(&expected.k), values(&kv.k));
    }

    #[test]
    fn attend_over_prefill_and_decode(
        seed in any::<u64>(), dtype in prop::sample::select(&KV_DTYPES[..]), sharpness in 0.1f64..20.0,
    ) {
        let mut random = Random(seed);
        let Step { shape, rows, kv } = Step::new(&mut random, dtype);
        let qkv = tensor(&mut random, rows.len() + SPARE, shape.qkv_width());
        let qkv = (qkv * sharpness).unwrap();
        both(&[untouched(rows.len(), shape.q_width())], 2.0 * F32_TOLERANCE, |kernels, out| {
            kernels.attend(&qkv, &shape, &rows, &kv, &out[0])
        });
    }

    #[test]
    fn silu_mul_of_any_size(
        seed in any::<u64>(), width in 1usize..300, count in 1usize..150, scale in 0.1f64..100.0,
    ) {
        let gate_up = tensor(&mut Random(seed), count + SPARE, 2 * width);
        let gate_up = (gate_up * scale).unwrap();
        both(&[untouched(count, width)], F32_TOLERANCE, |kernels, out| {
            kernels.silu_mul(&gate_up, count, &out[0])
        });
    }

    #[test]
    fn gather_of_any_rows(seed in any::<u64>(), width in 1usize..100, count in 1usize..20) {
        let mut random = Random(seed);
        let x = tensor(&mut random, 30, width);
        let indices = random.tokens(count, 30);
        both(&[untouched(count, width)], 0.0, |kernels, out| {
            kernels.gather(&x, &indices, &out[0])
        });
    }

    #[test]
    fn summaries_of_any_row(seed in any::<u64>(), tokens in 0usize..300, count in 1usize..12) {
        let mut random = Random(seed);
        let rows = tensor(&mut random, count + SPARE, tokens + 5);
        let logits = (rows * 5.0).unwrap();
        let asks: Vec<Ask> = (0..count)
            .map(|_| Ask {
                row: random.within(0..count),
                count: random.pick(&[0, 1, 2, 30, 1000]),
                temperature: random.pick(&[0.0, 0.3, 1.0, 2.0]),
                logprobs: random.flip(),
                noise: random.flip().then_some(Noise {
                    temperature: random.pick(&[0.3, 1.0, 2.0]),
                    seed,
                    stream: 3,
                    position: random.within(0..100) as u32,
                }),
            })
            .collect();
        let vocab = 50..50 + tokens;
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        Cpu::F32.summarize(&logits, &vocab, &asks, &mut found).unwrap();
        Reference.summarize(&logits, &vocab, &asks, &mut expected).unwrap();
        prop_assert_eq!(found.len(), expected.len());
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + b);
        for ((found, expected), ask) in found.iter().zip(&expected).zip(&asks) {
            prop_assert_eq!(found.peak, expected.peak);
            prop_assert_eq!(&found.top, &expected.top);
            prop_assert!(near(found.mass, expected.mass), "{ask:?}");
            prop_assert!(near(found.mass_at_one, expected.mass_at_one), "{ask:?}");
            prop_assert_eq!(found.drawn, expected.drawn);
            prop_assert_eq!(found.drawn.is_some(), tokens > 0 && ask.noise.is_some());
        }
    }
}

#[test]
fn greedy_takes_the_first_of_equals_and_reports_what_is_not_a_number() {
    const N: usize = 400;
    const K: usize = 3;
    let head = |values: Vec<f32>| {
        let weight = Tensor::from_vec(values, (N, K), &Device::Cpu).unwrap();
        Cpu::F32.pack(&[&Stored::plain(weight)], None).unwrap()
    };
    let x = Tensor::ones((2, K), DType::F32, &Device::Cpu).unwrap();
    let (mut found, space) = (Vec::new(), copied(&untouched(1, 1)));
    let mut values = vec![0.5; N * K];
    // Columns 130 and 390 are equal and highest: of different panels, and groups of panels.
    for column in [130, 390] {
        values[column * K] = 3.0;
    }
    Cpu::F32
        .greedy(&x, &head(values.clone()), &(0..N), 2, &space, &mut found)
        .unwrap();
    assert_eq!(found, [(130, 4.0), (130, 4.0)]);
    for bad in [f32::NAN, f32::INFINITY] {
        values[200 * K + 1] = bad;
        Cpu::F32
            .greedy(&x, &head(values.clone()), &(0..N), 2, &space, &mut found)
            .unwrap();
        assert!(
            found.iter().all(|(_, logit)| !logit.is_finite()),
            "{found:?}"
        );
    }
}

/// Keys and values of one sequence, written through `write_kv`, of which the last row is attended to.
fn attend_through_a_cache(kernels: &dyn Backend, dtype: DType, qkv: &Tensor) -> Vec<f32> {
    let count = qkv.dim(0).unwrap();
    let shape = AttentionShape {
        num_heads: 8,
        num_kv_heads: 2,
        head_dim: 128,
        window: None,
    };
    let blocks = count.div_ceil(16);
    let table: Vec<u32> = (1..=blocks as u32).collect();
    let chunk = Chunk {
        start: 0,
        end: count,
        table: &table,
    };
    let rows = rows(&[chunk], 16);
    let cache = kernels.kv_layer(blocks + 1, 16, &shape, dtype).unwrap();
    // No rotation: cos 1, sin 0.
    let parts = [1.0_f32, 0.0].map(|v| Tensor::full(v, (count, 64), &Device::Cpu).unwrap());
    let rotation = Tensor::cat(&parts, 1).unwrap();
    let (qkv, out) = (copied(qkv), kernels.buffer(count, shape.q_width()).unwrap());
    let written = kernels.write_kv(&qkv, &shape, None, &rotation, &rows, &cache);
    written.unwrap();
    kernels.attend(&qkv, &shape, &rows, &cache, &out).unwrap();
    values(&out)
}

/// What an e4m3 cache costs: the error of attention's output against a cache of f32, of its root mean square.
#[test]
fn an_e4m3_cache_is_off_by_a_few_percent_and_saturates() {
    const WIDTH: usize = (8 + 2 * 2) * 128;
    let mut random = Random(17);
    // Sums of four are near enough to normal: keys and values of a real model are of this size.
    let normal = |random: &mut Random| random.units(4).iter().sum::<f32>();
    for context in [64, 700] {
        let qkv: Vec<f32> = (0..context * WIDTH).map(|_| normal(&mut random)).collect();
        let qkv = Tensor::from_vec(qkv, (context, WIDTH), &Device::Cpu).unwrap();
        let exact = attend_through_a_cache(&Cpu::F32, DType::F32, &qkv);
        let size: f32 = exact.iter().map(|v| v * v).sum();
        let error = |dtype: DType| {
            let out = attend_through_a_cache(&Cpu::F32, dtype, &qkv);
            let squares = out.iter().zip(&exact).map(|(a, b)| (a - b) * (a - b));
            (squares.sum::<f32>() / size).sqrt()
        };
        let (e4m3, bf16) = (error(DType::F8E4M3), error(DType::BF16));
        eprintln!("context {context}: e4m3 {e4m3:.4}, bf16 {bf16:.5} of the output");
        assert!(bf16 < 0.004, "{bf16}");
        assert!((0.01..0.06).contains(&e4m3), "{e4m3}");
    }
    // Of values past the largest number, the largest is kept: nothing is infinite.
    let large = Tensor::full(1000.0_f32, (3, WIDTH), &Device::Cpu).unwrap();
    for kernels in [&Cpu::F32 as &dyn Backend, &Reference] {
        let out = attend_through_a_cache(kernels, DType::F8E4M3, &large);
        assert!(out.iter().all(|v| (v - 448.0).abs() < 0.01), "{:?}", out[0]);
    }
}
