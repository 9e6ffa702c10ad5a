//! One GPU as one rank sees it: its context, its one stream, its memory.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use candle_core::cuda::cudarc::cublas::result::CublasError;
use candle_core::cuda::cudarc::cublas::sys::cublasStatus_t;
use candle_core::cuda::cudarc::driver::{CudaContext, CudaEvent, CudaStream, result, sys};
use candle_core::cuda::{CudaError, WrapErr};
use candle_core::{CudaDevice, Device, Error, Result};

use super::launches::Launches;
use super::patience::Watch;
use crate::ground::GpuIdentity;
use crate::ops::DeviceMemory;

/// How the UUIDs of the virtual GPU of `tests/virtual-gpu` begin.
const VIRTUAL_UUID: &[u8] = b"virtual-gpu-";

/// A GPU that was opened for one rank. The rank stays on one thread, and all its work on one stream.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(super) device: CudaDevice,
    pub(super) stream: Arc<CudaStream>,
    /// Major * 10 + minor.
    pub capability: u32,
    pub multiprocessors: u32,
    /// Bytes of shared memory that one block may have where it asks.
    pub shared_memory: u32,
    /// Bytes of shared memory for all blocks of a multiprocessor.
    pub shared_of_multiprocessor: u32,
    /// Graphs know addresses of scratch.
    fixed: Arc<AtomicBool>,
    /// By default it is waited for without an end.
    pub(super) watch: Arc<OnceLock<Watch>>,
    /// What is queued is kept and does not run.
    captures: Arc<AtomicBool>,
    pub(super) launches: Arc<Launches>,
}

/// Of `cuDeviceGetPCIBusId`: 13 letters and the end are enough.
const PCI_BUS_ID_LENGTH: usize = 32;

impl Gpu {
    /// Opens GPU `ordinal` and makes its pool keep what it once had.
    ///
    /// # Errors
    /// There is no such GPU, or the driver refuses it.
    pub fn open(ordinal: usize) -> Result<Self> {
        let device = CudaDevice::new_with_stream(ordinal)?;
        // SAFETY: everything this rank allocates is used on its one stream, in order.
        unsafe { device.disable_event_tracking() };
        let stream = device.cuda_stream();
        let context = stream.context();
        let attribute = |which| context.attribute(which).w();
        use sys::CUdevice_attribute as A;
        let (major, minor) = context.compute_capability().w()?;
        let capability = (major * 10 + minor) as u32;
        let gpu = Self {
            capability,
            multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
            shared_memory: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?
                as u32,
            shared_of_multiprocessor: attribute(
                A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
            )? as u32,
            launches: Arc::new(Launches::new(stream.clone(), capability)?),
            device,
            stream,
            fixed: Arc::default(),
            watch: Arc::default(),
            captures: Arc::default(),
        };
        gpu.keep_pool()?;
        Ok(gpu)
    }

    /// How many GPUs the driver shows.
    ///
    /// # Errors
    /// There is no driver, or it does not start.
    pub fn count() -> Result<usize> {
        result::init().w()?;
        Ok(result::device::get_count().w()? as usize)
    }

    pub fn ordinal(&self) -> usize {
        self.stream.context().ordinal()
    }

    /// Who GPU `ordinal` is; takes no memory on it.
    ///
    /// # Errors
    /// There is no such GPU, or no driver.
    pub fn identify(ordinal: usize) -> Result<GpuIdentity> {
        result::init().w()?;
        let device = result::device::get(ordinal as i32).w()?;
        let mut pci_bus_id = [0_u8; PCI_BUS_ID_LENGTH];
        // SAFETY: the buffer is as long as the call is told, and the call ends the text within it.
        unsafe {
            sys::cuDeviceGetPCIBusId(
                pci_bus_id.as_mut_ptr().cast(),
                PCI_BUS_ID_LENGTH as i32,
                device,
            )
        }
        .result()
        .w()?;
        let text = pci_bus_id
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        use sys::CUdevice_attribute as A;
        // SAFETY: the driver has just given out this device.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) }.w();
        let major = attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(GpuIdentity {
            index: ordinal,
            name: result::device::get_name(device).w()?,
            pci_bus_id: String::from_utf8_lossy(text).into_owned(),
            // SAFETY: as above.
            memory_bytes: unsafe { result::device::total_mem(device) }.w()? as u64,
            capability: (major * 10 + minor) as u32,
        })
    }

    /// Whether GPU `ordinal` is this project's stand-in, whose UUID says so: it computes what a GPU would, and its
    /// times mean nothing.
    pub fn is_virtual(ordinal: usize) -> Result<bool> {
        result::init().w()?;
        let device = result::device::get(ordinal as i32).w()?;
        let uuid = result::device::get_uuid(device).w()?;
        let bytes = uuid.bytes.map(|byte| byte as u8);
        Ok(bytes.starts_with(VIRTUAL_UUID))
    }

    /// Whether each of the first `gpus` GPUs reaches the memory of every other; `None`: they are not two.
    pub fn peer_access(gpus: usize) -> Result<Option<bool>> {
        let mut all = None;
        for (from, to) in (0..gpus).flat_map(|from| (0..gpus).map(move |to| (from, to))) {
            if from == to {
                continue;
            }
            all = Some(all.unwrap_or(true) && Self::reaches(from, to)?);
        }
        Ok(all)
    }

