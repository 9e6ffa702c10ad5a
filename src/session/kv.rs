//! What the KV cache holds, and how that is written.

use candle_core::DType;

use crate::fit::KvType;

/// Of what was asked for, where `Auto` is `auto`.
pub fn kv_dtype(asked: KvType, auto: DType) -> DType {
    match asked {
        KvType::Auto => auto,
        KvType::Bf16 => DType::BF16,
        KvType::F16 => DType::F16,
        KvType::F32 => DType::F32,
        KvType::Fp8 => DType::F8E4M3,
    }
}

/// `Auto` on the CPU, where activations are f32: half their bytes, unless the weights are f32 too.
pub fn cpu_kv_dtype(weights: DType) -> DType {
    match weights {
        DType::F32 => DType::F32,
        _ => DType::BF16,
    }
}

/// As the flag names it.
pub fn kv_dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F8E4M3 => "fp8",
        other => other.as_str(),
    }
}
