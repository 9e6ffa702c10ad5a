//! The fused kernels of this host, for tests that also run without the rest of `common`.

/// Calls `$body` with `$kernel` bound to each fused kernel that this host has, and its `$name`.
macro_rules! each_fused_kernel {
    ($kernel:ident, $name:ident => $body:expr) => {{
        #[cfg(target_arch = "x86_64")]
        {
            use candlepower::ops::cpu::{kernel_avx2::Avx2, kernel_avx512::Avx512};
            let $name = "AVX2, FMA and F16C";
            match Avx2::detect() {
                Some($kernel) => $body,
                None => eprintln!("skipped: this host has no {}", $name),
            }
            let $name = "AVX-512 F and BW";
            match Avx512::detect() {
                Some($kernel) => $body,
                None => eprintln!("skipped: this host has no {}", $name),
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            let ($kernel, $name) = (candlepower::ops::cpu::kernel_neon::Neon, "NEON");
            $body
        }
    }};
}

/// The same for activations in bf16, with the kernel that multiplies pairs of them.
macro_rules! each_bf16_kernel {
    ($kernel:ident, $name:ident => $body:expr) => {{
        each_fused_kernel!($kernel, $name => $body);
        #[cfg(target_arch = "x86_64")]
        {
            use candlepower::ops::cpu::kernel_avx512_bf16::Avx512Bf16;
            let $name = "AVX512_BF16";
            match Avx512Bf16::detect() {
                Some($kernel) => $body,
                None => eprintln!("skipped: this host has no {}", $name),
            }
        }
    }};
}
