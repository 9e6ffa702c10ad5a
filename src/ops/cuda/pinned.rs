//! Host memory that a GPU copies to and from while the host goes on. Cacheable: answers are read here.

use std::ffi::c_void;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{result, sys};

use super::device::Gpu;

/// Page-locked words, zeros at first; they may lie on their way in or out, which is the holder's to know.
#[derive(Debug)]
pub struct Pinned<T> {
    start: *mut T,
    len: usize,
    /// Keeps the context, in which the memory was locked.
    _gpu: Gpu,
}

/// What any bits stand for.
pub trait Word: Copy + Default {}

impl Word for u32 {}
impl Word for u64 {}

// SAFETY: it is memory like any other, and is reached through `&self` and `&mut self` alone.
unsafe impl<T: Word + Send> Send for Pinned<T> {}

impl<T: Word> Pinned<T> {
    /// # Errors
    /// The machine has no memory left that can be locked.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Self> {
        gpu.bind()?;
        // SAFETY: the memory is written before anyone sees it.
        let start = unsafe {
            let bytes = len.max(1) * size_of::<T>();
            result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_PORTABLE)
        };
        let start = start.w()?.cast::<T>();
        // SAFETY: the driver has just given out room for so many words, aligned to pages.
        unsafe { std::slice::from_raw_parts_mut(start, len.max(1)) }.fill(T::default());
        Ok(Self {
            start,
            len,
            _gpu: gpu.clone(),
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// For words that no copy writes now.
    pub fn words(&self) -> &[T] {
        // SAFETY: `new` wrote them all, and any bits are a word.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// For words that no copy reads or writes now, or for a copy to write.
    pub fn words_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was given it, and nobody frees it twice. Copies under way end before the driver unlocks it.
        // Only a device that has failed refuses, which whoever waits for it is told.
        let _ = unsafe { result::free_host(self.start.cast::<c_void>()) };
    }
}
