//! From rows of logits to a few words each, so that no row of logits leaves the GPU.

mod logits;
mod space;

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::modules::{Arg, Grid};
use super::{Cuda, experts, lock, tensor};
use crate::ops::sampling::summary::higher_first;
use crate::ops::{Ask, Buffer, Summary};
use logits::Logits;
pub use space::Space;
use space::{HEADER_WORDS, Use, selected};

/// Of the one block that selects a row's highest logits.
const SELECTING: u32 = 1024;
/// Of the one block that locates a mass; a row has as many runs at most.
const LOCATING: u32 = 256;

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

/// The token and the logit of a record's key.
pub fn drawn(key: u64) -> (u32, f32) {
    let (logit, token) = logit_and_column(key);
    (token, logit)
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
    let answers = space.at(&cuda.gpu, Use::Answers, words)?;
    let arguments = [
        Arg::At(sent),
        Arg::At(highest),
        Arg::At(masses),
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
        if !peak.is_finite() {
            continue;
        }
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

pub fn locate(
    cuda: &Cuda,
    logits: &Tensor,
    vocab: &Range<usize>,
    row: usize,
    temperature: f32,
    mass: f64,
) -> Result<(u32, f32)> {
    let logits = Logits::new(logits, vocab)?;
    if logits.runs() > LOCATING as usize {
        bail!(
            "a part of {} tokens: on a GPU, a token is drawn from up to a million; use more ranks",
            logits.tokens
        );
    }
    let space = &mut *lock(&cuda.sampling);
    let ask = Ask {
        row,
        count: 0,
        temperature,
        logprobs: false,
    };
    let (sent, _) = space.send(&cuda.gpu, &[ask], logits.tokens)?;
    let highest = logits.best(cuda, space, sent, 1)?;
    let masses = logits.masses(cuda, space, sent, highest, 1)?;
    let found = space.at(&cuda.gpu, Use::Answers, 1)?;
    let arguments = [
        Arg::At(sent),
        Arg::At(highest),
        Arg::At(masses),
        Arg::U32(logits.runs() as u32),
        Arg::U32(logits.first),
        Arg::F64(mass),
        Arg::At(found),
    ];
    let arguments = [&logits.arguments()[..], &arguments].concat();
    cuda.launch("locate", "locate_f32", Grid::row(1, LOCATING), &arguments)?;
    match space.read(&cuda.gpu, Use::Answers, 1)? {
        [word] => Ok(answer(*word)),
        words => bail!("{} words are not one token", words.len()),
    }
}
