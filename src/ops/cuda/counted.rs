//! Bytes that kernels moved, as the virtual GPU of `tests/virtual-gpu` counts them. A card counts none for us.

use std::sync::OnceLock;

use candle_core::cuda::cudarc::driver::{CudaEvent, sys::CUevent};

/// Writes the bytes that kernels had moved on its device when the event happened; another answer than 0: they are not
/// counted.
type BytesAt = extern "C" fn(event: CUevent, bytes: *mut u64) -> i32;

/// Between two events that have happened; `None`: nobody counts.
pub fn between(start: &CudaEvent, end: &CudaEvent) -> Option<u64> {
    at(end)?.checked_sub(at(start)?)
}

fn at(event: &CudaEvent) -> Option<u64> {
    static FOUND: OnceLock<Option<BytesAt>> = OnceLock::new();
    let bytes_at = (*FOUND.get_or_init(find))?;
    let mut bytes = 0;
    (bytes_at(event.cu_event(), &mut bytes) == 0).then_some(bytes)
}

/// NVIDIA's driver has no such function.
fn find() -> Option<BytesAt> {
    // SAFETY: the name ends in a zero. Where there is such a function, it is the virtual GPU's, of this type, and is given
    // an event that is alive and a place to write to; the library stays as long as the program, which is linked to it.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, c"vgpuEventBytes".as_ptr());
        (!found.is_null()).then(|| std::mem::transmute::<*mut libc::c_void, BytesAt>(found))
    }
}
