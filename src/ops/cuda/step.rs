//! What a step's kernels must know of its rows, in one buffer that goes to the GPU in one copy.

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr, result};
use candle_core::{Result, bail};

use super::device::Gpu;
use super::modules::Arg;
use super::noise;
use super::pinned::Staging;
use crate::ops::sampling::noise::Noise;
use crate::ops::scratch::{self, SECTIONS};
use crate::ops::{Pick, Rows};

/// Sections start at multiples of 16 bytes.
const ALIGN: usize = 4;

/// Where the sections of a step lie, in words from the start: a function of the counts alone, so that a captured
/// graph finds the next step's where it found its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sections {
    pub rows: usize,
    pub sequences: usize,
    pub logit_rows: usize,
    /// Row stride of the block tables.
    pub max_blocks: usize,
}

impl Sections {
    /// Starts of tokens, positions, slots, query offsets, context lengths, logit rows, their picks, block tables; and the
    /// end.
    fn starts(&self) -> [usize; SECTIONS + 1] {
        let Self {
            rows,
            sequences,
            logit_rows,
            max_blocks,
        } = *self;
        let lengths = scratch::step(rows, sequences, logit_rows, max_blocks);
        let mut starts = [0; SECTIONS + 1];
        for (i, length) in lengths.into_iter().enumerate() {
            starts[i + 1] = starts[i] + length.next_multiple_of(ALIGN);
        }
        starts
    }
}

/// The step on the GPU. Addresses hold until a larger step comes.
#[derive(Debug, Default)]
pub struct Step {
    /// Room here, twice: a step may still be on its way while the next is written.
    pinned: [Staging<u32>; 2],
    device: Option<CudaSlice<u32>>,
    /// Which of the pinned halves the next step fills.
    half: usize,
    /// Of the picks; reused.
    picks: Vec<u32>,
    start: u64,
    sections: Sections,
    /// Largest counts of the step: what grids are made from.
    pub longest_query: usize,
    /// Sequences with one row.
    pub decoding: usize,
}

impl Step {
    /// Room for steps of such counts from the start, so that addresses hold.
    pub fn reserve(&mut self, gpu: &Gpu, largest: Sections) -> Result<()> {
        let words = largest.starts()[SECTIONS].max(1);
        let room = self.device.as_ref().map_or(0, CudaSlice::len);
        if room >= words {
            return Ok(());
        }
        if room > 0 && gpu.is_fixed() {
            bail!("a step of {largest:?} is larger than those that graphs were captured among");
        }
        gpu.synchronize()?;
        let device = gpu.stream.alloc_zeros::<u32>(words).w()?;
        self.start = device.device_ptr(&gpu.stream).0;
        self.device = Some(device);
        for half in &mut self.pinned {
            half.words(gpu, words)?;
        }
        Ok(())
    }

    /// Copies one step to the GPU, for which the calling thread is bound to it. The one before the last must be done: its results were waited for.
    ///
    /// # Errors
    /// Counts that do not belong together, or a copy that the driver refuses.
    pub fn upload(
        &mut self,
        gpu: &Gpu,
        tokens: &[u32],
        rows: &Rows,
        logit_rows: &[u32],
        picks: &[Pick],
    ) -> Result<()> {
        let sections = Sections {
            rows: rows.len(),
            sequences: rows.sequences(),
            logit_rows: logit_rows.len(),
            max_blocks: rows.max_blocks,
        };
        if tokens.len() != sections.rows {
            bail!("{} tokens for {} rows", tokens.len(), sections.rows);
        }
        gpu.bind()?;
        self.reserve(gpu, sections)?;
        self.picks.clear();
        let noise = picks.iter().take(logit_rows.len()).map(Noise::from);
        self.picks
            .extend(noise.flat_map(|noise| noise::words(&noise)));
        let host = &mut self.pinned[self.half];
        self.half = 1 - self.half;
        let starts = sections.starts();
        let words = host.words(gpu, starts[SECTIONS])?;
        let lists: [&[u32]; SECTIONS] = [
            tokens,
            &rows.positions,
            &rows.slots,
            &rows.query_offsets,
            &rows.context_lens,
            logit_rows,
            &self.picks,
            &rows.block_tables,
        ];
        for ((list, start), end) in lists.iter().zip(starts).zip(&starts[1..]) {
            let (section, rest) = words[start..*end].split_at_mut(list.len());
            section.copy_from_slice(list);
            rest.fill(0);
        }
        // SAFETY: the pinned words live as long as the step, and are written again only after this copy: whoever
        // uploads a step has waited for the one before the last.
        unsafe {
            result::memcpy_htod_async(
                self.start,
                &words[..starts[SECTIONS]],
                gpu.stream.cu_stream(),
            )
        }
        .w()?;
        self.sections = sections;
        let queries = (0..sections.sequences).map(|s| rows.query(s).len());
        self.longest_query = queries.clone().max().unwrap_or(0);
        self.decoding = queries.filter(|&length| length == 1).count();
        Ok(())
    }

    pub fn sections(&self) -> Sections {
        self.sections
    }

    pub fn tokens(&self) -> Arg {
        self.section(0)
    }

    pub fn positions(&self) -> Arg {
        self.section(1)
    }

    pub fn slots(&self) -> Arg {
        self.section(2)
    }

    /// [`Self::slots`], or the null address where the step has fewer rows.
    pub fn slots_of(&self, rows: usize) -> Arg {
        match self.sections.rows >= rows {
            true => self.slots(),
            false => Arg::At(0),
        }
    }

    /// `[sequences + 1]`.
    pub fn query_offsets(&self) -> Arg {
        self.section(3)
    }

    pub fn context_lens(&self) -> Arg {
        self.section(4)
    }

    pub fn logit_rows(&self) -> Arg {
        self.section(5)
    }

    /// Of the rows whose logits are wanted, or the null address where the step has fewer than `rows` of them.
    pub fn picks_of(&self, rows: usize) -> Arg {
        match self.sections.logit_rows >= rows {
            true => self.section(6),
            false => Arg::At(0),
        }
    }

    /// `[sequences, max_blocks]`.
    pub fn block_tables(&self) -> Arg {
        self.section(7)
    }

    fn section(&self, index: usize) -> Arg {
        Arg::At(self.start + (self.sections.starts()[index] * size_of::<u32>()) as u64)
    }
}
