//! Roofs of kernels that mostly move bytes: what plain loops over as many bytes reach.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use candlepower::ops::cpu::workers;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Traffic {
    Read,
    /// As many bytes written as read; both count.
    Copy,
}

/// Where a kernel's operands lie when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Where the last call left them: the innermost cache that holds them, and no further.
    Cache,
    Memory,
}

pub fn describe(traffic: Traffic, place: Place) -> &'static str {
    match (traffic, place) {
        (Traffic::Read, Place::Cache) => "a read of as much, in cache,",
        (Traffic::Read, Place::Memory) => "reading memory",
        (Traffic::Copy, Place::Cache) => "a copy of as much, in cache,",
        (Traffic::Copy, Place::Memory) => "copying memory",
    }
}

const WORD: usize = size_of::<u64>();
const TRIES: usize = 48;
/// Bytes moved in one try, at least: some hundred microseconds.
const TRY_BYTES: usize = 4 << 20;
/// Bytes held where they are to come from memory.
const MEMORY_BYTES: usize = 256 << 20;
/// Words of a stream that are summed independently, and streams read side by side.
const LANES: usize = 8;
const STREAMS: usize = 4;

/// Bytes a second, each measured when first asked for.
pub struct Roofs {
    /// Reading memory.
    pub read: f64,
    known: HashMap<(Traffic, Place, usize), f64>,
}

impl Roofs {
    pub fn new(read: f64) -> Self {
        Self {
            read,
            known: HashMap::new(),
        }
    }

    pub fn get(&mut self, traffic: Traffic, place: Place, bytes: u64) -> f64 {
        let (span, held) = match (traffic, place) {
            (Traffic::Read, Place::Memory) => return self.read,
            (Traffic::Copy, Place::Memory) => (TRY_BYTES, MEMORY_BYTES),
            (_, Place::Cache) => (bytes as usize, bytes as usize),
        };
        let known = self.known.entry((traffic, place, span));
        *known.or_insert_with(|| match traffic {
            Traffic::Read => read(span / WORD),
            Traffic::Copy => copy(span / WORD / 2, held / WORD / 2),
        })
    }
}

/// The same `words` again and again, by one thread or by all: a small call is done before others wake.
fn read(words: usize) -> f64 {
    let values = vec![1_u64; words];
    let alone = |_| {
        black_box(sum(&values));
    };
    let part = words / workers::threads();
    let together = |_| {
        workers::each(workers::threads(), |i| {
            black_box(sum(&values[i * part..][..part]));
        });
    };
    let bytes = words * WORD;
    best(bytes, alone).max(best(bytes, together))
}

/// `words` at a time to elsewhere, from where the last pass ended in `held`.
fn copy(words: usize, held: usize) -> f64 {
    let (source, mut target) = (vec![1_u64; held], vec![0_u64; held]);
    let at = |pass: usize| pass % (held / words) * words;
    let bytes = 2 * words * WORD;
    let alone = best(bytes, |pass| {
        target[at(pass)..][..words].copy_from_slice(&source[at(pass)..][..words]);
        black_box(&mut target);
    });
    let part = words / workers::threads();
    let together = best(bytes, |pass| {
        let source = &source[at(pass)..][..words];
        workers::each_chunk(&mut target[at(pass)..][..words], part, |i, target| {
            target.copy_from_slice(&source[i * part..][..part]);
        });
        black_box(&mut target);
    });
    alone.max(together)
}

/// Bytes a second of the best try of `pass`, which moves `bytes` and is told how many went before it.
fn best(bytes: usize, mut pass: impl FnMut(usize)) -> f64 {
    let passes = TRY_BYTES.div_ceil(bytes);
    let mut count = 0;
    let mut try_once = || {
        let start = Instant::now();
        for _ in 0..passes {
            pass(count);
            count += 1;
        }
        start.elapsed().as_secs_f64()
    };
    let seconds = (0..TRIES).fold(f64::INFINITY, |best, _| best.min(try_once()));
    (bytes * passes) as f64 / seconds
}

fn sum(words: &[u64]) -> u64 {
    let mut lanes = [[0_u64; LANES]; STREAMS];
    let (lines, _) = words.as_chunks::<LANES>();
    let length = lines.len() / STREAMS;
    for i in 0..length {
        for (stream, lanes) in lanes.iter_mut().enumerate() {
            for (lane, word) in lanes.iter_mut().zip(&lines[stream * length + i]) {
                *lane = lane.wrapping_add(*word);
            }
        }
    }
    let lanes = lanes.as_flattened().iter();
    lanes.fold(0, |sum, lane| sum.wrapping_add(*lane))
}
