//! How long each way of adding up takes for each size, on the GPUs that there are.

use std::time::{Duration, Instant};

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::CudaEvent;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use candle_core::{DType, Error, Result, Tensor};

use super::Gpus;
use crate::ops::Buffer;
use crate::ops::cuda::Gpu;
use crate::parallel::{Collective, SMALLEST, Way, Ways};

/// The best of so many tries counts, each of some messages one after the other.
const TRIES: usize = 3;
const MESSAGES: usize = 4;
/// No further try of a size, and no larger size, after one that took so long on the host's clock: a slow link, or what
/// computes in place of a GPU.
const LONG_ENOUGH: Duration = Duration::from_millis(100);

/// Tries every candidate with messages of up to `largest` bytes. On all ranks at once, which come to the same answer.
///
/// # Errors
/// A rank has failed.
pub fn measure(gpus: &Gpus, gpu: &Gpu, candidates: Vec<Way>, largest: u64) -> Result<Ways> {
    let mut ways = Ways::new(candidates);
    if ways.candidates().len() < 2 {
        return Ok(ways);
    }
    let most = Ways::sizes_up_to(largest).last().unwrap_or(SMALLEST);
    let row = SMALLEST as usize / DType::BF16.size_in_bytes();
    let zeros = Tensor::zeros(
        ((most / SMALLEST) as usize, row),
        DType::BF16,
        &gpu.candle(),
    )?;
    let message = Buffer::new(zeros)?;
    let mut took = Duration::ZERO;
    for bytes in Ways::sizes_up_to(largest) {
        if took > LONG_ENOUGH {
            break;
        }
        let rows = (bytes / SMALLEST) as usize;
        let mut us = Vec::new();
        for way in ways.candidates() {
            let (best, longest) = tries(gpus, gpu, || gpus.by(*way, &message, rows))?;
            us.push(best);
            took = took.max(longest);
        }
        ways.add(bytes, us);
    }
    Ok(ways)
}

/// Microseconds of one message, by the slowest rank of the fastest try; and the longest try on the host's clock.
fn tries(gpus: &Gpus, gpu: &Gpu, send: impl Fn() -> Result<()>) -> Result<(f64, Duration)> {
    const US_PER_MS: f32 = 1e3;
    // What is set up at the first use.
    send()?;
    let (mut best, mut longest) = (f32::INFINITY, Duration::ZERO);
    for _ in 0..TRIES {
        gpu.synchronize()?;
        slowest(gpus, 0.0)?;
        let start = Instant::now();
        let before = mark(gpu)?;
        (0..MESSAGES).try_for_each(|_| send())?;
        let after = mark(gpu)?;
        gpu.synchronize()?;
        let ms = before.elapsed_ms(&after).w()?;
        let took = slowest(gpus, start.elapsed().as_secs_f32())?;
        best = best.min(slowest(gpus, ms * US_PER_MS / MESSAGES as f32)?);
        longest = longest.max(Duration::from_secs_f32(took));
        if longest > LONG_ENOUGH {
            break;
        }
    }
    Ok((f64::from(best), longest))
}

fn mark(gpu: &Gpu) -> Result<CudaEvent> {
    gpu.stream().record_event(Some(CU_EVENT_DEFAULT)).w()
}

/// The largest of all ranks' numbers.
fn slowest(gpus: &Gpus, own: f32) -> Result<f32> {
    let mut all = Vec::new();
    gpus.all_gather(&[own.to_bits()], &mut all)?;
    let numbers = all.into_iter().map(f32::from_bits);
    numbers
        .reduce(f32::max)
        .ok_or_else(|| Error::Msg("no rank told how long it took".to_owned()))
}
