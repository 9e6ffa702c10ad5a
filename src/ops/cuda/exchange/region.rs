//! Memory that several GPUs of one process reach.

use std::ffi::c_void;
use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaContext, result, sys};

use crate::ops::cuda::device::Gpu;

/// Bytes at one address for all GPUs; zeros at first.
#[derive(Debug)]
pub struct Region {
    /// That it was allocated in.
    context: Arc<CudaContext>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Pinned, mapped for every GPU; ordinary memory for the host.
    Host(*mut c_void),
    /// Of one GPU; others reach it where peer access is enabled.
    Device(sys::CUdeviceptr),
}

// SAFETY: what `Host` points to belongs to this region alone until it is dropped, and is freed with a context that any
// thread may bind.
unsafe impl Send for Region {}
// SAFETY: the region hands out an address; whoever follows it keeps the order, see `kernels/exchange.cuh`.
unsafe impl Sync for Region {}

impl Region {
    /// Of the host, for every GPU of the process.
    pub fn on_host(gpu: &Gpu, bytes: usize) -> Result<Self> {
        let context = gpu.stream.context().clone();
        context.bind_to_thread().w()?;
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: filled below, before anybody reads it.
        let start = unsafe { result::malloc_host(bytes, flags) }.w()?;
        // SAFETY: `start` has as many bytes, and nobody else knows of them yet.
        unsafe { start.cast::<u8>().write_bytes(0, bytes) };
        Ok(Self {
            context,
            place: Place::Host(start),
        })
    }

    /// Of the GPU. Not from its pool, whose memory is not for others.
    pub fn on_gpu(gpu: &Gpu, bytes: usize) -> Result<Self> {
        let context = gpu.stream.context().clone();
        context.bind_to_thread().w()?;
        // SAFETY: filled below, before anybody reads it.
        let start = unsafe { result::malloc_sync(bytes) }.w()?;
        let region = Self {
            context,
            place: Place::Device(start),
        };
        // SAFETY: `start` has as many bytes, and nobody else knows of them yet.
        unsafe { result::memset_d8_async(start, 0, bytes, gpu.stream.cu_stream()) }.w()?;
        gpu.synchronize()?;
        Ok(region)
    }

    /// For kernels and copies. One address space holds the host's memory and that of all GPUs.
    pub fn address(&self) -> u64 {
        match self.place {
            Place::Host(start) => start as u64,
            Place::Device(start) => start,
        }
    }

    /// Where the host itself reaches it.
    pub fn host(&self) -> Option<*mut c_void> {
        match self.place {
            Place::Host(start) => Some(start),
            Place::Device(_) => None,
        }
    }

    /// Lets the kernels of `gpu` write to it.
    ///
    /// # Errors
    /// The GPU does not reach the memory of the one that it lies in.
    pub fn open_to(&self, gpu: &Gpu) -> Result<()> {
        let own = gpu.stream.context();
        if self.host().is_some() || self.context.ordinal() == own.ordinal() {
            return Ok(());
        }
        own.bind_to_thread().w()?;
        // SAFETY: the region keeps its context alive, and this GPU's is current.
        let enabled = unsafe { sys::cuCtxEnablePeerAccess(self.context.cu_ctx(), 0) };
        match enabled {
            sys::CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(()),
            outcome => outcome.result().w(),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // After a failed GPU neither may work; the process ends then, and the memory with it.
        let _ = self.context.bind_to_thread();
        let _ = match self.place {
            // SAFETY: allocated so, freed once; every exchange that knew of it has waited for its GPU.
            Place::Host(start) => unsafe { result::free_host(start) },
            // SAFETY: as above.
            Place::Device(start) => unsafe { result::free_sync(start) },
        };
    }
}
