//! Causal attention over the paged cache: split along the context for sequences with one row, in tiles of rows for
//! longer ones. Both are in `kernels/attention_<head_dim>_<type>.cu`.

use candle_core::{DType, Result, Tensor, bail};

use super::modules::{Arg, Grid};
use super::step::Step;
use super::{Cuda, lock, suffix, tensor};
use crate::ops::scratch::{self, BLOCKS_PER_MULTIPROCESSOR, TILE_ROWS};
use crate::ops::{AttentionShape, Buffer, KvLayer};

/// Head dims that have kernels; others are padded with zeros to the next one.
const HEAD_DIMS: [usize; 5] = [64, 80, 96, 128, 256];
/// Tokens that a split should have at least: `SPLIT_TOKENS` of the kernels.
const SPLIT_TOKENS: usize = 256;

/// Partial results of split sequences, f32: weighted sums, and their peaks and totals.
#[derive(Debug, Default)]
pub struct Space {
    sums: Option<Tensor>,
    units: Option<Tensor>,
}

impl Space {
    /// Room for the splits of any step, so that a step which is captured finds it: see [`splits`] for the bound.
    fn reserve(&mut self, cuda: &Cuda, shape: &AttentionShape) -> Result<(Arg, Arg)> {
        let group = shape.num_heads / shape.num_kv_heads;
        let parts = scratch::attention_parts(cuda.gpu().multiprocessors as usize, group);
        let room =
            |slot, elements| tensor::room(&cuda.gpu, slot, elements, DType::F32).map(Arg::At);
        let sums = room(&mut self.sums, parts * shape.head_dim)?;
        let units = room(&mut self.units, parts * 2)?;
        Ok((sums, units))
    }
}

/// The kernels for one head_dim and pair of types.
struct Kernel {
    file: String,
    suffix: String,
    /// head_dim with its padding.
    dim: usize,
    /// Bytes of an activation, and whether e4m3 is widened in shared memory.
    element: usize,
    staged: bool,
}

impl Kernel {
    /// # Errors
    /// No kernel takes such heads, or such types.
    fn of(dtype: DType, cache: DType, head_dim: usize) -> Result<Self> {
        let fits = HEAD_DIMS.into_iter().find(|&dim| dim >= head_dim);
        let (Some(fits), true) = (fits, head_dim.is_multiple_of(2)) else {
            bail!("CUDA attention takes even head_dims up to 256, not {head_dim}");
        };
        let staged = cache == DType::F8E4M3;
        let mixed = !staged && cache != dtype;
        let dim = if mixed { 256 } else { fits };
        Ok(Self {
            file: match mixed {
                true => "attention_mixed".to_owned(),
                false => format!("attention_{dim}_{}", suffix(dtype)?),
            },
            suffix: format!("{dim}_{}_{}", suffix(dtype)?, suffix(cache)?),
            dim,
            element: dtype.size_in_bytes(),
            staged,
        })
    }

    /// Bytes of `rows` queries, and of `tiles` tiles of `keys` keys or values.
    fn shared(&self, rows: usize, keys: usize, tiles: usize) -> u32 {
        let row = self.dim * self.element + 16;
        let raw = if self.staged { self.dim } else { 0 };
        (rows * row + tiles * keys * (row + raw)) as u32
    }

    fn decode(&self) -> Tiles {
        let keys = if self.exact() { 8 } else { 16 };
        let warps = if self.dim > 128 { 2 } else { 4 };
        Tiles {
            rows: TILE_ROWS,
            threads: 32 * warps,
            shared: self.shared(TILE_ROWS, keys, 2 * warps),
        }
    }

    fn prefill(&self) -> Tiles {
        let (warps, tiles, keys) = match (self.exact(), self.dim) {
            (true, _) => (2, 1, 16),
            (false, ..=80) => (4, 2, 64),
            (false, ..=128) => (4, 2, 32),
            (false, _) => (4, 1, 32),
        };
        let rows = warps * tiles * TILE_ROWS;
        Tiles {
            rows,
            threads: 32 * warps,
            shared: self.shared(rows, keys, 2),
        }
    }

    /// In f32, without tensor cores.
    fn exact(&self) -> bool {
        self.element == size_of::<f32>()
    }
}

/// How a block is laid out.
struct Tiles {
    /// Packed query rows: those of all heads of a group.
    rows: usize,
    threads: usize,
    shared: u32,
}

