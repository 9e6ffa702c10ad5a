//! Weights on their way to the GPU through page-locked memory: while a part is copied, the next is read.

use std::time::{Duration, Instant};

use candle_core::Result;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaEvent, result};

use super::device::Gpu;
use super::pinned::Staging;

/// What one copy holds, unless a single row is larger: long enough for the full rate of a link.
pub const PART_BYTES: usize = 16 << 20;

/// Two parts: one is filled while the other is copied.
#[derive(Debug, Default)]
pub struct Uploads {
    parts: [Part; 2],
    next: usize,
    waited: Duration,
}

#[derive(Debug, Default)]
struct Part {
    bytes: Staging<u8>,
    /// `None`: nothing was sent from here.
    sent: Option<CudaEvent>,
}

impl Part {
    /// Until its bytes may be written again.
    fn wait(&mut self, gpu: &Gpu) -> Result<()> {
        match self.sent.take() {
            Some(sent) => gpu.wait(&sent, "copies of weights"),
            None => Ok(()),
        }
    }
}

impl Uploads {
    /// Queues a copy of `from` to the address `to`, where the caller has allocated as many bytes.
    ///
    /// # Errors
    /// There is no memory to lock, or the driver refuses the copy.
    pub fn send(&mut self, gpu: &Gpu, from: &[u8], to: u64) -> Result<()> {
        let part = &mut self.parts[self.next];
        self.next = 1 - self.next;
        let start = Instant::now();
        part.wait(gpu)?;
        self.waited += start.elapsed();
        let room = part.bytes.words(gpu, from.len().max(PART_BYTES))?;
        let bytes = &mut room[..from.len()];
        bytes.copy_from_slice(from);
        // SAFETY: the bytes are locked for as long as this lives, and written again only after `sent`; `to` is the
        // caller's.
        unsafe { result::memcpy_htod_async(to, bytes, gpu.stream.cu_stream()) }.w()?;
        part.sent = Some(gpu.stream.record_event(None).w()?);
        Ok(())
    }

    /// Waits for the copies that are on their way; how long the host has waited for copies in all.
    ///
    /// # Errors
    /// The device has failed.
    pub fn finish(&mut self, gpu: &Gpu) -> Result<Duration> {
        let start = Instant::now();
        self.parts.iter_mut().try_for_each(|part| part.wait(gpu))?;
        Ok(self.waited + start.elapsed())
    }
}
