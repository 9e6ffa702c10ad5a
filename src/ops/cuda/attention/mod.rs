//! Causal attention over the paged cache: split along the context for sequences with one row, in tiles of rows for
//! longer ones. Both are in `kernels/attention_<head_dim>_<type>.cu`.

mod grid;

use candle_core::{DType, Result, Tensor, bail};

use super::device::Gpu;
use super::modules::Arg;
use super::{Cuda, lock, tensor};
use crate::ops::scratch;
use crate::ops::{AttentionShape, Buffer, KvLayer};
use grid::{Kernel, splits};

/// What kernels count to.
const COUNTED: usize = u32::MAX as usize;

/// What blocks leave for the last of those that share a context.
#[derive(Debug, Default)]
pub struct Space {
    /// f32: weighted sums, and their peaks and totals.
    sums: Option<Tensor>,
    units: Option<Tensor>,
    /// How many have come; each launch leaves zeros.
    arrived: Option<Tensor>,
}

impl Space {
    /// Room for the splits of any step, so that a step which is captured finds it.
    fn reserve(&mut self, gpu: &Gpu, kernel: &Kernel, group: usize) -> Result<[Arg; 3]> {
        let multiprocessors = gpu.multiprocessors as usize;
        let [sums, units, blocks] = scratch::attention(multiprocessors, group, kernel.dim);
        let sums = tensor::room(gpu, &mut self.sums, sums, DType::F32)?;
        let units = tensor::room(gpu, &mut self.units, units, DType::F32)?;
        let arrived = match &mut self.arrived {
            Some(held) => tensor::at(held)?,
            none => tensor::at(none.insert(Tensor::zeros(blocks, DType::U32, &gpu.candle())?))?,
        };
        Ok([Arg::At(sums), Arg::At(units), arrived])
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
    let group = shape.num_heads / shape.num_kv_heads;
    let parts = lock(&cuda.attention).reserve(&cuda.gpu, &kernel, group)?;
    let step = cuda.step();
    let sections = step.sections();
    let block_size = kv.k.dim(1)?;
    let capacity = sections.max_blocks * block_size;
    let accesses = kv.k.elem_count() * kv.k.dtype().size_in_bytes() / grid::ACCESS;
    if capacity * block_size > COUNTED || accesses > COUNTED {
        bail!(
            "CUDA attention counts pages and 16-byte accesses in 32 bits: blocks of {block_size} tokens hold contexts of at most {}, and a layer's keys 64 GiB",
            COUNTED / block_size
        );
    }
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
        Arg::U32(block_size as u32),
        Arg::U32(shape.num_heads as u32),
        Arg::U32(shape.num_kv_heads as u32),
        Arg::U32(shape.head_dim as u32),
        Arg::U32(shape.window.unwrap_or(0) as u32),
        Arg::F32(shape.scale() * std::f32::consts::LOG2_E),
    ];
    if step.longest_query > 1 {
        let most = |rows| (sections.rows * group / rows + sections.sequences) * shape.num_kv_heads;
        let tiles = kernel.prefill(&cuda.gpu, most);
        let grid = tiles.grid(most(tiles.rows), 1, 1);
        cuda.launch(&kernel.file, &tiles.function, grid, &arguments)?;
    }
    if step.decoding > 0 {
        let tiles = kernel.decode();
        let wide = shape.num_kv_heads * group.div_ceil(tiles.rows);
        let splits = splits(&tiles, &cuda.gpu, sections.sequences * wide, capacity);
        let grid = tiles.grid(splits, wide, sections.sequences);
        let arguments = [&arguments[..], &parts].concat();
        cuda.launch(&kernel.file, &tiles.function, grid, &arguments)?;
    }
    Ok(())
}
