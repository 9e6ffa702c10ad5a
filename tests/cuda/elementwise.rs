//! Rows on their own: copied, rotated, normed, activated.

use candle_core::{DType, Device, Tensor};
use candlepower::ops::cuda::Cuda;
use candlepower::ops::reference::Reference;
use candlepower::ops::{Backend, Kernels, Norm, Rope, Rows};

use crate::common::random::Random;
use crate::common::stored::Stored;
use crate::support::{
    DTYPES, SPARE, assert_close, copied, cuda, exact, sent, tolerance, untouched,
};

/// Widths of rows in 16-byte accesses and not, shorter than a block and longer than what threads keep.
const WIDTHS: [usize; 8] = [1, 7, 16, 72, 200, 513, 1032, 9100];
const CASES: usize = 24;

fn vector(random: &mut Random, len: usize) -> Tensor {
    Tensor::from_vec(random.units(len), len, &Device::Cpu).unwrap()
}

/// Tells the GPU of a step whose rows have such tokens, positions and logit rows, and nothing else.
fn begin(cuda: &Cuda, tokens: &[u32], positions: &[u32], logit_rows: &[u32]) {
    let rows = Rows {
        positions: positions.to_vec(),
        slots: vec![0; positions.len()],
        query_offsets: vec![0, positions.len() as u32],
        context_lens: vec![positions.len() as u32],
        block_tables: vec![0],
        max_blocks: 1,
    };
    cuda.begin_step(tokens, &rows, logit_rows, &[]).unwrap();
}

#[test]
fn embedding_and_gather_copy_rows() {
    let mut random = Random(1);
    for dtype in DTYPES {
        let cuda = cuda(dtype);
        for _ in 0..CASES {
            let (n, count) = (random.within(1..60), random.within(1..20));
            let width = random.pick(&WIDTHS[..7]);
            let table = exact(&mut random, n, width, dtype);
            // Some tokens lie below the table, some beyond it.
            let first = random.within(0..20) as u32;
            let tokens = random.tokens(count, n + 40);
            let picked = random.within(1..2 * count + 1);
            let logit_rows = random.tokens(picked, count);
            begin(&cuda, &tokens, &vec![0; count], &logit_rows);
            let embed = |kernels: &dyn Backend, out: &_| {
                let table = Stored::plain(table.to_dtype(dtype).unwrap());
                let table = kernels.pack(&[&table], None).unwrap();
                kernels.embed(&table, first, &tokens, out).unwrap();
            };
            let expected = untouched(count, width);
            embed(&Reference, &expected);
            let found = sent(&cuda, &untouched(count, width), dtype);
            embed(&cuda, &found);
            assert_close(&found, &expected, 0.0);

            let x = exact(&mut random, count, width, dtype);
            let expected = untouched(picked, width);
            Reference.gather(&x, &logit_rows, &expected).unwrap();
            let found = sent(&cuda, &untouched(picked, width), dtype);
            let x = sent(&cuda, &x, dtype);
            cuda.gather(&x, &logit_rows, &found).unwrap();
            assert_close(&found, &expected, 0.0);
        }
    }
}

#[test]
fn rotations_of_far_positions() {
    let mut random = Random(2);
    let cuda = cuda(DType::BF16);
    for _ in 0..CASES {
        let (half, count) = (random.within(1..140), random.within(1..12));
        let rope = Rope {
            inverse_frequencies: random.vec(half, |unit| f64::from(unit.abs())),
            attention_factor: 0.5 + f64::from(random.unit().abs()),
        };
        let positions = random.tokens(count, 200_000);
        begin(&cuda, &vec![0; count], &positions, &[]);
        let expected = untouched(count, 2 * half);
        Reference.rope(&rope, &positions, &expected).unwrap();
        let found = sent(&cuda, &untouched(count, 2 * half), DType::F32);
        cuda.rope(&rope, &positions, &found).unwrap();
        // Angles up to 200,000 are off by 3e-11 at most: it is the rounding to f32 that shows.
        assert_close(&found, &expected, 1e-7);
    }
}

#[test]
fn norms_with_and_without_a_sum() {
    let mut random = Random(3);
    for dtype in DTYPES {
        let cuda = cuda(dtype);
        for case in 0..CASES {
            let (width, count) = (WIDTHS[case % WIDTHS.len()], random.within(1..5));
            let weight = vector(&mut random, width);
            let eps = random.pick(&[1e-6, 1e-2]);
            let x = exact(&mut random, count + SPARE, width, dtype);
            let delta = exact(&mut random, count + SPARE, width, dtype);
            let delta = random.flip().then_some(&delta);
            // The norm is of the sum as it is stored.
            let stored = match delta {
                Some(delta) => (&x + delta).unwrap().to_dtype(dtype).unwrap(),
                None => x.to_dtype(dtype).unwrap(),
            };
            let stored = stored.to_dtype(DType::F32).unwrap();
            let norm = Norm {
                weight: weight.clone(),
                eps,
            };
            let expected = untouched(count, width);
            Reference
                .add_norm(&copied(&stored), None, &norm, count, &expected)
                .unwrap();

            let found = sent(&cuda, &untouched(count, width), dtype);
            let sum = sent(&cuda, &x, dtype);
            let delta = delta.map(|delta| sent(&cuda, delta, dtype));
            let norm = Norm {
                weight: cuda.vector(weight).unwrap(),
                eps,
            };
            cuda.add_norm(&sum, delta.as_ref(), &norm, count, &found)
                .unwrap();
            assert_close(&found, &expected, tolerance(dtype));
            let rows = |tensor: &Tensor, start, len| tensor.narrow(0, start, len).unwrap();
            // One addition and one rounding are the same everywhere.
            assert_close(&rows(&sum, 0, count), &rows(&stored, 0, count), 0.0);
            assert_close(&rows(&sum, count, SPARE), &rows(&x, count, SPARE), 0.0);
        }
    }
}

#[test]
fn activations_of_any_size() {
    let mut random = Random(4);
    for dtype in DTYPES {
        let cuda = cuda(dtype);
        for case in 0..CASES {
            let (width, count) = (WIDTHS[case % 7], random.within(1..6));
            let gate_up = exact(&mut random, count + SPARE, 2 * width, dtype);
            let scale = random.pick(&[0.125, 4.0, 64.0]);
            let gate_up = (gate_up * scale).unwrap();
            let expected = untouched(count, width);
            Reference.silu_mul(&gate_up, count, &expected).unwrap();
            let found = sent(&cuda, &untouched(count, width), dtype);
            cuda.silu_mul(&sent(&cuda, &gate_up, dtype), count, &found)
                .unwrap();
            assert_close(&found, &expected, tolerance(dtype));
        }
    }
}

#[test]
fn what_is_not_a_number_shows() {
    for dtype in DTYPES {
        let cuda = cuda(dtype);
        let bad = Tensor::new(&[[f32::NAN, 1.0, 1.0, 1.0]], &Device::Cpu).unwrap();
        let bad = sent(&cuda, &bad, dtype);
        let out = cuda.buffer(1, 2).unwrap();
        cuda.silu_mul(&bad, 1, &out).unwrap();
        assert!(crate::support::values(&out)[0].is_nan());
        let norm = Norm {
            weight: cuda
                .vector(Tensor::ones(4, DType::F32, &Device::Cpu).unwrap())
                .unwrap(),
            eps: 1e-6,
        };
        let out = cuda.buffer(1, 4).unwrap();
        cuda.add_norm(&bad, None, &norm, 1, &out).unwrap();
        assert!(crate::support::values(&out).iter().all(|v| v.is_nan()));
    }
}
