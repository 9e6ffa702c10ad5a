//! Host memory that GPUs reach while the host goes on. Cacheable: answers are read here.

use std::ffi::c_void;

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{result, sys};
use candle_core::{Result, bail};

use super::device::Gpu;

/// Page-locked words for all GPUs of the process, zeros at first; a GPU may read or write them, which is the holder's to
/// know.
#[derive(Debug)]
pub struct Pinned<T> {
    start: *mut T,
    len: usize,
    /// Keeps the context, in which the memory was locked.
    gpu: Gpu,
}

/// What any bits stand for.
pub trait Word: Copy + Default {}

impl Word for u8 {}
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
            let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
            result::malloc_host(bytes, flags)
        };
        let start = start.w()?.cast::<T>();
        // SAFETY: the driver has just given out room for so many words, aligned to pages.
        unsafe { std::slice::from_raw_parts_mut(start, len.max(1)) }.fill(T::default());
        Ok(Self {
            start,
            len,
            gpu: gpu.clone(),
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Of the host and of every GPU: one address space holds both.
    pub fn start(&self) -> *mut T {
        self.start
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
        // Only a device that has failed refuses either, which whoever waits for it is told.
        let _ = self.gpu.bind();
        // SAFETY: `new` was given it, and nobody frees it twice. Copies under way end before the driver unlocks it.
        let _ = unsafe { result::free_host(self.start.cast::<c_void>()) };
    }
}

/// Room for words on their way, for as many as there ever were. What was outgrown stays: to free it, a driver may wait
/// for all devices, and some of them for this rank.
#[derive(Debug, Default)]
pub struct Staging<T> {
    held: Vec<Pinned<T>>,
}

impl<T: Word> Staging<T> {
    pub fn words(&mut self, gpu: &Gpu, count: usize) -> Result<&mut [T]> {
        if self.held.last().is_none_or(|held| held.len() < count) {
            let larger = Pinned::new(gpu, count.next_power_of_two())?;
            self.held.push(larger);
        }
        match self.held.last_mut() {
            Some(held) => Ok(&mut held.words_mut()[..count]),
            None => bail!("{count} words have no room"),
        }
    }

    /// Waits for the stream, and copies `count` words from the address `from`.
    ///
    /// # Errors
    /// Work before it failed, or the driver refuses the copy.
    pub fn download(&mut self, gpu: &Gpu, from: u64, count: usize) -> Result<&[T]> {
        let words = self.words(gpu, count)?;
        // SAFETY: the words stay until the copy is done; the callers allocated as many at `from`.
        unsafe { result::memcpy_dtoh_async(words, from, gpu.stream.cu_stream()) }.w()?;
        gpu.synchronize()?;
        Ok(words)
    }
}
