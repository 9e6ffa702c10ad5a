//! Random weights at a model's shapes: no file is read, and every element depends only on the
//! seed, the tensor's name and its place in it.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};
use float8::F8E4M3;
use half::{bf16, f16};

use super::weights::WeightSource;
use crate::ops::cpu::{e4m3, workers};
use crate::shape::{Format, Role, TensorSpec, WeightType};

/// Half the width of the uniform distribution: a standard deviation of about 0.02, as
/// `initializer_range` of the supported families.
const HALF_WIDTH: f32 = 0.035;
/// Multiplier of the row generator (Steele and Vigna 2021, a 64-bit multiplier of good spectrum).
const LCG_MULTIPLIER: u64 = 0xd134_2543_de82_ef95;
/// Different weights of one 8-bit block.
const LEVELS: usize = 256;

#[derive(Debug, Clone, Copy)]
pub struct DummyWeights {
    pub seed: u64,
    pub weight_type: WeightType,
}

/// The elements of such weights have none.
fn places<T>(tensor: &TensorSpec) -> Result<T> {
    bail!(
        "{}: of packed weights only the bytes are known",
        tensor.name
    )
}

impl WeightSource for DummyWeights {
    fn dtype(&self, tensor: &TensorSpec) -> Result<DType> {
        Ok(match tensor.format {
            Format::Plain => dtype(self.weight_type),
            Format::Fp8 => DType::F8E4M3,
            Format::Scale { .. } => DType::F32,
            Format::Packed { .. } | Format::Loose => return places(tensor),
        })
    }

    fn block(
        &self,
        tensor: &TensorSpec,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Tensor> {
        let name = &tensor.name;
        match (tensor.format, self.weight_type) {
            (Format::Fp8, _) => {
                let codes = codes();
                self.fill(name, rows, columns, |unit| codes[level(unit)])
            }
            (Format::Scale { .. }, _) => self.fill(name, rows, columns, scale),
            (Format::Packed { .. } | Format::Loose, _) => places(tensor),
            (Format::Plain, WeightType::Bf16) => self.fill(name, rows, columns, |unit| {
                bf16::from_f32(unit * HALF_WIDTH)
            }),
            (Format::Plain, WeightType::F16) => {
                self.fill(name, rows, columns, |unit| f16::from_f32(unit * HALF_WIDTH))
            }
            (Format::Plain, WeightType::F32) => {
                self.fill(name, rows, columns, |unit| unit * HALF_WIDTH)
            }
        }
    }

    fn vector(&self, tensor: &TensorSpec, range: Range<usize>) -> Result<Tensor> {
        if tensor.role == Role::Norm {
            return Tensor::ones(range.len(), DType::F32, &Device::Cpu);
        }
        let values = self.fill(&tensor.name, 0..1, range, |unit| unit * HALF_WIDTH)?;
        values.flatten_all()
    }
}

impl DummyWeights {
    /// `convert` is given numbers that are uniform in -1..1.
    fn fill<T: candle_core::WithDType + Send>(
        &self,
        name: &str,
        rows: Range<usize>,
        columns: Range<usize>,
        convert: impl Fn(f32) -> T + Sync,
    ) -> Result<Tensor> {
        let base = hash(self.seed, name);
        let (skip_factor, skip_sum) = skip(columns.start);
        let mut values = vec![T::zero(); rows.len() * columns.len()];
        workers::each_chunk(&mut values, columns.len().max(1), |i, out| {
            let row = (rows.start + i) as u64;
            let first = base ^ row.wrapping_mul(LCG_MULTIPLIER);
            let mut state = first.wrapping_mul(skip_factor).wrapping_add(skip_sum);
            for value in out {
                state = state.wrapping_mul(LCG_MULTIPLIER).wrapping_add(1);
                // The high half of a multiplicative generator is its good half.
                let unit = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                *value = convert(unit);
            }
        });
        Tensor::from_vec(values, (rows.len(), columns.len()), &Device::Cpu)
    }
}

/// Of a number in -1..1, one of `LEVELS`.
fn level(unit: f32) -> usize {
    (((unit + 1.0) * (LEVELS / 2) as f32) as usize).min(LEVELS - 1)
}

/// The 8-bit float nearest to each level, spread over the format's range: none is a NaN.
fn codes() -> [F8E4M3; LEVELS] {
    std::array::from_fn(|level| {
        let unit = (2 * level + 1) as f32 / LEVELS as f32 - 1.0;
        F8E4M3::from_f32(unit * e4m3::MAX)
    })
}

/// Weights of a block have about the width of all others; blocks differ, so that a wrong one is seen.
fn scale(unit: f32) -> f32 {
    HALF_WIDTH / e4m3::MAX * (1.0 + unit / 2.0)
}

/// `(a, b)` so that `a * state + b` is the row generator `steps` steps on (Brown 1994).
fn skip(mut steps: usize) -> (u64, u64) {
    let (mut factor, mut sum) = (1_u64, 0_u64);
    // The map of 1, 2, 4, ... steps.
    let (mut step_factor, mut step_sum) = (LCG_MULTIPLIER, 1_u64);
    while steps > 0 {
        if steps & 1 == 1 {
            factor = factor.wrapping_mul(step_factor);
            sum = sum.wrapping_mul(step_factor).wrapping_add(step_sum);
        }
        step_sum = step_sum.wrapping_mul(step_factor).wrapping_add(step_sum);
        step_factor = step_factor.wrapping_mul(step_factor);
        steps >>= 1;
    }
    (factor, sum)
}

pub fn dtype(weight_type: WeightType) -> DType {
    match weight_type {
        WeightType::Bf16 => DType::BF16,
        WeightType::F16 => DType::F16,
        WeightType::F32 => DType::F32,
    }
}

/// FNV-1a over the name, from the seed.
fn hash(seed: u64, name: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let start = OFFSET ^ seed.wrapping_mul(LCG_MULTIPLIER);
    name.bytes()
        .fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(PRIME))
}
