//! Stand-ins for the libraries beside the driver: computed on this machine, in stream order.

mod cards;
mod collective;
mod communicators;
mod cublas;
mod cublas_lt;
mod cupti;
mod curand;
mod gemm;
mod hub;
mod link;
mod nccl;
mod nvml;
mod nvrtc;
mod nvtx;
mod wire;

/// A function that nobody wrote was called.
fn missing(name: &str) -> ! {
    crate::driver::give_up(&format!(
        "{name} is not built: it stands here only so that programs start"
    ))
}

mod stubs {
    #![allow(non_snake_case)]
    use super::missing;
    include!(concat!(env!("OUT_DIR"), "/missing.rs"));
}
