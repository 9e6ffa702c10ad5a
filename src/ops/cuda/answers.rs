//! The tokens of a greedy step on their way to the host, while the next step may already use them.

use std::collections::VecDeque;

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaEvent, CudaSlice, DevicePtr, PinnedHostSlice, result};
use candle_core::{Result, bail};

use super::device::Gpu;

/// Steps whose answers may be on their way at a time.
const SLOTS: usize = 2;
/// Answers that the first step has room for: steps of the usual `--max-num-seqs`.
const ROOM: usize = 256;

#[derive(Default)]
pub struct Answers {
    /// Those of the latest step: where embedding finds the tokens that are pending.
    latest: Option<CudaSlice<u64>>,
    slots: Vec<Slot>,
    /// Slots in the order in which they were sent.
    sent: VecDeque<usize>,
    next: usize,
}

struct Slot {
    words: PinnedHostSlice<u64>,
    arrived: CudaEvent,
}

impl Answers {
    /// Where the latest answers lie; at least one step's room.
    pub fn latest(&mut self, gpu: &Gpu) -> Result<u64> {
        self.reserve(gpu, 1)?;
        let Some(latest) = &self.latest else {
            bail!("answers have no room");
        };
        Ok(latest.device_ptr(&gpu.stream).0)
    }

    /// Queues copies of the `rows` words at `from`: to where the next step finds them, and to the host.
    pub fn send(&mut self, gpu: &Gpu, from: u64, rows: usize) -> Result<()> {
        self.reserve(gpu, rows)?;
        if self.sent.len() == SLOTS {
            bail!("the answers of {SLOTS} steps are on their way, and nobody has taken them");
        }
        let latest = self.latest(gpu)?;
        let stream = &gpu.stream;
        let slot = &mut self.slots[self.next];
        let words = slot.words.as_mut_slice().w()?;
        // SAFETY: both ends have room for `rows` words, and the pinned ones are read only after `arrived`.
        unsafe {
            result::memcpy_dtod_async(latest, from, rows * size_of::<u64>(), stream.cu_stream())
                .w()?;
            result::memcpy_dtoh_async(&mut words[..rows], latest, stream.cu_stream()).w()?;
        }
        slot.arrived.record(stream).w()?;
        self.sent.push_back(self.next);
        self.next = (self.next + 1) % SLOTS;
        Ok(())
    }

    /// Waits for the answers that were sent first.
    ///
    /// # Errors
    /// None were sent, or the device has failed.
    pub fn collect(&mut self, rows: usize) -> Result<&[u64]> {
        let Some(index) = self.sent.pop_front() else {
            bail!("no answers are on their way");
        };
        let slot = &self.slots[index];
        slot.arrived.synchronize().w()?;
        Ok(&slot.words.as_slice().w()?[..rows])
    }

    /// Room for `rows` answers, which cannot move while others are on their way, or once a graph knows it.
    fn reserve(&mut self, gpu: &Gpu, rows: usize) -> Result<()> {
        let room = self.latest.as_ref().map_or(0, CudaSlice::len);
        if room >= rows {
            return Ok(());
        }
        if !self.sent.is_empty() || (room > 0 && gpu.is_fixed()) {
            bail!("{rows} answers have no room, and what there is cannot grow");
        }
        let room = rows.max(ROOM).next_power_of_two();
        gpu.synchronize()?;
        self.latest = Some(gpu.stream.alloc_zeros(room).w()?);
        self.slots.clear();
        for _ in 0..SLOTS {
            // SAFETY: any bits are a u64, and words are read only once a copy has written them.
            let words = unsafe { gpu.stream.context().alloc_pinned(room) }.w()?;
            let arrived = gpu.stream.context().new_event(None).w()?;
            self.slots.push(Slot { words, arrived });
        }
        Ok(())
    }
}
