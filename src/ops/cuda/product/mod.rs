//! Products `x Wᵀ` of our own kernels: with e4m3 weights, and over groups of rows that each have a weight.

mod quantize;
mod weights;

use candle_core::{DType, Result, Tensor, bail};

use super::modules::{Arg, Grid};
use super::{Cuda, suffix, tensor};
use crate::ops::scratch::EXPERT_ROWS;
pub use quantize::Space;
pub use weights::{Tables, Weights};

/// Bytes of one access: rows that begin at its multiples can be copied to shared memory as they are.
const ACCESS: usize = 16;
/// Rows of a tile without tensor cores.
const ANY_ROWS: usize = 32;
/// Accesses of a lane that four lanes make side by side, a warp's share of one row.
const CHUNK: usize = 4 * ACCESS;

/// The rows of x: activations, or e4m3 with their scales.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    pub at: u64,
    pub dtype: DType,
    /// 0: none.
    pub scales: u64,
}

/// Where results go, and what is added to them.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub at: Arg,
    pub dtype: DType,
    pub bias: Arg,
}

/// Which rows meet which weight.
#[derive(Debug, Clone, Copy)]
pub enum Rows {
    /// So many, all of them the first.
    All(usize),
    /// As lists on the GPU say: see kernels/group.cu.
    Grouped {
        tiles: Arg,
        num_tiles: usize,
        order: Arg,
        /// A tile's row r is x[r] for 0, else x[order[r] / divisor].
        divisor: usize,
        /// Whether row r goes to out[order[r]].
        scatter: bool,
    },
}

/// The kernel of a product, as far as lists of rows depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Rows of x that one block computes.
    pub rows: usize,
    /// On tensor cores.
    fast: bool,
}

impl Tile {
    /// Short and tall ones of experts, whose rows only the GPU counts.
    pub fn of_experts(fast: bool) -> [Self; 2] {
        let rows = match fast {
            true => EXPERT_ROWS,
            false => [0, ANY_ROWS],
        };
        rows.map(|rows| Self { rows, fast })
    }

    /// For about so many rows of each weight.
    pub fn of(fast: bool, rows: usize) -> Self {
        let rows = match fast {
            true => [8, 16, 32].into_iter().find(|&r| rows <= r).unwrap_or(64),
            false => ANY_ROWS,
        };
        Self { rows, fast }
    }
}

impl Input {
    pub fn activations(x: &Tensor) -> Result<Self> {
        Ok(Self {
            at: tensor::address(x)?,
            dtype: x.dtype(),
            scales: 0,
        })
    }

    /// Whether the tensor cores' kernels take these rows with `weights`.
    pub fn fits(&self, weights: &Weights) -> bool {
        let aligned = |dtype: DType| (weights.k * dtype.size_in_bytes()).is_multiple_of(ACCESS);
        let blocks = weights.blocks.is_none_or(|blocks| {
            let whole = |columns: usize| columns.is_multiple_of(CHUNK);
            whole(blocks.width) && whole(blocks.column_offset)
        });
        let at = self.at.is_multiple_of(ACCESS as u64);
        self.dtype != DType::F32 && at && aligned(self.dtype) && aligned(weights.dtype) && blocks
    }
}

/// Queues `out = x Wᵀ + bias`.
///
/// # Errors
/// There is no kernel for the types, or the driver refuses the launch.
pub fn product(
    cuda: &Cuda,
    weights: &Weights,
    tile: Tile,
    input: Input,
    rows: Rows,
    output: Output,
) -> Result<()> {
    let none = Arg::At(0);
    let (num_rows, num_tiles, tiles, order, divisor, scatter) = match rows {
        Rows::All(rows) => (rows, rows.div_ceil(tile.rows), none, none, 0, false),
        Rows::Grouped {
            tiles,
            num_tiles,
            order,
            divisor,
            scatter,
        } => (0, num_tiles, tiles, order, divisor, scatter),
    };
    let kernel = Kernel::of(cuda, weights, tile, input.dtype, num_tiles)?;
    let out_type = store_type(output.dtype)?;
    let blocks = weights.blocks;
    let along_k =
        |of: fn(&weights::Blocks) -> usize| Arg::U32(blocks.as_ref().map_or(0, of) as u32);
    let grid = Grid {
        blocks: (
            weights.n.div_ceil(kernel.columns) as u32,
            num_tiles as u32,
            1,
        ),
        threads: 256,
        shared: kernel.shared as u32,
    };
    cuda.launch(
        kernel.file,
        &kernel.name,
        grid,
        &[
            Arg::At(input.at),
            Arg::At(input.scales),
            tensor::at(&weights.table)?,
            tiles,
            order,
            Arg::U32(divisor as u32),
            Arg::U32(scatter.into()),
            output.bias,
            output.at,
            Arg::U32(out_type),
            Arg::U32(num_rows as u32),
            Arg::U32(weights.n as u32),
            Arg::U32(weights.k as u32),
            along_k(|blocks| blocks.count),
            along_k(|blocks| blocks.width),
            along_k(|blocks| blocks.column_offset),
        ],
    )
}

/// As kernels know what they store: see kernels/weight.cuh.
pub fn store_type(dtype: DType) -> Result<u32> {
    match dtype {
        DType::F32 => Ok(0),
        DType::F16 => Ok(1),
        DType::BF16 => Ok(2),
        other => bail!("no product is stored as {other:?}"),
    }
}

/// One of kernels/product_*.cu.
struct Kernel {
    file: &'static str,
    name: String,
    /// Features that one block computes.
    columns: usize,
    /// Bytes of dynamic shared memory.
    shared: usize,
}

impl Kernel {
    fn of(cuda: &Cuda, weights: &Weights, tile: Tile, x: DType, num_tiles: usize) -> Result<Self> {
        let types = format!("{}_{}", suffix(x)?, suffix(weights.dtype)?);
        if !tile.fast {
            return Ok(Self {
                file: "product_any",
                name: format!("product_any_{types}"),
                columns: 32,
                shared: 0,
            });
        }
        let file = match (x, weights.dtype) {
            (DType::F8E4M3, _) => "product_w8a8",
            (_, DType::F8E4M3) => "product_e4m3",
            _ => "product_16",
        };
        // Wide blocks read x less often, where there are enough of them for all multiprocessors.
        const WIDE: usize = 256;
        let wide = num_tiles * weights.n.div_ceil(WIDE) >= cuda.gpu.multiprocessors as usize;
        // And steps of k that shared memory holds.
        let (columns, warps_along_k, ring) = match tile.rows {
            8 | 16 => (16, 8, 3),
            32 => (32, 4, 3),
            _ if wide => match (x, weights.dtype) {
                (DType::F8E4M3, _) => (WIDE, 1, 3),
                (_, DType::F8E4M3) => (WIDE, 1, 2),
                _ => (WIDE, 1, 4),
            },
            _ => (64, 2, 3),
        };
        let (x_bytes, w_bytes) = (x.size_in_bytes(), weights.dtype.size_in_bytes());
        let row = warps_along_k * CHUNK / w_bytes * x_bytes;
        // As product.cuh pads rows.
        let padding = match (x_bytes > w_bytes, row % 128) {
            (true, _) => ACCESS,
            (false, 64) => 0,
            (false, _) => 64,
        };
        let scales = match x {
            DType::F8E4M3 => warps_along_k * size_of::<f32>(),
            _ => 0,
        };
        Ok(Self {
            file,
            name: format!("product_{}x{columns}_{types}", tile.rows),
            columns,
            shared: ring * tile.rows * (row + padding + scales),
        })
    }
}
