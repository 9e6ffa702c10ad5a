//! From rows of logits to a few words each, so that no row of logits leaves the GPU.

mod logits;
mod space;

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::modules::{Arg, Grid};
use super::{Cuda, experts, lock, tensor};
use crate::ops::sampling::summary::{Drawn, higher_first};
use crate::ops::{Ask, Buffer, Summary};
use logits::Logits;
pub use space::Space;
use space::{HEADER_WORDS, Use, selected};

/// Of the one block that selects a row's highest logits.
const SELECTING: u32 = 1024;

/// A token and its logit, as kernels write them.
pub fn answer(word: u64) -> (u32, f32) {
    (word as u32, f32::from_bits((word >> u32::BITS) as u32))
}

/// The logit and the column of a key of `kernels/logits.cuh`.
fn logit_and_column(key: u64) -> (f32, u32) {
    let order = (key >> u32::BITS) as u32;
    let sign = 1 << (u32::BITS - 1);
    let bits = if order & sign == 0 {
        !order
    } else {
        order ^ sign
    };
    (f32::from_bits(bits), !(key as u32))
}

/// A record's key: a token, and what was highest.
pub fn drawn(key: u64) -> (u32, f32) {
    let (score, token) = logit_and_column(key);
    (token, score)
}

/// Queues the record of the first `rows` rows: what a graph captures.
pub fn record(
    cuda: &Cuda,
    logits: &Buffer,
    vocab: &Range<usize>,
    rows: usize,
    record: &Buffer,
) -> Result<()> {
    let logits = Logits::new(logits, vocab)?;
    let experts_read = experts::read_at(cuda)?;
    let record = tensor::address(record)?;
    logits.record(cuda, &mut lock(&cuda.sampling), rows, experts_read, record)
}

pub fn summarize(
    cuda: &Cuda,
    logits: &Tensor,
    vocab: &Range<usize>,
    asks: &[Ask],
    out: &mut Vec<Summary>,
) -> Result<()> {
    let logits = Logits::new(logits, vocab)?;
    let space = &mut *lock(&cuda.sampling);
    let (sent, words) = space.send(&cuda.gpu, asks, logits.tokens)?;
    let highest = logits.best(cuda, space, sent, asks.len())?;
    let weighed = |ask: &Ask| ask.temperature > 0.0 || ask.logprobs;
    let masses = match asks.iter().any(weighed) {
        true => logits.masses(cuda, space, sent, highest, asks.len())?,
        false => 0,
    };
    let drawn = match asks.iter().any(|ask| ask.noise.is_some()) {
        true => logits.drawn(cuda, space, sent, asks.len())?,
        false => 0,
    };
    let answers = space.at(&cuda.gpu, Use::Answers, words)?;
    let arguments = [
        Arg::At(sent),
        Arg::At(highest),
        Arg::At(masses),
        Arg::At(drawn),
        Arg::U32(logits.runs() as u32),
        Arg::At(answers),
    ];
    let grid = Grid::row(asks.len(), SELECTING);
    logits.launch(cuda, "summary", "summary", grid, &arguments)?;
    let mut rest = space.read(&cuda.gpu, Use::Answers, words)?;
    if out.len() < asks.len() {
        out.resize_with(asks.len(), Summary::default);
    }
    for (ask, summary) in asks.iter().zip(out) {
        let (header, after) = rest.split_at(HEADER_WORDS);
        let (keys, after) = after.split_at(selected(ask, logits.tokens));
        rest = after;
        let (token, peak) = answer(header[0]);
        summary.peak = peak;
        summary.mass = f64::from_bits(header[1]);
        summary.mass_at_one = f64::from_bits(header[2]);
        summary.top.clear();
        summary.drawn = None;
        if !peak.is_finite() {
            continue;
        }
        summary.drawn = ask.noise.map(|_| {
            let (score, column) = logit_and_column(header[3]);
            Drawn {
                token: logits.first + column,
                logit: answer(header[4]).1,
                score,
            }
        });
        if ask.count.min(logits.tokens) == 1 {
            summary.top.push((peak, token));
        }
        let listed = keys.iter().copied().map(logit_and_column);
        summary
            .top
            .extend(listed.map(|(logit, column)| (logit, logits.first + column)));
        summary.top.sort_unstable_by(higher_first);
    }
    Ok(())
}
