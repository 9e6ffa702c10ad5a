//! Tokens from logits that lie on several ranks: each tells the others what is asked of its part, and
//! all draw the same token. The logits themselves go nowhere.

use std::ops::Range;

use candle_core::{Result, Tensor};

use crate::ground::recorder::Recorder;
use crate::ops::sampling::draw::{self, Verdict, draw, first_ask};
use crate::ops::sampling::summary::Drawn;
use crate::ops::{Ask, Kernels, Pick, Queue, Sampled, Summary, cost, row};
use crate::parallel::Collective;

/// Words of a summary before its candidates: the peak, two masses of two words, and what was drawn.
const HEADER: usize = 8;
/// Words of a candidate: logit and token.
const CANDIDATE: usize = 2;
/// Stands for a candidate that a short list lacks, and for no draw.
const NO_TOKEN: u32 = u32::MAX;

/// One rank's part in drawing tokens; keeps its buffers between steps.
#[derive(Default)]
pub struct Sampler {
    asks: Vec<Ask>,
    /// Rows whose lists were too short, to be asked again.
    again: Vec<Ask>,
    own: Vec<Summary>,
    /// `[rank][ask]`.
    all: Vec<Summary>,
    mine: Vec<u32>,
    gathered: Vec<u32>,
    merged: Vec<(f32, u32)>,
    highest: Vec<(u32, f32)>,
}

/// What a sampler works with.
pub struct Head<'a> {
    pub kernels: &'a dyn Kernels,
    pub collective: &'a dyn Collective,
    /// Tokens of this rank.
    pub vocab: &'a Range<usize>,
    /// Tokens of all ranks.
    pub vocab_size: usize,
}

impl Sampler {
    /// What a device has drawn and its ranks have agreed on, and the experts that it has read: see [`Queue::collect`].
    pub fn take(&mut self, queue: &dyn Queue, rows: usize, out: &mut Vec<Sampled>) -> Result<u32> {
        let read = queue.collect(rows, &mut self.highest)?;
        out.clear();
        for &(token, logit) in &self.highest {
            out.push(greedy(token, logit)?);
        }
        Ok(read)
    }

    /// The highest of all ranks' highest tokens, for each row; `find` tells this rank's.
    pub fn greedy(
        &mut self,
        collective: &dyn Collective,
        recorder: &Recorder,
        find: impl FnOnce(&mut Vec<(u32, f32)>) -> Result<()>,
        out: &mut Vec<Sampled>,
    ) -> Result<()> {
        find(&mut self.highest)?;
        let rows = self.highest.len();
        self.mine.clear();
        for &(token, logit) in &self.highest {
            self.mine.extend([token, logit.to_bits()]);
        }
        match collective.size() {
            1 => collective.all_gather(&self.mine, &mut self.gathered),
            ranks => recorder.run(
                "all_gather",
                None,
                cost::all_gather(self.mine.len(), ranks),
                || collective.all_gather(&self.mine, &mut self.gathered),
            ),
        }?;
        let (words, _) = self.gathered.as_chunks::<CANDIDATE>();
        out.clear();
        for row in 0..rows {
            let ranks = words.iter().skip(row).step_by(rows);
            let parts = ranks.map(|&[token, bits]| (token, f32::from_bits(bits)));
            let (token, logit) = parts.reduce(row::higher).unwrap_or((0, f32::NAN));
            out.push(greedy(token, logit)?);
        }
        Ok(())
    }

    /// One token for each of the first `picks.len()` rows of this rank's `logits`.
    pub fn sample(
        &mut self,
        head: &Head,
        logits: &Tensor,
        picks: &[Pick],
        out: &mut Vec<Sampled>,
    ) -> Result<()> {
        const NONE: Sampled = Sampled {
            token: 0,
            logprobs: None,
        };
        out.clear();
        out.resize(picks.len(), NONE);
        self.asks.clear();
        let asks = picks.iter().enumerate();
        self.asks
            .extend(asks.map(|(row, pick)| first_ask(pick, row, head.vocab_size)));
        while !self.asks.is_empty() {
            self.exchange(head, logits)?;
            self.again.clear();
            for index in 0..self.asks.len() {
                let ask = self.asks[index];
                let parts = self.all.iter().skip(index).step_by(self.asks.len());
                let parts = parts.take(head.collective.size());
                let (pick, merged) = (&picks[ask.row], &mut self.merged);
                match draw(parts, &ask, pick, head.vocab_size, merged)? {
                    Verdict::Done(sampled) => out[ask.row] = sampled,
                    Verdict::More(count) => self.again.push(Ask { count, ..ask }),
                }
            }
            std::mem::swap(&mut self.asks, &mut self.again);
        }
        Ok(())
    }

    /// Answers this rank's asks and learns the others' answers.
    fn exchange(&mut self, head: &Head, logits: &Tensor) -> Result<()> {
        head.kernels
            .summarize(logits, head.vocab, &self.asks, &mut self.own)?;
        self.mine.clear();
        for (ask, summary) in self.asks.iter().zip(&self.own) {
            write(summary, ask.count, &mut self.mine);
        }
        head.collective.all_gather(&self.mine, &mut self.gathered)?;
        let count = head.collective.size() * self.asks.len();
        if self.all.len() < count {
            self.all.resize_with(count, Summary::default);
        }
        let mut words = self.gathered.as_slice();
        let asks = self.asks.iter().cycle();
        for (summary, ask) in self.all[..count].iter_mut().zip(asks) {
            let (own, rest) = words.split_at(HEADER + CANDIDATE * ask.count);
            read(own, summary);
            words = rest;
        }
        Ok(())
    }
}

fn greedy(token: u32, logit: f32) -> Result<Sampled> {
    draw::finite(logit)?;
    Ok(Sampled {
        token,
        logprobs: None,
    })
}

/// Writes a summary as words, its list filled up to `count`.
fn write(summary: &Summary, count: usize, words: &mut Vec<u32>) {
    words.push(summary.peak.to_bits());
    for mass in [summary.mass, summary.mass_at_one] {
        let bits = mass.to_bits();
        words.extend([bits as u32, (bits >> u32::BITS) as u32]);
    }
    let none = Drawn {
        token: NO_TOKEN,
        logit: 0.0,
        score: 0.0,
    };
    let drawn = summary.drawn.unwrap_or(none);
    words.extend([drawn.token, drawn.logit.to_bits(), drawn.score.to_bits()]);
    for index in 0..count {
        let (logit, token) = summary.top.get(index).copied().unwrap_or((0.0, NO_TOKEN));
        words.extend([logit.to_bits(), token]);
    }
}

/// The inverse of [`write`].
fn read(words: &[u32], summary: &mut Summary) {
    let mass = |low: u32, high: u32| f64::from_bits(u64::from(low) | u64::from(high) << u32::BITS);
    let (header, list) = words.split_at(HEADER);
    summary.peak = f32::from_bits(header[0]);
    summary.mass = mass(header[1], header[2]);
    summary.mass_at_one = mass(header[3], header[4]);
    summary.drawn = (header[5] != NO_TOKEN).then(|| Drawn {
        token: header[5],
        logit: f32::from_bits(header[6]),
        score: f32::from_bits(header[7]),
    });
    let (list, _) = list.as_chunks::<CANDIDATE>();
    let listed = list.iter().take_while(|[_, token]| *token != NO_TOKEN);
    summary.top.clear();
    summary
        .top
        .extend(listed.map(|&[logit, token]| (f32::from_bits(logit), token)));
}
