//! Rows of logits, and the kernels that go over all of them.

use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};

use super::super::elementwise::in_accesses;
use super::super::modules::{Arg, Grid};
use super::super::{Cuda, tensor};
use super::space::{Space, Use};
use crate::ops::scratch::RUN;

/// Of a block that has a run.
const THREADS: u32 = 256;
/// Words of a run's masses.
const MASS_WORDS: usize = 2;

/// Rows of logits, of which the first columns are the tokens from `first`.
#[derive(Debug, Clone, Copy)]
pub struct Logits {
    at: u64,
    stride: usize,
    pub tokens: usize,
    pub first: u32,
}

impl Logits {
    pub fn new(logits: &Tensor, vocab: &Range<usize>) -> Result<Self> {
        let stride = logits.dim(1)?;
        if logits.dtype() != DType::F32 || vocab.len() > stride {
            bail!(
                "{} tokens are not taken from logits of {:?} {:?}",
                vocab.len(),
                logits.dims(),
                logits.dtype()
            );
        }
        Ok(Self {
            at: tensor::address(logits)?,
            stride,
            tokens: vocab.len(),
            first: vocab.start as u32,
        })
    }

    pub fn runs(&self) -> usize {
        self.tokens.div_ceil(RUN)
    }

    /// Launches `kernel`, which reads whole rows or runs of them, with the logits and then `arguments`.
    pub fn launch(
        &self,
        cuda: &Cuda,
        file: &str,
        kernel: &str,
        grid: Grid,
        arguments: &[Arg],
    ) -> Result<()> {
        let odd = match in_accesses(self.stride * size_of::<f32>(), &[self.at]) {
            true => "",
            false => "odd_",
        };
        let function = format!("{kernel}_{odd}f32");
        let arguments = [&self.arguments(), arguments].concat();
        cuda.launch(file, &function, grid, &arguments)
    }

    /// What kernels are told of the logits.
    fn arguments(&self) -> [Arg; 3] {
        [
            Arg::At(self.at),
            Arg::U64(self.stride as u64),
            Arg::U32(self.tokens as u32),
        ]
    }

    /// A block for each run of each row.
    fn by_run(&self, rows: usize) -> Grid {
        Grid {
            blocks: (rows as u32, self.runs() as u32, 1),
            threads: THREADS,
            shared: 0,
        }
    }

    /// Queues the record of the first `rows` rows at `record`.
    pub fn record(
        &self,
        cuda: &Cuda,
        space: &mut Space,
        rows: usize,
        experts_read: u64,
        record: u64,
    ) -> Result<()> {
        let runs = space.at(&cuda.gpu, Use::Runs, rows * self.runs())?;
        let picks = cuda.step().picks_of(rows);
        let arguments = [Arg::U32(self.first), picks, Arg::At(runs)];
        self.launch(cuda, "draw", "draw_runs", self.by_run(rows), &arguments)?;
        let arguments = [
            Arg::At(runs),
            Arg::U32(self.runs() as u32),
            Arg::U32(self.first),
            Arg::At(experts_read),
            Arg::At(record),
        ];
        cuda.launch("draw", "draw_record", Grid::row(rows, 32), &arguments)
    }

    /// Queues the keys of what each run of the rows of `asks` draws, and returns where they will lie.
    pub fn drawn(&self, cuda: &Cuda, space: &mut Space, asks: u64, rows: usize) -> Result<u64> {
        let runs = space.at(&cuda.gpu, Use::Drawn, rows * self.runs())?;
        let own = [Arg::U32(self.first), Arg::At(asks), Arg::At(runs)];
        let arguments = [&self.arguments()[..], &own].concat();
        cuda.launch("draw", "draw_asks_f32", self.by_run(rows), &arguments)?;
        Ok(runs)
    }

    /// Queues the argmax of the rows of `asks`, and returns where it will lie.
    pub fn best(&self, cuda: &Cuda, space: &mut Space, asks: u64, rows: usize) -> Result<u64> {
        let runs = space.at(&cuda.gpu, Use::Runs, rows * self.runs())?;
        let best = space.at(&cuda.gpu, Use::Best, rows)?;
        let arguments = [Arg::At(asks), Arg::At(runs)];
        self.launch(cuda, "argmax", "argmax_runs", self.by_run(rows), &arguments)?;
        let arguments = [
            Arg::At(self.at),
            Arg::U64(self.stride as u64),
            Arg::At(asks),
            Arg::At(runs),
            Arg::U32(self.runs() as u32),
            Arg::U32(self.first),
            Arg::At(best),
        ];
        cuda.launch("argmax", "argmax_f32", Grid::row(rows, 32), &arguments)?;
        Ok(best)
    }

    /// Queues the masses of each run of the rows of `asks`, and returns where they will lie.
    pub fn masses(
        &self,
        cuda: &Cuda,
        space: &mut Space,
        asks: u64,
        best: u64,
        rows: usize,
    ) -> Result<u64> {
        let words = rows * self.runs() * MASS_WORDS;
        let masses = space.at(&cuda.gpu, Use::Masses, words)?;
        let arguments = [Arg::At(asks), Arg::At(best), Arg::At(masses)];
        self.launch(cuda, "mass", "masses", self.by_run(rows), &arguments)?;
        Ok(masses)
    }
}
