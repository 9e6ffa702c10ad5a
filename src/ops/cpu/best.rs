//! Which kernel a linear layer takes: the widest that this host has.

/// `$call` with `$kernel` bound to the best kernel of this host.
#[cfg(target_arch = "x86_64")]
macro_rules! with_best_kernel {
    ($kernel:ident => $call:expr) => {{
        use $crate::ops::cpu::{kernel_avx2, kernel_avx512, kernel_portable};
        match (kernel_avx512::Avx512::detect(), kernel_avx2::Avx2::detect()) {
            (Some($kernel), _) => $call,
            (None, Some($kernel)) => $call,
            (None, None) => {
                let $kernel = kernel_portable::Portable;
                $call
            }
        }
    }};
}

/// `$call` with `$kernel` bound to the best kernel of this host.
#[cfg(target_arch = "aarch64")]
macro_rules! with_best_kernel {
    ($kernel:ident => $call:expr) => {{
        let $kernel = $crate::ops::cpu::kernel_neon::Neon;
        $call
    }};
}

/// `$call` with `$kernel` bound to the best kernel of this host.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
macro_rules! with_best_kernel {
    ($kernel:ident => $call:expr) => {{
        let $kernel = $crate::ops::cpu::kernel_portable::Portable;
        $call
    }};
}

pub(super) use with_best_kernel;
