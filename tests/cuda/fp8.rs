//! Linear layers of block-scaled e4m3 against the reference.

use candle_core::{DType, Device, Tensor};
use candlepower::ops::reference::Reference;
use candlepower::ops::{Backend, Kernels, PartScales};
use float8::F8E4M3;

use crate::common::random::Random;
use crate::common::stored::Stored;
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
            // Sums of up to 400 products near 1/4 in another order.
            assert_close(&out, &expected, tolerance(out_dtype).max(3e-5));
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
