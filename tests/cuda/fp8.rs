//! Linear layers of block-scaled e4m3 against the reference.

use candle_core::{DType, Tensor};
use candlepower::ops::Kernels;
use candlepower::ops::reference::Reference;

use crate::common::random::Random;
use crate::scaled::{Blocks, Part, pack};
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
        let parts = parts.map(|&n| Part::new(random, (n, k), DType::F8E4M3, self.blocks, offset));
        let parts: Vec<Part> = parts.collect();
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
    for _ in 0..40 {
        Case::new(random, true).check(random);
    }
}

#[test]
fn any_blocks_and_widths_agree_with_the_reference() {
    let random = &mut Random(22);
    for _ in 0..40 {
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
    use candle_core::Device;
    use candlepower::ops::{PartScales, WeightRows};
    use float8::F8E4M3;
    struct All;
    impl WeightRows for All {
        fn shape(&self) -> (usize, usize) {
            (256, 16)
        }
        fn dtype(&self) -> DType {
            DType::F8E4M3
        }
        fn read(&self, rows: std::ops::Range<usize>) -> candle_core::Result<Tensor> {
            let row = |bits: usize| {
                // NaN is not a weight.
                let bits = if bits & 0x7f == 0x7f { 0 } else { bits };
                std::iter::once(F8E4M3::from_bits(bits as u8)).chain([F8E4M3::from_bits(0); 15])
            };
            let values: Vec<F8E4M3> = rows.clone().flat_map(row).collect();
            Tensor::from_vec(values, (rows.len(), 16), &Device::Cpu)
        }
        fn scales(&self) -> candle_core::Result<Option<PartScales>> {
            Ok(Some(PartScales {
                values: Tensor::ones((2, 1), DType::F32, &Device::Cpu)?,
                block: [128, 128],
                offset: [0, 0],
            }))
        }
    }
    for dtype in DTYPES {
        let cuda = cuda(dtype);
        let layer = cuda.pack(&[&All], None).unwrap();
        let plain = Reference.pack(&[&All], None).unwrap();
        for quantize in [false, true] {
            let layer = match quantize {
                true => layer.clone().with_quantized_activations(),
                false => layer.clone(),
            };
            let x = Tensor::ones((1, 16), DType::F32, &Device::Cpu).unwrap();
            let (out, expected) = (cuda.wide_buffer(1, 256).unwrap(), untouched(1, 256));
            let wide = sent(&cuda, &x, dtype);
            cuda.linear(&wide, &layer, 1, &out).unwrap();
            Reference.linear(&x, &plain, 1, &expected).unwrap();
            // 448 times the scale of one row is 1 but for a rounding.
            let tolerance = if quantize { 1e-6 } else { 0.0 };
            assert_close(&out, &expected.narrow(0, 0, 1).unwrap(), tolerance);
        }
    }
}
