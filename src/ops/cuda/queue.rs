//! A GPU takes steps ahead of the host, as its stream does.

use std::ops::Range;

use candle_core::{Result, bail};

use super::step::Sections;
use super::{Cuda, graph, lock, sampling};
use crate::ops::{Buffer, Queue, Replay};

impl Queue for Cuda {
    fn reserve(&self, rows: usize, sequences: usize, max_blocks: usize) -> Result<()> {
        let largest = Sections {
            rows,
            sequences,
            logit_rows: sequences,
            max_blocks,
        };
        lock(&self.answers).record(&self.gpu, sequences)?;
        self.step().reserve(&self.gpu, largest)
    }

    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Replay>> {
        self.gpu.fix();
        graph::capture(&self.gpu, work)
    }

    fn try_algorithms(&self) {
        self.blas.try_algorithms();
    }

    fn keep_fastest(&self) -> Result<()> {
        self.blas.keep_fastest(&self.gpu)
    }

    fn queue_draw(&self, logits: &Buffer, vocab: &Range<usize>, rows: usize) -> Result<Buffer> {
        let record = lock(&self.answers).record(&self.gpu, rows)?;
        sampling::record(self, logits, vocab, rows, &record)?;
        Ok(record)
    }

    fn send(&self, rows: usize) -> Result<()> {
        lock(&self.answers).send(&self.gpu, rows)
    }

    fn collect(&self, rows: usize, out: &mut Vec<(u32, f32)>) -> Result<u32> {
        let mut answers = lock(&self.answers);
        let (keys, experts_read) = answers.collect(&self.gpu)?;
        let Some(keys) = keys.get(..rows) else {
            bail!("a step of {} rows has no answers for {rows}", keys.len());
        };
        out.clear();
        out.extend(keys.iter().copied().map(sampling::drawn));
        Ok(experts_read)
    }
}
