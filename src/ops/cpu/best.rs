//! Which kernel a linear layer takes: the widest that this host has for its activations.

/// `$call` with `$kernel` bound to the best kernel of this host for `$activations`.
#[cfg(target_arch = "x86_64")]
macro_rules! with_best_kernel {
    ($activations:expr, $kernel:ident => $call:expr) => {{
        use $crate::ops::cpu::packing::Activations;
        use $crate::ops::cpu::{kernel_avx2, kernel_avx512, kernel_avx512_bf16, kernel_portable};
        let pairs = match $activations {
            Activations::F32 => None,
            Activations::Bf16 => kernel_avx512_bf16::Avx512Bf16::detect(),
        };
        let (wide, narrow) = (kernel_avx512::Avx512::detect(), kernel_avx2::Avx2::detect());
        match (pairs, wide, narrow) {
            (Some($kernel), _, _) => $call,
            (None, Some($kernel), _) => $call,
            (None, None, Some($kernel)) => $call,
            (None, None, None) => {
                let $kernel = kernel_portable::Portable;
                $call
            }
        }
    }};
}

/// `$call` with `$kernel` bound to the best kernel of this host for any activations.
#[cfg(target_arch = "aarch64")]
macro_rules! with_best_kernel {
    ($activations:expr, $kernel:ident => $call:expr) => {{
        let _ = $activations;
        let $kernel = $crate::ops::cpu::kernel_neon::Neon;
        $call
    }};
}

/// `$call` with `$kernel` bound to the best kernel of this host for any activations.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
macro_rules! with_best_kernel {
    ($activations:expr, $kernel:ident => $call:expr) => {{
        let _ = $activations;
        let $kernel = $crate::ops::cpu::kernel_portable::Portable;
        $call
    }};
}

pub(super) use with_best_kernel;

/// The kernel of linear layers that this host takes for `activations`, by name.
pub fn name(activations: super::packing::Activations) -> &'static str {
    fn of<M: super::tile::MicroKernel>(_kernel: M) -> &'static str {
        M::NAME
    }
    with_best_kernel!(activations, kernel => of(kernel))
}
