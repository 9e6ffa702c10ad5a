//! Roofs of kernels that mostly move bytes: what plain loops over as many bytes reach.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use candlepower::ops::cpu::workers;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Traffic {
    Read,
    /// As many bytes written elsewhere as read; both count.
    Copy,
    /// Two streams read, and one of them written back: memory need not fetch what will be overwritten.
    Update,
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
        (Traffic::Update, Place::Cache) => "an update of as much, in cache,",
        (Traffic::Update, Place::Memory) => "updating memory",
    }
}

const WORD: usize = size_of::<u64>();
/// Streams that move: one in and one out; two in and one out.
const COPY: usize = 2;
const UPDATE: usize = 3;
const TRIES: usize = 48;
/// Bytes moved in one try, at least: some hundred microseconds.
const TRY_BYTES: usize = 4 << 20;
/// Bytes held where they are to come from memory.
const MEMORY_BYTES: usize = 256 << 20;
/// Words of a stream that are summed independently, and streams read side by side.
const LANES: usize = 8;
const STREAMS: usize = 4;

/// Bytes a second, each measured when first asked for.
#[derive(Default)]
pub struct Roofs(HashMap<(Traffic, Place, usize), f64>);

impl Roofs {
    pub fn get(&mut self, traffic: Traffic, place: Place, bytes: u64) -> f64 {
        let (span, held) = match place {
            Place::Cache => (bytes as usize, bytes as usize),
            Place::Memory => (TRY_BYTES, MEMORY_BYTES),
        };
        let known = self.0.entry((traffic, place, span));
        *known.or_insert_with(|| match traffic {
            Traffic::Read => read(span / WORD, held / WORD),
            Traffic::Copy => write::<COPY>(span / WORD / COPY, held / WORD / COPY, pass_on),
            Traffic::Update => write::<UPDATE>(span / WORD / UPDATE, held / WORD / UPDATE, update),
        })
    }
}

/// `words` at a time, each from where the last pass ended in `held`; by one thread or by all, for a
/// small call is done before others wake.
fn read(words: usize, held: usize) -> f64 {
    let values = vec![1_u64; held];
    let at = |pass: usize| &values[pass % (held / words) * words..][..words];
    let bytes = words * WORD;
    let alone = best(bytes, |pass| {
        black_box(sum(at(pass)));
    });
    let part = words / workers::threads();
    let together = best(bytes, |pass| {
        let values = at(pass);
        workers::each(workers::threads(), |i| {
            black_box(sum(&values[i * part..][..part]));
        });
    });
    alone.max(together)
}

/// As [`read`], of what `change(source, target)` reaches on `words` each; `MOVED` times that moves.
fn write<const MOVED: usize>(
    words: usize,
    held: usize,
    change: impl Fn(&[u64], &mut [u64]) + Sync,
) -> f64 {
    let (source, mut target) = (vec![1_u64; held], vec![0_u64; held]);
    let at = |pass: usize| pass % (held / words) * words;
    let bytes = MOVED * words * WORD;
    let alone = best(bytes, |pass| {
        change(
            &source[at(pass)..][..words],
            &mut target[at(pass)..][..words],
        );
    });
    let part = words / workers::threads();
    let together = best(bytes, |pass| {
        let source = &source[at(pass)..][..words];
        workers::each_chunk(&mut target[at(pass)..][..words], part, |i, target| {
            change(&source[i * part..][..part], target);
        });
    });
    alone.max(together)
}

/// Adds 1 on the way: the library's plain copy is ten times slower on some hosts where source and
/// target lie unluckily (fast short `rep movsb` of AMD's Zen 3).
fn pass_on(source: &[u64], target: &mut [u64]) {
    for (target, source) in target.iter_mut().zip(source) {
        *target = source.wrapping_add(1);
    }
    black_box(target);
}

fn update(source: &[u64], target: &mut [u64]) {
    for (target, source) in target.iter_mut().zip(source) {
        *target = target.wrapping_add(*source);
    }
    black_box(target);
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
