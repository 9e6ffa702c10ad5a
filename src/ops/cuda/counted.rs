//! Bytes that kernels moved, as the virtual GPU of `tests/virtual-gpu` counts them. A card counts none for us.

use std::ffi::{CStr, c_void};
use std::mem::transmute_copy;
use std::sync::OnceLock;

use candle_core::cuda::cudarc::driver::{CudaEvent, sys::CUevent};

/// Writes the bytes that kernels had moved on its device when the event happened; another answer than 0: they are not
/// counted.
type BytesAt = extern "C" fn(event: CUevent, bytes: *mut u64) -> i32;

/// Between two events that have happened; `None`: nobody counts.
pub fn between(start: &CudaEvent, end: &CudaEvent) -> Option<u64> {
    at(end)?.checked_sub(at(start)?)
}

/// Writes the bytes that the kernel of one of CUPTI's records moved; another answer than 0: they are not counted.
type BytesOf = extern "C" fn(record: *const u8, bytes: *mut u64) -> i32;

/// Of the kernel of one of CUPTI's records; `None`: nobody counts.
pub fn of_record(record: *const u8) -> Option<u64> {
    static FOUND: OnceLock<Option<BytesOf>> = OnceLock::new();
    // SAFETY: the virtual GPU's function of that name has this type.
    let find = || unsafe { find(c"vgpuRecordBytes") };
    let bytes_of = (*FOUND.get_or_init(find))?;
    let mut bytes = 0;
    (bytes_of(record, &mut bytes) == 0).then_some(bytes)
}

fn at(event: &CudaEvent) -> Option<u64> {
    static FOUND: OnceLock<Option<BytesAt>> = OnceLock::new();
    // SAFETY: the virtual GPU's function of that name has this type.
    let find = || unsafe { find(c"vgpuEventBytes") };
    let bytes_at = (*FOUND.get_or_init(find))?;
    let mut bytes = 0;
    (bytes_at(event.cu_event(), &mut bytes) == 0).then_some(bytes)
}

/// NVIDIA's driver has no such function.
///
/// # Safety
/// `F` is the type of a pointer to the virtual GPU's function `name`.
unsafe fn find<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the name ends in a zero. Where there is such a function, it is the virtual GPU's, is given what is alive and a
    // place to write to, and its library stays as long as the program, which is linked to it. The sizes agree.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        (!found.is_null()).then(|| transmute_copy(&found))
    }
}