    /// Whether GPU `from` reaches the memory of GPU `to`.
    ///
    /// # Errors
    /// There are no such GPUs.
    pub fn reaches(from: usize, to: usize) -> Result<bool> {
        let device = |ordinal| result::device::get(ordinal as i32).w();
        let (from, to) = (device(from)?, device(to)?);
        let mut can = 0;
        // SAFETY: the driver has just given out both devices; the out-parameter lives through the call.
        unsafe { sys::cuDeviceCanAccessPeer(&mut can, from, to) }
            .result()
            .w()?;
        Ok(can != 0)
    }

    /// Bytes of GPU `ordinal` that nobody has taken, with a context on it.
    pub fn free_memory(ordinal: usize) -> Result<u64> {
        let (free, _) = CudaContext::new(ordinal).w()?.mem_get_info().w()?;
        Ok(free as u64)
    }

    pub fn memory(&self) -> Result<DeviceMemory> {
        let (free, total) = self.stream.context().mem_get_info().w()?;
        Ok(DeviceMemory {
            free: free as u64,
            total: total as u64,
        })
    }

    /// From now on the GPU is waited for as `watch` says. The first call counts.
    pub fn watch(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    /// Waits for `event`, with which `what` comes.
    ///
    /// # Errors
    /// What was queued before it failed, or is not worth waiting for.
    pub(super) fn wait(&self, event: &CudaEvent, what: &str) -> Result<()> {
        match self.watch.get() {
            None => event.synchronize().w(),
            Some(watch) => watch.wait(event, what),
        }
    }

    /// Waits for all that was queued.
    ///
    /// # Errors
    /// It failed, or is not worth waiting for.
    pub fn synchronize(&self) -> Result<()> {
        self.watch.get().map_or(Ok(()), Watch::wait_for_all)?;
        // Also what the driver does only then.
        self.stream.synchronize().w()
    }

    /// See [`Watch::keep_up`].
    ///
    /// # Errors
    /// As [`Self::synchronize`].
    pub fn keep_up(&self) -> Result<()> {
        match self.watch.get() {
            Some(watch) if !self.captures() => watch.keep_up(),
            _ => Ok(()),
        }
    }

    /// Whether the GPU hangs, once a rank has failed: to free what it may still use, a driver waits for it.
    pub(super) fn is_lost(&self) -> bool {
        self.watch.get().is_some_and(Watch::is_lost)
    }

    /// For calls of the driver that mean the calling thread's context.
    pub fn bind(&self) -> Result<()> {
        self.stream.context().bind_to_thread().w()
    }

    pub fn candle(&self) -> Device {
        Device::Cuda(self.device.clone())
    }

    pub fn stream(&self) -> Arc<CudaStream> {
        self.stream.clone()
    }

    /// From now on scratch stays where it is: a graph is about to be captured.
    pub fn fix(&self) {
        self.fixed.store(true, Relaxed);
    }

    pub fn is_fixed(&self) -> bool {
        self.fixed.load(Relaxed)
    }

    pub(super) fn set_captures(&self, captures: bool) {
        self.captures.store(captures, Relaxed);
    }

    pub(super) fn captures(&self) -> bool {
        self.captures.load(Relaxed)
    }

    /// Gives back what the pool holds for no tensor.
    pub fn trim_pool(&self) -> Result<()> {
        match self.pool()? {
            None => Ok(()),
            // SAFETY: the pool is the context's own, and lives as long as that.
            Some(pool) => unsafe { sys::cuMemPoolTrimTo(pool, 0) }.result().w(),
        }
    }

    /// By default the pool gives all that is free back at each synchronisation, and asks again.
    fn keep_pool(&self) -> Result<()> {
        let Some(pool) = self.pool()? else {
            return Ok(());
        };
        let mut threshold = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the attribute's value is documented as a u64, which lives through the call.
        unsafe { sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()) }
            .result()
            .w()
    }

    /// Where tensors come from; `None` where the driver has no pools.
    fn pool(&self) -> Result<Option<sys::CUmemoryPool>> {
        let context = self.stream.context();
        if !context.has_async_alloc() {
            return Ok(None);
        }
        let mut pool = std::ptr::null_mut();
        // SAFETY: the out-parameter lives through the call.
        unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()) }
            .result()
            .w()?;
        Ok(Some(pool))
    }
}

/// Whether a card had no memory left for what was asked of it, however deep in `error` that lies.
pub fn is_out_of_memory(error: &Error) -> bool {
    match error {
        Error::WithBacktrace { inner, .. }
        | Error::WithPath { inner, .. }
        | Error::Context { inner, .. } => is_out_of_memory(inner),
        Error::WrappedContext { wrapped, .. } => {
            let inner = wrapped.downcast_ref::<Error>();
            inner.is_some_and(is_out_of_memory)
        }
        Error::Cuda(source) => match source.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(driver) | CudaError::Load { cuda: driver, .. }) => {
                driver.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY
            }
            Some(CudaError::Cublas(CublasError(status))) => {
                *status == cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED
            }
            _ => false,
        },
        _ => false,
    }
}
