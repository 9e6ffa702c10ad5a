//! Linear layers of block-scaled e4m3 against the reference.

use candle_core::{DType, Device, Tensor};
use candlepower::ops::reference::Reference;
use candlepower::ops::{Backend, Kernels, PartScales};
use float8::F8E4M3;

use crate::common::random::Random;
use crate::common::stored::Stored;
use crate::exchange::Machine;
use crate::report::{bytes, kernels, reported};
use crate::scaled::{Blocks, pack};
use crate::support::{DTYPES, SPARE, assert_close, cuda, exact, sent, tolerance, untouched};

struct Case {
    dtype: DType,
    rows: usize,
    widths: Vec<usize>,
    k: usize,
    blocks: Blocks,
    quantize: bool,
}

impl Case {
    /// Of a shape that the tensor cores' kernels take, or any.
    fn new(random: &mut Random, whole: bool) -> Self {
        let dtype = random.pick(&DTYPES);
        let k = match whole {
            true => random.within(1..25) * 16,
            false => random.within(1..200),
        };
        let most = random.pick(&[8, 16, 32, 100]);
        Self {
            dtype,
            rows: random.within(1..most + 1),
            widths: (0..random.within(1..4))
                .map(|_| random.within(1..60))
                .collect(),
            k,
            blocks: Blocks::new(random, whole),
            quantize: random.flip(),
        }
    }

    fn check(&self, random: &mut Random) {
        // Sums of up to 400 products near 1/4 in another order.
        self.check_within(random, |out| tolerance(out).max(3e-5));
    }

    fn check_within(&self, random: &mut Random, allowed: impl Fn(DType) -> f32) {
        let cuda = cuda(self.dtype);
        let &Self { dtype, rows, k, .. } = self;
        let offset = random.within(0..1000);
        let parts = self.widths.iter();
        let parts = parts.map(|&n| Stored::new(random, (n, k), DType::F8E4M3, self.blocks, offset));
        let parts: Vec<Stored> = parts.collect();
        let n = self.widths.iter().sum();
        let bias = random
            .flip()
            .then(|| exact(random, 1, n, dtype).flatten_all().unwrap());
        let mut layer = pack(&cuda, &parts, bias.clone());
        let plain = pack(&Reference, &parts, bias);
        let x = exact(random, rows + SPARE, k, dtype);
        let mut read: Tensor = x.clone();
        if self.quantize {
            layer = layer.with_quantized_activations();
            read = self.blocks.rounded(&x);
        }
        let expected = untouched(rows, n);
        Reference.linear(&read, &plain, rows, &expected).unwrap();
        let x = sent(&cuda, &x, dtype);
        for out_dtype in [dtype, DType::F32] {
            let out = sent(&cuda, &untouched(rows, n), out_dtype);
            cuda.linear(&x, &layer, rows, &out).unwrap();
            assert_close(&out, &expected, allowed(out_dtype));
        }
    }
}

#[test]
fn whole_blocks_agree_with_the_reference() {
    let random = &mut Random(21);
    for _ in 0..30 {
        Case::new(random, true).check(random);
    }
}

#[test]
fn any_blocks_and_widths_agree_with_the_reference() {
    let random = &mut Random(22);
    for _ in 0..30 {
        Case::new(random, false).check(random);
    }
}

/// So many rows that blocks are wide.
#[test]
fn many_rows_agree_with_the_reference() {
    let random = &mut Random(23);
    for (dtype, quantize) in [(DType::BF16, false), (DType::F16, true)] {
        let case = Case {
            dtype,
            rows: 8205,
            widths: vec![20, 13],
            k: 80,
            blocks: Blocks::new(random, true),
            quantize,
        };
        case.check(random);
    }
}

