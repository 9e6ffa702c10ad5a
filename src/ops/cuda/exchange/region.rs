//! Memory that several GPUs of one process reach.

use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaContext, result, sys};

use crate::ops::cuda::device::Gpu;
use crate::ops::cuda::pinned::Pinned;

/// Bytes at one address for all GPUs; zeros at first.
#[derive(Debug)]
pub enum Region {
    /// Ordinary memory for the host.
    Host(Pinned<u32>),
    Device(OnGpu),
}

/// Memory of one GPU; others reach it where peer access is enabled.
#[derive(Debug)]
pub struct OnGpu {
    /// That it was allocated in.
    context: Arc<CudaContext>,
    start: sys::CUdeviceptr,
}

// SAFETY: the region hands out an address; whoever follows it keeps the order, see `kernels/exchange.cuh`.
unsafe impl Sync for Region {}

impl Region {
    /// Of the host, for every GPU of the process.
    pub fn on_host(gpu: &Gpu, bytes: usize) -> Result<Self> {
        Pinned::new(gpu, bytes.div_ceil(size_of::<u32>())).map(Self::Host)
    }

    /// Of the GPU. Not from its pool, whose memory is not for others.
    pub fn on_gpu(gpu: &Gpu, bytes: usize) -> Result<Self> {
        gpu.bind()?;
        // SAFETY: filled below, before anybody reads it.
        let start = unsafe { result::malloc_sync(bytes) }.w()?;
        let region = Self::Device(OnGpu {
            context: gpu.stream.context().clone(),
            start,
        });
        // SAFETY: `start` has as many bytes, and nobody else knows of them yet.
        unsafe { result::memset_d8_async(start, 0, bytes, gpu.stream.cu_stream()) }.w()?;
        gpu.synchronize()?;
        Ok(region)
    }

    /// For kernels and copies. One address space holds the host's memory and that of all GPUs.
    pub fn address(&self) -> u64 {
        match self {
            Self::Host(words) => words.start() as u64,
            Self::Device(memory) => memory.start,
        }
    }

    /// Where the host itself reaches it.
    pub fn host(&self) -> Option<*mut u32> {
        match self {
            Self::Host(words) => Some(words.start()),
            Self::Device(_) => None,
        }
    }

    /// Lets the kernels of `gpu` write to it.
    ///
    /// # Errors
    /// The GPU does not reach the memory of the one that it lies in.
    pub fn open_to(&self, gpu: &Gpu) -> Result<()> {
        let context = match self {
            Self::Device(memory) if memory.context.ordinal() != gpu.ordinal() => &memory.context,
            _ => return Ok(()),
        };
        gpu.bind()?;
        // SAFETY: the region keeps its context alive, and this GPU's is current.
        let enabled = unsafe { sys::cuCtxEnablePeerAccess(context.cu_ctx(), 0) };
        match enabled {
            sys::CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(()),
            outcome => outcome.result().w(),
        }
    }
}

impl Drop for OnGpu {
    fn drop(&mut self) {
        // After a failed GPU neither may work; the process ends then, and the memory with it.
        let _ = self.context.bind_to_thread();
        // SAFETY: allocated so, freed once; every exchange that knew of it has waited for its GPU.
        let _ = unsafe { result::free_sync(self.start) };
    }
}
