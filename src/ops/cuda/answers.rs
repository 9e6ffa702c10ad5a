//! What a step draws, on its way to the host while the next step may already use it: one record a step.
//!
//! A record has a key for each row, then one word: how many experts' weights were read so far. A key has the logit in
//! its upper half, in an order of unsigned numbers, and the token's complement in the lower: the highest key is the
//! highest logit's, of equals the lowest token's.

use std::collections::VecDeque;

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaEvent, CudaSlice, CudaViewMut, result};
use candle_core::{DType, Result, Tensor, bail};

use super::device::Gpu;
use super::pinned::Pinned;
use super::tensor;
use crate::ops::Buffer;
use crate::ops::scratch::{self, RECORD_TAIL as TAIL};

/// Steps whose answers may be on their way at a time.
const SLOTS: usize = 2;

#[derive(Default)]
pub struct Answers {
    /// The latest step's, as i64: where embedding finds the tokens that are pending.
    latest: Option<Buffer>,
    slots: Vec<Slot>,
    /// To free page-locked memory, a driver may wait for all devices, and some of them for this rank.
    outgrown: Vec<Slot>,
    /// Slots and rows of what was sent, in order.
    sent: VecDeque<(usize, usize)>,
    next: usize,
}

struct Slot {
    words: Pinned<u64>,
    arrived: CudaEvent,
}

/// The first `rows` keys of a record as they compare: without a sign. `None` where it has fewer words.
pub fn keys_of(record: &mut CudaSlice<i64>, rows: usize) -> Option<CudaViewMut<'_, u64>> {
    // SAFETY: any bits are a u64, of which each takes as much room as an i64.
    unsafe { record.transmute_mut::<u64>(rows) }
}

impl Answers {
    /// Where the latest record lies, with room for that of a step of `rows` rows.
    pub fn record(&mut self, gpu: &Gpu, rows: usize) -> Result<Buffer> {
        self.reserve(gpu, rows)?;
        match &self.latest {
            Some(latest) => Ok(latest.clone()),
            None => bail!("answers have no room"),
        }
    }

    /// Queues a copy of the latest record, of `rows` rows, to the host.
    pub fn send(&mut self, gpu: &Gpu, rows: usize) -> Result<()> {
        let latest = self.record(gpu, rows)?;
        let latest = tensor::address(&latest)?;
        if self.sent.len() == SLOTS {
            bail!("the answers of {SLOTS} steps are on their way, and nobody has taken them");
        }
        let slot = &mut self.slots[self.next];
        let words = &mut slot.words.words_mut()[..rows + TAIL];
        let stream = gpu.stream.cu_stream();
        // SAFETY: both ends have room for so many words, and the pinned ones are read only after `arrived`; the event
        // and the stream live as long as this.
        unsafe {
            result::memcpy_dtoh_async(words, latest, stream).w()?;
            result::event::record(slot.arrived.cu_event(), stream).w()?;
        }
        self.sent.push_back((self.next, rows));
        self.next = (self.next + 1) % SLOTS;
        Ok(())
    }

    /// Waits for the record that was sent first: the keys of its rows, and the experts that were read.
    ///
    /// # Errors
    /// None was sent, or the device has failed.
    pub fn collect(&mut self, gpu: &Gpu) -> Result<(&[u64], u32)> {
        let Some((index, rows)) = self.sent.pop_front() else {
            bail!("no answers are on their way");
        };
        let slot = &self.slots[index];
        gpu.wait(&slot.arrived, "the answers of a step")?;
        let words = slot.words.words();
        Ok((&words[..rows], words[rows] as u32))
    }

    /// Room for `rows` answers, which cannot move while others are on their way, or once a graph knows it.
    fn reserve(&mut self, gpu: &Gpu, rows: usize) -> Result<()> {
        let room = self.slots.first().map_or(0, |slot| slot.words.len());
        if room >= rows + TAIL {
            return Ok(());
        }
        if !self.sent.is_empty() || (room > 0 && gpu.is_fixed()) {
            bail!("{rows} answers have no room, and what there is cannot grow");
        }
        let room = scratch::record(rows);
        gpu.synchronize()?;
        let latest = Tensor::zeros((1, room), DType::I64, &gpu.candle())?;
        self.latest = Some(Buffer::new(latest)?);
        self.outgrown.append(&mut self.slots);
        self.next = 0;
        for _ in 0..SLOTS {
            let words = Pinned::new(gpu, room)?;
            let arrived = gpu.stream.context().new_event(None).w()?;
            self.slots.push(Slot { words, arrived });
        }
        Ok(())
    }
}
