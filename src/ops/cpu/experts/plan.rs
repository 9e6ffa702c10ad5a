//! Which rows each expert computes, and how its work is cut for the threads.

use std::ops::Range;

use crate::ops::Experts;

/// Items that a thread is left, so that uneven ones even out.
const ITEMS_PER_THREAD: usize = 16;
/// Rows of one expert that are computed together, at most.
const CHUNK_ROWS: usize = 120;
/// Rows below which an expert's time is that of reading its weights.
const STREAMED_ROWS: usize = 3;
/// Of a choice whose expert another rank holds.
const ELSEWHERE: u32 = u32::MAX;

/// Rows of one expert that are computed together.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// Among those held.
    pub expert: usize,
    /// Their places, in the order of all choices sorted by expert.
    pub first: usize,
    pub rows: usize,
}

/// Part `part` of `parts` of a chunk's output columns.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    pub chunk: usize,
    pub part: usize,
    pub parts: usize,
}

/// Kept between calls, so that none allocates.
#[derive(Default)]
pub struct Plan {
    pub chunks: Vec<Chunk>,
    pub items: Vec<Item>,
    /// The row of each place.
    pub rows: Vec<u32>,
    /// The place of each choice.
    places: Vec<u32>,
    /// Where the places of each expert held begin, later where they end.
    starts: Vec<usize>,
}

impl Plan {
    /// Sorts the choices by expert, those of one expert by row.
    pub fn group(&mut self, experts: &Experts, chosen: &[u32], top_k: usize) {
        self.starts.clear();
        self.starts.resize(experts.held.len() + 1, 0);
        let held = |&chosen: &u32| experts.local(chosen);
        for expert in chosen.iter().filter_map(held) {
            self.starts[expert + 1] += 1;
        }
        self.chunks.clear();
        for expert in 0..experts.held.len() {
            let (first, rows) = (self.starts[expert], self.starts[expert + 1]);
            self.starts[expert + 1] += first;
            let blocks = rows.div_ceil(CHUNK_ROWS);
            let start = |block: usize| block * rows / blocks;
            self.chunks.extend((0..blocks).map(|block| Chunk {
                expert,
                first: first + start(block),
                rows: start(block + 1) - start(block),
            }));
        }
        self.rows.clear();
        self.rows.resize(self.starts[experts.held.len()], 0);
        self.places.clear();
        for (choice, chosen) in chosen.iter().enumerate() {
            let place = match held(chosen) {
                None => ELSEWHERE,
                Some(expert) => {
                    let place = self.starts[expert];
                    self.starts[expert] += 1;
                    self.rows[place] = (choice / top_k) as u32;
                    place as u32
                }
            };
            self.places.push(place);
        }
    }

    /// The place of choice `choice`, if its expert is held here.
    pub fn place(&self, choice: usize) -> Option<usize> {
        let place = self.places[choice];
        (place != ELSEWHERE).then_some(place as usize)
    }

    /// Cuts each chunk into as many items as its share of the work asks for, of at most `most`.
    pub fn cut(&mut self, threads: usize, most: usize) {
        let work = |chunk: &Chunk| chunk.rows.max(STREAMED_ROWS);
        let total: usize = self.chunks.iter().map(work).sum();
        let wanted = threads * ITEMS_PER_THREAD;
        self.items.clear();
        for (index, chunk) in self.chunks.iter().enumerate() {
            let parts = (wanted * work(chunk)).div_ceil(total).clamp(1, most);
            self.items.extend((0..parts).map(|part| Item {
                chunk: index,
                part,
                parts,
            }));
        }
    }
}

impl Item {
    /// The panels of this item, of `panels`, in whole groups of `unit`.
    pub fn panels(self, panels: usize, unit: usize) -> Range<usize> {
        let units = panels.div_ceil(unit);
        let start = |part: usize| (part * units / self.parts * unit).min(panels);
        start(self.part)..start(self.part + 1)
    }
}
