//! From a tensor's type at run time to a kernel's at compile time.

/// Calls `$body` with `$type` bound to the element type of `$dtype`.
macro_rules! by_dtype {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F8E4M3 => {
                type $type = float8::F8E4M3;
                $body
            }
            other => by_plain_dtype!(other, $type => $body),
        }
    };
}

/// [`by_dtype`] without e4m3: for embedding and head, which nobody stores in it.
macro_rules! by_plain_dtype {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::BF16 => {
                type $type = half::bf16;
                $body
            }
            candle_core::DType::F16 => {
                type $type = half::f16;
                $body
            }
            candle_core::DType::F32 => {
                type $type = f32;
                $body
            }
            candle_core::DType::F8E4M3 => candle_core::bail!(
                "embedding and head are bf16, f16 or f32 here, never e4m3: name them in modules_to_not_convert"
            ),
            other => candle_core::bail!("the CPU kernels hold bf16, f16, f32 and e4m3, not {other:?}"),
        }
    };
}