impl Tiles {
    fn grid(&self, x: usize, y: usize, z: usize) -> Grid {
        Grid {
            blocks: (x as u32, y as u32, z as u32),
            threads: self.threads as u32,
            shared: self.shared,
        }
    }
}

/// Attention of the step's rows, as `Kernels::attend` says.
///
/// # Errors
/// No kernel takes such heads or types, or a launch is refused.
pub fn attend(
    cuda: &Cuda,
    qkv: &Tensor,
    shape: &AttentionShape,
    kv: &KvLayer,
    out: &Buffer,
) -> Result<()> {
    let kernel = Kernel::of(cuda.dtype, kv.k.dtype(), shape.head_dim)?;
    let (sums, units) = lock(&cuda.attention).reserve(cuda, shape)?;
    let step = cuda.step();
    let sections = step.sections();
    let window = Arg::U32(shape.window.unwrap_or(0) as u32);
    let arguments = [
        tensor::at(qkv)?,
        tensor::at(&kv.k)?,
        tensor::at(&kv.v)?,
        step.query_offsets(),
        step.context_lens(),
        step.block_tables(),
        tensor::at(out)?,
        Arg::U32(sections.sequences as u32),
        Arg::U32(sections.max_blocks as u32),
        Arg::U32(kv.k.dim(1)? as u32),
        Arg::U32(shape.num_heads as u32),
        Arg::U32(shape.num_kv_heads as u32),
        Arg::U32(shape.head_dim as u32),
        window,
        Arg::F32(shape.scale() * std::f32::consts::LOG2_E),
    ];
    let group = shape.num_heads / shape.num_kv_heads;
    if step.longest_query > 1 {
        let tiles = kernel.prefill();
        let most = sections.rows * group / tiles.rows + sections.sequences;
        let grid = tiles.grid(most, shape.num_kv_heads, 1);
        let function = format!("attention_prefill_{}", kernel.suffix);
        cuda.launch(&kernel.file, &function, grid, &arguments)?;
    }
    if step.decoding == 0 {
        return Ok(());
    }
    let tiles = kernel.decode();
    let wide = shape.num_kv_heads * group.div_ceil(tiles.rows);
    let capacity = sections.max_blocks * kv.k.dim(1)?;
    let splits = splits(cuda, sections.sequences * wide, capacity);
    let grid = tiles.grid(splits, wide, sections.sequences);
    let function = format!("attention_decode_{}", kernel.suffix);
    let arguments = [&arguments[..], &[sums, units]].concat();
    cuda.launch(&kernel.file, &function, grid, &arguments)?;
    if splits == 1 {
        return Ok(());
    }
    reduce(cuda, &step, shape, splits, [sums, units], out)
}

fn reduce(
    cuda: &Cuda,
    step: &Step,
    shape: &AttentionShape,
    splits: usize,
    [sums, units]: [Arg; 2],
    out: &Buffer,
) -> Result<()> {
    let function = format!("attention_reduce_{}", suffix(cuda.dtype)?);
    let arguments = [
        step.query_offsets(),
        step.context_lens(),
        sums,
        units,
        tensor::at(out)?,
        Arg::U32(splits as u32),
        Arg::U32(shape.num_heads as u32),
        Arg::U32(shape.head_dim as u32),
        Arg::U32(shape.window.unwrap_or(0) as u32),
    ];
    let grid = Grid {
        blocks: (shape.num_heads as u32, step.sections().sequences as u32, 1),
        threads: shape.head_dim.next_multiple_of(32) as u32,
        shared: 0,
    };
    cuda.launch("attention_reduce", &function, grid, &arguments)
}

fn most_blocks(cuda: &Cuda) -> usize {
    BLOCKS_PER_MULTIPROCESSOR * cuda.gpu().multiprocessors as usize
}

/// Into how many splits a grid divides contexts of at most `capacity` tokens, with `blocks` blocks for each split:
/// as many as fill the GPU. Not from the contexts of now: a captured launch is replayed while they grow.
/// Where there are several, `blocks * (splits - 1)` is below [`most_blocks`], and `blocks * splits` below twice that.
fn splits(cuda: &Cuda, blocks: usize, capacity: usize) -> usize {
    let fill = most_blocks(cuda).div_ceil(blocks.max(1));
    fill.min(capacity / SPLIT_TOKENS).max(1)
}
