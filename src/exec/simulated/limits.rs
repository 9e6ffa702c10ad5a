//! What one rank of a card achieves: bytes and FLOPs.

use super::calibration::{
    ATTENTION_SHARE, EARLY_SM_LANES, FMA, KERNEL_SECONDS, LAUNCH_SECONDS, MATMUL_SHARE, READ_SHARE,
    SM_BYTES_PER_CLOCK, SM_LANES,
};
use crate::ground::recorder::Cost;
use crate::hardware::{Capability, Gpu};
use crate::shape::WeightType;

const GIGA: f64 = 1e9;
const TERA: f64 = 1e12;
/// Last compute capability with few f32 lanes an SM.
const EARLY: Capability = Capability { major: 8, minor: 0 };

/// What limits the arithmetic of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tensor cores in the type of the activations.
    Matmul,
    /// Tensor cores on weights in FP8.
    Fp8Matmul,
    /// Attention over prompts and caches.
    Attention,
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub read_bytes_per_s: f64,
    pub matmul_flop_per_s: f64,
    fp8_flop_per_s: f64,
    /// Kernels come from graphs; else the host launches each.
    graphs: bool,
}

impl Limits {
    /// Of a card; `dtype` is that of the activations.
    pub fn new(gpu: &Gpu, dtype: WeightType, graphs: bool) -> Self {
        let matmul = matmul(gpu, dtype);
        let fp8 = gpu.measured_fp8_matmul_tflops;
        let fp8 = fp8.or(gpu.fp8_tflops.map(|sheet| sheet * MATMUL_SHARE));
        Self {
            read_bytes_per_s: read(gpu),
            matmul_flop_per_s: matmul,
            // A card without FP8 tensor cores widens the weights on their way in.
            fp8_flop_per_s: fp8.map_or(matmul, |fp8| fp8 * TERA),
            graphs,
        }
    }

    /// Of one operation: its bytes or its FLOPs, whichever take longer, and its kernel.
    pub fn seconds(&self, cost: Cost, unit: Unit) -> f64 {
        self.kernel(self.busy(cost, unit))
    }

    /// The same without a kernel of its own.
    pub fn busy(&self, cost: Cost, unit: Unit) -> f64 {
        let flop_per_s = match unit {
            Unit::Matmul => self.matmul_flop_per_s,
            Unit::Fp8Matmul => self.fp8_flop_per_s,
            Unit::Attention => self.matmul_flop_per_s * ATTENTION_SHARE,
        };
        let bytes = cost.bytes as f64 / self.read_bytes_per_s;
        bytes.max(cost.flops as f64 / flop_per_s)
    }

    /// A kernel that keeps the card busy for so long.
    pub fn kernel(&self, busy: f64) -> f64 {
        let seconds = busy + KERNEL_SECONDS;
        match self.graphs {
            true => seconds,
            false => seconds.max(LAUNCH_SECONDS),
        }
    }
}

/// Bytes a second of weights and caches.
fn read(gpu: &Gpu) -> f64 {
    let memory = gpu.bandwidth_gb_s * GIGA * READ_SHARE;
    let lanes = match gpu.compute_capability <= EARLY {
        true => EARLY_SM_LANES,
        false => SM_LANES,
    };
    let sms = gpu.f32_tflops.map(|f32_tflops| {
        let sm_clocks = f32_tflops * TERA / (lanes * FMA);
        sm_clocks * SM_BYTES_PER_CLOCK
    });
    let modelled = sms.map_or(memory, |sms| memory.min(sms));
    // What was measured is there at least.
    let measured = gpu.measured_read_gb_s.map_or(0.0, |read| read * GIGA);
    modelled.max(measured)
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