/// For many rows, its numbers rounded to the activations' type.
#[test]
fn layers_are_widened_on_hopper() {
    let hopper = Machine::new(1, false).configured("[[device]]\ncompute = 90\n");
    let report = reported(hopper, "fp8::layers_are_widened_on_hopper", || {
        let random = &mut Random(24);
        for case in 0..8 {
            let dtype = [DType::BF16, DType::F16][case % 2];
            let case = Case {
                dtype,
                rows: random.within(256..300),
                quantize: case >= 4,
                ..Case::new(random, true)
            };
            case.check_within(random, |_| 4.0 * tolerance(dtype));
        }
    });
    let Some(report) = report else { return };
    assert_eq!(kernels(&report, "widen_").len(), 2, "{report}");
    assert!(kernels(&report, "product_").is_empty(), "{report}");
}

/// Weight-only, up to 64 rows: one byte of each weight, once; each block of features reads its rows.
#[test]
fn few_rows_read_each_byte_once() {
    const N: usize = 256;
    const K: usize = 1024;
    /// Rows, and the features of a block for them.
    const CASES: [(usize, usize); 4] = [(1, 16), (12, 16), (30, 32), (60, 64)];
    let machine = Machine::new(1, false);
    let report = reported(machine, "fp8::few_rows_read_each_byte_once", || {
        let random = &mut Random(25);
        for (rows, _) in CASES {
            let blocks = Blocks {
                size: [128, 128],
                column_offset: 0,
            };
            let weight = Stored::new(random, (N, K), DType::F8E4M3, blocks, 0);
            let cuda = cuda(DType::BF16);
            let layer = pack(&cuda, &[weight], None);
            let x = sent(&cuda, &exact(random, rows, K, DType::BF16), DType::BF16);
            let out = cuda.buffer(rows, N).unwrap();
            cuda.linear(&x, &layer, rows, &out).unwrap();
        }
    });
    let Some(report) = report else { return };
    let least = |(rows, columns): (usize, usize)| N * K + 2 * rows * (N / columns * K + N);
    let least = CASES.into_iter().map(least).sum::<usize>() as u64;
    let moved = bytes(&kernels(&report, "product_"));
    println!("{moved} bytes, of which {least} must be moved");
    assert!(moved >= least, "{moved} of {least} bytes");
    assert!(moved * 10 <= least * 11, "{moved} of {least} bytes");
}

/// Subnormal numbers and both ends of e4m3 go through the conversions of bits.
#[test]
fn all_numbers_of_e4m3_are_exact() {
    const WIDTH: usize = 16;
    const NAN: u8 = 0x7f;
    let numbers = (0..=u8::MAX).map(|bits| if bits & NAN == NAN { 0 } else { bits });
    let numbers: Vec<F8E4M3> = numbers.map(F8E4M3::from_bits).collect();
    let rows = numbers.len();
    let first = |number| [number].into_iter().chain([F8E4M3::ZERO; WIDTH - 1]);
    let values: Vec<F8E4M3> = numbers.into_iter().flat_map(first).collect();
    let all = Stored {
        values: Tensor::from_vec(values, (rows, WIDTH), &Device::Cpu).unwrap(),
        scales: Some(PartScales {
            values: Tensor::ones((2, 1), DType::F32, &Device::Cpu).unwrap(),
            block: [128, 128],
            offset: [0, 0],
        }),
    };
    let x = Tensor::ones((1, WIDTH), DType::F32, &Device::Cpu).unwrap();
    let expected = untouched(1, rows);
    let plain = pack(&Reference, std::slice::from_ref(&all), None);
    Reference.linear(&x, &plain, 1, &expected).unwrap();
    let expected = expected.narrow(0, 0, 1).unwrap();
    for dtype in DTYPES {
        let cuda = cuda(dtype);
        let x = sent(&cuda, &x, dtype);
        let layer = pack(&cuda, std::slice::from_ref(&all), None);
        let rounded = layer.clone().with_quantized_activations();
        // Ones are 448 times their scale, but for a rounding of that.
        for (layer, tolerance) in [(layer, 0.0), (rounded, 1e-6)] {
            let out = cuda.wide_buffer(1, rows).unwrap();
            cuda.linear(&x, &layer, 1, &out).unwrap();
            assert_close(&out, &expected, tolerance);
        }
    }
}
