//! The experts' work between routing and the sum of a row's choices.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::Result;

use super::each;
use super::plan::{Chunk, Item, Plan};
use crate::ops::cpu::columns::{MIN_PARALLEL, panel_range, panel_sums, tallest_panels};
use crate::ops::cpu::gemm::{Gemm, MIN_PARALLEL_PACK};
use crate::ops::cpu::linear::{rounding, with_bias, with_scales};
use crate::ops::cpu::packing::{Activations, Packing};
use crate::ops::cpu::panel::{PANEL, PanelElement};
use crate::ops::cpu::shared::SharedOut;
use crate::ops::cpu::tile::{MicroKernel, tile_rows};
use crate::ops::cpu::{activation, e4m3, workers};
use crate::ops::storage::{self, Element};
use crate::ops::{BlockScales, Buffer, Expert, ExpertSpace, Experts, Linear};

/// Sums of gate, and as many of up, that wait for their activation: they stay near.
const WAITING_SUMS: usize = 1 << 13;

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::default();
    /// A row on its way to e4m3.
    static ROUNDED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A thread's sums of gate and up, `[rows, columns]`, and a row of what becomes of them.
#[derive(Default)]
struct Waiting {
    gate: Vec<f32>,
    up: Vec<f32>,
    activated: Vec<f32>,
}

/// The first `len` elements, of which there may have been fewer.
fn grown(values: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if values.len() < len {
        values.resize(len, 0.0);
    }
    &mut values[..len]
}

pub struct Layer<'a> {
    experts: &'a Experts,
    activations: Activations,
    hidden: usize,
    width: usize,
    /// How the rows that come in, and those that go to `down`, are rounded.
    in_rounding: Option<&'a BlockScales>,
    down_rounding: Option<&'a BlockScales>,
}

impl<'a> Layer<'a> {
    /// `first` stands for the shape of all.
    pub fn of(experts: &'a Experts, first: &'a Expert, activations: Activations) -> Self {
        Self {
            experts,
            activations,
            hidden: first.gate_up.k,
            width: first.down.k,
            in_rounding: rounding(&first.gate_up),
            down_rounding: rounding(&first.down),
        }
    }

    /// Leaves each place's result in its row of `space.out`.
    pub fn run<M: MicroKernel>(
        &self,
        kernel: M,
        x: &Buffer,
        plan: &mut Plan,
        space: &ExpertSpace,
    ) -> Result<()> {
        let (hidden, width) = (self.hidden, self.width);
        let parallel = plan.rows.len() * hidden * width >= MIN_PARALLEL;
        // The room of what comes out serves what goes in, until then.
        storage::write(&space.out, |packed: &mut [f32]| {
            storage::read(x, |x: &[f32]| {
                self.take_in::<M>(x, plan, &mut packed[..plan.rows.len() * hidden])
            })
        })?;
        plan.cut(workers::threads(), width.div_ceil(PANEL));
        storage::read(&space.out, |packed: &[f32]| {
            storage::write(&space.activated, |activated: &mut [f32]| {
                let activated = SharedOut::new(activated);
                each(plan.items.len(), parallel, |i| {
                    let item = plan.items[i];
                    let chunk = plan.chunks[item.chunk];
                    let packed = &packed[chunk.first * hidden..][..chunk.rows * hidden];
                    self.gate_up(kernel, chunk, item, packed, activated)
                })
            })
        })?;
        if let Some(scales) = self.down_rounding {
            storage::write(&space.activated, |activated: &mut [f32]| {
                for chunk in &plan.chunks {
                    let packed = &mut activated[chunk.first * width..][..chunk.rows * width];
                    round::<M>(scales, chunk.rows, packed);
                }
                Ok(())
            })?;
        }
        plan.cut(workers::threads(), hidden.div_ceil(PANEL));
        storage::read(&space.activated, |packed: &[f32]| {
            storage::write(&space.out, |out: &mut [f32]| {
                let out = SharedOut::new(out);
                each(plan.items.len(), parallel, |i| {
                    let item = plan.items[i];
                    let chunk = plan.chunks[item.chunk];
                    let packed = &packed[chunk.first * width..][..chunk.rows * width];
                    self.down(kernel, chunk, item, packed, out)
                })
            })
        })
    }

    /// Each chunk's rows of `x` as its tiles read them.
    fn take_in<M: MicroKernel>(&self, x: &[f32], plan: &Plan, packed: &mut [f32]) -> Result<()> {
        let hidden = self.hidden;
        let parallel = packed.len() >= MIN_PARALLEL_PACK;
        let out = SharedOut::new(packed);
        let take = |i: usize| {
            let chunk = plan.chunks[i];
            // SAFETY: chunks are disjoint runs of places, and `packed` is borrowed for as long.
            let packed = unsafe { out.slice(chunk.first * hidden, chunk.rows * hidden) };
            let rows = &plan.rows[chunk.first..][..chunk.rows];
            let packing = self.packing::<M>(&self.experts.held[chunk.expert].gate_up)?;
            for range in tiles::<M>(chunk.rows) {
                let steps = &mut packed[range.start * hidden..range.end * hidden];
                let rows = &rows[range];
                let row = |r: usize| &x[rows[r] as usize * hidden..][..hidden];
                packing.tile(steps, rows.len(), row);
            }
            if let Some(scales) = self.in_rounding {
                round::<M>(scales, chunk.rows, packed);
            }
            Ok(())
        };
        each(plan.chunks.len(), parallel, take)
    }

