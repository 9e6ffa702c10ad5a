//! Room for what the kernels of one call tell each other, for questions on their way to the GPU and answers from it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr, result};

use super::super::pinned::Staging;
use super::super::{Gpu, noise};
use crate::ops::Ask;

/// Words of an answer before its keys: the best, two masses, the key of what was drawn, and its logit.
pub const HEADER_WORDS: usize = 5;

/// What a room holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    Runs,
    Best,
    Drawn,
    Asks,
    Masses,
    Answers,
}

#[derive(Debug, Default)]
pub struct Space {
    rooms: HashMap<(Use, usize), CudaSlice<u64>>,
    words: Vec<u64>,
    sent: Staging<u64>,
    answers: Staging<u64>,
}

impl Space {
    /// Room for `words` words. The same counts find the same room for ever: a captured graph may name it.
    fn room(&mut self, gpu: &Gpu, of: Use, words: usize) -> Result<&mut CudaSlice<u64>> {
        let size = words.max(1).next_power_of_two();
        Ok(match self.rooms.entry((of, size)) {
            Entry::Occupied(room) => room.into_mut(),
            Entry::Vacant(none) => none.insert(gpu.stream.alloc_zeros(size).w()?),
        })
    }

    pub fn at(&mut self, gpu: &Gpu, of: Use, words: usize) -> Result<u64> {
        let room = self.room(gpu, of, words)?;
        Ok(room.device_ptr(&gpu.stream).0)
    }

    /// The first `words` words of a room, once all that was queued is done.
    pub fn read(&mut self, gpu: &Gpu, of: Use, words: usize) -> Result<&[u64]> {
        let from = self.at(gpu, of, words)?;
        self.answers.download(gpu, from, words)
    }

    /// Sends `asks` with where each answer starts, and returns where they lie and the words of all answers.
    pub fn send(&mut self, gpu: &Gpu, asks: &[Ask], tokens: usize) -> Result<(u64, usize)> {
        let mut words = std::mem::take(&mut self.words);
        words.clear();
        let mut answer = 0;
        for ask in asks {
            let count = selected(ask, tokens);
            words.extend([
                pair(ask.row as u32, count as u32),
                pair(ask.temperature.to_bits(), u32::from(ask.logprobs)),
                answer as u64,
            ]);
            let drawn = ask.noise.as_ref().map_or(noise::NONE, noise::words);
            let (pairs, _) = drawn.as_chunks::<2>();
            words.extend(pairs.iter().map(|&[low, high]| pair(low, high)));
            answer += HEADER_WORDS + count;
        }
        let room = self.at(gpu, Use::Asks, words.len())?;
        let sent = self.sent.words(gpu, words.len())?;
        sent.copy_from_slice(&words);
        // SAFETY: the room has as many words, and those sent stay until the answers, which are waited for, have been read.
        unsafe { result::memcpy_htod_async(room, sent, gpu.stream.cu_stream()) }.w()?;
        self.words = words;
        Ok((room, answer))
    }
}

/// Keys that the GPU selects for `ask`: a single highest logit is found without.
pub fn selected(ask: &Ask, tokens: usize) -> usize {
    match ask.count.min(tokens) {
        1 => 0,
        count => count,
    }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << u32::BITS | u64::from(low)
}
