//! What one rank of a card achieves: bytes and FLOPs.

use super::calibration::{
    EARLY_SM_LANES, FMA, KNEE, LAUNCH_SECONDS, MATMUL_SHARE, MMA_ROWS, SM_LANES, WGMMA_ROWS,
};
use super::kernels::Kernels;
use crate::ground::recorder::Cost;
use crate::ground::results::Roofs;
use crate::hardware::{Capability, Gpu};
use crate::shape::WeightType;

const GIGA: f64 = 1e9;
const TERA: f64 = 1e12;
/// Last compute capability with few f32 lanes an SM.
const EARLY: Capability = Capability { major: 8, minor: 0 };

/// What limits an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tensor cores in the type of the activations.
    Matmul,
    /// Tensor cores on weights and activations of 8 bits.
    EightBits,
    /// Attention over prompts.
    Prefill,
    /// Attention of running requests, one query each.
    Decode,
    /// The same over latents, whose products all heads share: tensor cores, as over prompts.
    Latents,
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// Weights and activations.
    read_bytes_per_s: f64,
    /// Caches.
    cache_bytes_per_s: f64,
    matmul_flop_per_s: f64,
    fp8_flop_per_s: f64,
    prefill_flop_per_s: f64,
    decode_flop_per_s: f64,
    kernel_seconds: f64,
    tile_rows: usize,
    /// Kernels come from graphs; else the host launches each.
    graphs: bool,
}

impl Limits {
    /// Of a card; `dtype` is that of the activations.
    pub fn new(gpu: &Gpu, kernels: &Kernels, dtype: WeightType, graphs: bool) -> Self {
        let matmul = matmul(gpu, dtype) * kernels.matmul_share;
        let fp8 = gpu.measured_fp8_matmul_tflops;
        let fp8 = fp8.or(gpu.fp8_tflops.map(|sheet| sheet * MATMUL_SHARE));
        // A card without FP8 tensor cores widens the weights on their way in.
        let fp8 = fp8.map_or(matmul, |fp8| fp8 * TERA * kernels.matmul_share);
        let prefill = matmul * kernels.attention_share;
        let sm_clocks = sm_clocks(gpu);
        let by_sms = |each: Option<f64>| Some(sm_clocks? * each?);
        let memory = read(gpu, kernels);
        let weights = by_sms(kernels.sm_bytes_per_clock);
        // What was measured is there at least.
        let measured = gpu.measured_read_gb_s.map_or(0.0, |read| read * GIGA);
        Self {
            read_bytes_per_s: weights.map_or(memory, |sms| memory.min(sms)).max(measured),
            cache_bytes_per_s: memory.max(measured),
            matmul_flop_per_s: matmul,
            fp8_flop_per_s: fp8,
            prefill_flop_per_s: prefill,
            decode_flop_per_s: by_sms(kernels.decode_sm_flops_per_clock).unwrap_or(prefill),
            kernel_seconds: kernels.seconds,
            tile_rows: match gpu.compute_capability.major {
                9 | 10 => WGMMA_ROWS,
                _ => MMA_ROWS,
            },
            graphs,
        }
    }

    /// The most that a kernel reaches; `fp8`: in matmuls of 8 bits.
    pub fn roofs(&self, fp8: bool) -> Roofs {
        let fp8 = if fp8 { self.fp8_flop_per_s } else { 0.0 };
        Roofs {
            read_bytes_per_s: self.read_bytes_per_s.max(self.cache_bytes_per_s),
            flop_per_s: self.matmul_flop_per_s.max(fp8),
        }
    }

    /// Of one operation: its bytes, its FLOPs, and its kernel.
    pub fn seconds(&self, cost: Cost, unit: Unit) -> f64 {
        self.kernel(self.busy(cost, unit))
    }

    /// The same without a kernel of its own.
    pub fn busy(&self, cost: Cost, unit: Unit) -> f64 {
        let (bytes_per_s, flop_per_s) = match unit {
            Unit::Matmul => (self.read_bytes_per_s, self.matmul_flop_per_s),
            Unit::EightBits => (self.read_bytes_per_s, self.fp8_flop_per_s),
            Unit::Prefill => (self.read_bytes_per_s, self.prefill_flop_per_s),
            Unit::Decode => (self.cache_bytes_per_s, self.decode_flop_per_s),
            Unit::Latents => (self.cache_bytes_per_s, self.prefill_flop_per_s),
        };
        knee(
            cost.bytes as f64 / bytes_per_s,
            cost.flops as f64 / flop_per_s,
        )
    }

    /// Rows of a tensor core's product: fewer take as long.
    pub fn tile_rows(&self) -> usize {
        self.tile_rows
    }

    /// A kernel that keeps the card busy for so long.
    pub fn kernel(&self, busy: f64) -> f64 {
        let seconds = busy + self.kernel_seconds;
        match self.graphs {
            true => seconds,
            false => seconds.max(LAUNCH_SECONDS),
        }
    }
}

/// Of what two parts of a kernel take, each by itself.
fn knee(a: f64, b: f64) -> f64 {
    let (less, more) = (a.min(b), a.max(b));
    match more > 0.0 {
        true => more * (1.0 + (less / more).powf(KNEE)).powf(1.0 / KNEE),
        false => 0.0,
    }
}

/// Bytes a second that memory gives.
fn read(gpu: &Gpu, kernels: &Kernels) -> f64 {
    gpu.bandwidth_gb_s * GIGA * kernels.read_share
}

/// Clocks a second of all SMs together; not known of a card without f32 FLOP/s.
fn sm_clocks(gpu: &Gpu) -> Option<f64> {
    let lanes = match gpu.compute_capability <= EARLY {
        true => EARLY_SM_LANES,
        false => SM_LANES,
    };
    Some(gpu.f32_tflops? * TERA / (lanes * FMA as f64))
}

fn matmul(gpu: &Gpu, dtype: WeightType) -> f64 {
    let half = gpu.measured_matmul_tflops;
    let half = half.unwrap_or(gpu.half_tflops() * MATMUL_SHARE);
    let tflops = match dtype {
        WeightType::Bf16 | WeightType::F16 => half,
        WeightType::F32 => gpu.f32_tflops.map_or(half, |f32| f32 * MATMUL_SHARE),
    };
    tflops * TERA
}