    fn packing<M: MicroKernel>(&self, weight: &Linear) -> Result<Packing> {
        by_dtype!(weight.weight.dtype(), W => Ok(Packing::of::<M, W>(self.activations)))
    }

    /// An item's columns of `silu(gate) * up`, into the chunk's tiles of `activated`.
    fn gate_up<M: MicroKernel>(
        &self,
        kernel: M,
        chunk: Chunk,
        item: Item,
        packed: &[f32],
        activated: SharedOut,
    ) -> Result<()> {
        let weight = &self.experts.held[chunk.expert].gate_up;
        let unit = tallest_panels::<M>(chunk.rows);
        let panels = item.panels(self.width.div_ceil(PANEL), unit);
        let group = (WAITING_SUMS / (chunk.rows * PANEL)).max(1);
        let group = group.next_multiple_of(unit);
        by_dtype!(weight.weight.dtype(), W => with_job(weight, chunk.rows, self.activations, |job: &Gemm<'_, W>| {
            let mut waiting = WAITING.take();
            for panel in panels.clone().step_by(group) {
                let end = panels.end.min(panel + group) * PANEL;
                let columns = panel * PANEL..end.min(self.width);
                self.activate(kernel, job, chunk, columns, packed, activated, &mut waiting)?;
            }
            WAITING.set(waiting);
            Ok(())
        }))
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `gate_up`")]
    fn activate<M: MicroKernel, W: PanelElement>(
        &self,
        kernel: M,
        job: &Gemm<'_, W>,
        chunk: Chunk,
        columns: Range<usize>,
        packed: &[f32],
        activated: SharedOut,
        waiting: &mut Waiting,
    ) -> Result<()> {
        let (rows, width) = (chunk.rows, columns.len());
        // Up begins where gate ends, perhaps within a panel.
        let up_column = self.width + columns.start;
        let skipped = up_column % PANEL;
        let gate = grown(&mut waiting.gate, rows * width);
        let at = (columns.start / PANEL, width);
        panel_sums(kernel, job, packed, at, rows, gate);
        let up_width = skipped + width;
        let up = grown(&mut waiting.up, rows * up_width);
        panel_sums(kernel, job, packed, (up_column / PANEL, up_width), rows, up);
        let row = grown(&mut waiting.activated, width);
        let packing = self.packing::<M>(&self.experts.held[chunk.expert].down)?;
        for range in tiles::<M>(rows) {
            let height = range.len();
            let first = packing.words(columns.start) * height;
            let start = (chunk.first + range.start) * self.width + first;
            // SAFETY: these columns of this chunk's tiles are the item's alone; `activated` is borrowed.
            let steps = unsafe { activated.slice(start, packing.words(width) * height) };
            for (r, i) in range.enumerate() {
                let up = &up[i * up_width + skipped..][..width];
                activation::silu_mul(&gate[i * width..][..width], up, row);
                packing.put(steps, height, r, row);
            }
        }
        Ok(())
    }

    /// An item's columns of the chunk's rows of `out`.
    fn down<M: MicroKernel>(
        &self,
        kernel: M,
        chunk: Chunk,
        item: Item,
        packed: &[f32],
        out: SharedOut,
    ) -> Result<()> {
        let weight = &self.experts.held[chunk.expert].down;
        let panels = item.panels(self.hidden.div_ceil(PANEL), tallest_panels::<M>(chunk.rows));
        let places = chunk.first..chunk.first + chunk.rows;
        by_dtype!(weight.weight.dtype(), W => with_job(weight, chunk.rows, self.activations, |job: &Gemm<'_, W>| {
            // SAFETY: these columns of this chunk's rows are the item's alone; `out` is borrowed.
            unsafe { panel_range(kernel, job, places, packed, panels, out) };
            Ok(())
        }))
    }
}

/// The tiles of a chunk of `rows`.
fn tiles<M: MicroKernel>(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = rows.div_ceil(M::ROWS);
    (0..tiles).map(move |tile| tile_rows(rows, tiles, tile))
}

/// Rounds the rows that lie as tiles in `packed` to e4m3.
fn round<M: MicroKernel>(scales: &BlockScales, rows: usize, packed: &mut [f32]) {
    let k = packed.len() / rows;
    let mut rounded = ROUNDED.take();
    let row = grown(&mut rounded, k);
    for range in tiles::<M>(rows) {
        let height = range.len();
        let steps = &mut packed[range.start * k..range.end * k];
        for r in 0..height {
            for (value, step) in row.iter_mut().zip(steps.chunks_exact(height)) {
                *value = step[r];
            }
            e4m3::quantize_blocks(row, scales.block[1], scales.column_offset);
            for (value, step) in row.iter().zip(steps.chunks_exact_mut(height)) {
                step[r] = *value;
            }
        }
    }
    ROUNDED.set(rounded);
}

/// Calls `f` with the weight as what a kernel multiplies `rows` rows by.
fn with_job<W: Element + PanelElement>(
    weight: &Linear,
    rows: usize,
    activations: Activations,
    f: impl FnOnce(&Gemm<'_, W>) -> Result<()>,
) -> Result<()> {
    with_bias(weight, |bias| {
        with_scales(weight, |scales| {
            storage::read(&weight.weight, |packed: &[W]| {
                let job = Gemm {
                    x: &[],
                    ldx: 0,
                    rows,
                    activations,
                    w: packed,
                    n: weight.n,
                    k: weight.k,
                    scales,
                    bias,
                    ldo: weight.n,
                };
                job.check_weight();
                f(&job)
            })
        })
    })
}
