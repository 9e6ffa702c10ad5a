//! Where tensors lie on the GPU, and bytes on their way to and from it.

use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::{CudaStream, DevicePtr};
use candle_core::{CpuStorage, DType, Result, Storage, Tensor, WithDType, bail};

use super::device::Gpu;
use super::modules::Arg;

/// Where the first element of a contiguous CUDA tensor lies, as a kernel's argument.
///
/// The tensor must outlive the work that is queued with it, or be freed on the same stream.
///
/// # Errors
/// The tensor is on another device, or not contiguous.
pub fn at(tensor: &Tensor) -> Result<Arg> {
    address(tensor).map(Arg::At)
}

/// [`at`], or the null address.
pub fn at_or_null(tensor: Option<&Tensor>) -> Result<Arg> {
    tensor.map_or(Ok(Arg::At(0)), at)
}

pub fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        bail!("a CUDA kernel was given a tensor on another device");
    };
    if !layout.is_contiguous() {
        bail!("a CUDA kernel was given a tensor that is not contiguous");
    }
    let stream = storage.device.cuda_stream();
    let start = match &storage.slice {
        CudaStorageSlice::U8(slice) => start(slice, &stream),
        CudaStorageSlice::U32(slice) => start(slice, &stream),
        CudaStorageSlice::I64(slice) => start(slice, &stream),
        CudaStorageSlice::BF16(slice) => start(slice, &stream),
        CudaStorageSlice::F16(slice) => start(slice, &stream),
        CudaStorageSlice::F32(slice) => start(slice, &stream),
        CudaStorageSlice::F8E4M3(slice) => start(slice, &stream),
        _ => bail!("no CUDA kernel takes {:?}", tensor.dtype()),
    };
    Ok(start + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
}

fn start<T>(slice: &impl DevicePtr<T>, stream: &CudaStream) -> u64 {
    slice.device_ptr(stream).0
}

/// Elements of type `dtype` that are written before they are read.
pub fn uninitialized(gpu: &Gpu, dims: &[usize], dtype: DType) -> Result<Tensor> {
    // SAFETY: the callers fill the whole of it.
    unsafe { Tensor::empty(dims, dtype, &gpu.candle()) }
}

/// Where `slot` has room for `elements` of type `dtype`; it is allocated anew, and not written, where it has less.
pub fn room(gpu: &Gpu, slot: &mut Option<Tensor>, elements: usize, dtype: DType) -> Result<u64> {
    let elements = elements.max(1);
    match slot {
        Some(held) if held.elem_count() >= elements => address(held),
        Some(held) if gpu.is_fixed() => bail!(
            "{elements} elements of scratch are more than the {} that graphs were captured with",
            held.elem_count()
        ),
        _ => address(slot.insert(uninitialized(gpu, &[elements], dtype)?)),
    }
}

/// Calls `f` with the elements of a contiguous CPU tensor as they lie in memory.
///
/// # Errors
/// `from` is on another device, or of a type that goes to no GPU.
pub fn bytes(from: &Tensor, f: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
    let (storage, layout) = from.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets())
    else {
        bail!("only contiguous CPU tensors are copied to a GPU");
    };
    match storage {
        CpuStorage::F32(v) => f(raw(&v[start..end])),
        CpuStorage::BF16(v) => f(raw(&v[start..end])),
        CpuStorage::F16(v) => f(raw(&v[start..end])),
        CpuStorage::F8E4M3(v) => f(raw(&v[start..end])),
        _ => bail!("{:?} is not copied to a GPU", from.dtype()),
    }
}

/// Plain numbers, without padding.
fn raw<T: WithDType>(numbers: &[T]) -> &[u8] {
    let bytes = size_of_val(numbers);
    // SAFETY: numbers have no padding, so that each of their bytes is one; they are borrowed for as long.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), bytes) }
}

/// A copy of a small tensor on the GPU.
pub fn moved(gpu: &Gpu, tensor: &Tensor) -> Result<Tensor> {
    tensor.contiguous()?.to_device(&gpu.candle())
}
