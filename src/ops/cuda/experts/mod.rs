//! A mixture's experts: rows are grouped by the expert they chose, and one product runs over all groups.
//!
//! The host does not know the routes: grids are as large as the worst case needs, and blocks that find no work end.

mod route;

use candle_core::{DType, Result, Tensor, bail};

use super::modules::{Arg, Grid};
use super::pinned::Staging;
use super::product::{Input, Output, Rows, Tile, Weights, product};
use super::{Cuda, lock, suffix, tensor};
use crate::ops::scratch::{self, TILE_WORDS};
use crate::ops::{Buffer, ExpertSpace, Experts, Linear, Routes};

pub use route::route;

/// Lists of rows by expert, as long as they ever were.
#[derive(Debug, Default)]
pub struct Space {
    order: Option<Tensor>,
    tiles: Option<Tensor>,
    count: Option<Tensor>,
    counted: Staging<u32>,
}

impl Space {
    /// Where choices are counted, and experts that were read: see kernels/group.cu.
    fn count(&mut self, cuda: &Cuda) -> Result<u64> {
        if self.count.is_none() {
            self.count = Some(Tensor::zeros(COUNTS, DType::U32, &cuda.gpu.candle())?);
        }
        self.count.as_ref().map_or(Ok(0), tensor::address)
    }
}

/// How many experts' weights were read so far, by any layer in any step, wrapping around. Waits for the stream.
pub fn read_so_far(cuda: &Cuda) -> Result<u32> {
    let mut space = lock(&cuda.experts);
    let at = space.count(cuda)?;
    let counted = space.counted.download(&cuda.gpu, at, COUNTS)?;
    Ok(counted[COUNTS - 1])
}

/// Where [`read_so_far`] is counted on the GPU; null where no expert has been run.
pub fn read_at(cuda: &Cuda) -> Result<u64> {
    let space = lock(&cuda.experts);
    let count = space.count.as_ref().map(tensor::address).transpose()?;
    Ok(count.map_or(0, |count| count + size_of::<u32>() as u64))
}

/// Words of a count: see kernels/group.cu.
const COUNTS: usize = 2;

/// See [`crate::ops::Kernels::experts`].
pub fn experts(
    cuda: &Cuda,
    x: &Buffer,
    experts: &Experts,
    routes: &Routes,
    rows: usize,
    space: &ExpertSpace,
    out: &Buffer,
) -> Result<()> {
    let top_k = routes.experts.dim(1)?;
    let choices = rows * top_k;
    if choices == 0 {
        return Ok(());
    }
    let hidden = x.dim(1)?;
    if out.dim(1)? != hidden || out.dim(0)? < rows || out.dtype() != cuda.dtype {
        bail!(
            "{rows} rows of {hidden} features in {:?} do not go to {:?} in {:?}",
            cuda.dtype,
            out.dims(),
            out.dtype()
        );
    }
    if !experts.held.is_empty() {
        products(cuda, x, experts, routes, rows, space)?;
    }
    let (lanes, odd) = vectors(out.dtype(), hidden);
    cuda.launch(
        "combine",
        &format!("combine_{odd}{}", suffix(out.dtype())?),
        over(rows, hidden, lanes),
        &[
            tensor::at(&space.out)?,
            tensor::at(&routes.experts)?,
            tensor::at(&routes.weights)?,
            tensor::at(out)?,
            Arg::U32(hidden as u32),
            Arg::U32(top_k as u32),
            Arg::U32(experts.first as u32),
            Arg::U32(experts.held.len() as u32),
        ],
    )
}

/// Each choice's row, `space.out[row * top_k + place]`.
fn products(
    cuda: &Cuda,
    x: &Buffer,
    experts: &Experts,
    routes: &Routes,
    rows: usize,
    space: &ExpertSpace,
) -> Result<()> {
    let top_k = routes.experts.dim(1)?;
    let choices = rows * top_k;
    let gate_up: Vec<&Linear> = experts.held.iter().map(|e| &e.gate_up).collect();
    let down: Vec<&Linear> = experts.held.iter().map(|e| &e.down).collect();
    if gate_up
        .iter()
        .chain(&down)
        .any(|layer| layer.bias.is_some())
    {
        bail!("experts with biases have no CUDA kernel");
    }
    let quantize = |layers: &[&Linear]| {
        let scales = layers.first().and_then(|layer| layer.scales.as_ref());
        scales.is_some_and(|scales| scales.quantize_activations)
    };
    let inner = cuda.tables.of(cuda, &gate_up)?;
    let outer = cuda.tables.of(cuda, &down)?;
    check(cuda, x, &inner, &outer, choices, space)?;

    let mut input = Input::activations(x)?;
    if quantize(&gate_up) {
        input = input.quantized(cuda, &inner, rows, None)?;
    }
    let mut activated = Input::activations(&space.activated)?;
    let fast = input.fits(&inner) && activated.fits(&outer);
    let groups = group(cuda, experts, routes, choices, Tile::of_experts(fast))?;
    let each = |weights: &Weights, input, divisor, scatter, to: &Buffer| {
        let output = Output {
            at: tensor::at(to)?,
            dtype: to.dtype(),
            bias: Arg::At(0),
        };
        groups.lists.iter().try_for_each(|list| {
            let rows = Rows::Grouped {
                tiles: Arg::At(list.at),
                num_tiles: list.num_tiles,
                order: groups.order,
                divisor,
                scatter,
            };
            product(cuda, weights, list.tile, input, rows, output)
        })
    };
    each(&inner, input, top_k, false, &space.gate_up)?;

    let width = outer.k;
    let (lanes, odd) = vectors(cuda.dtype, width);
    cuda.launch(
        "combine",
        &format!("gated_{odd}{}", suffix(cuda.dtype)?),
        over(choices, width, lanes),
        &[
            tensor::at(&space.gate_up)?,
            groups.count,
            tensor::at(&space.activated)?,
            Arg::U32(width as u32),
        ],
    )?;
    if quantize(&down) {
        activated = activated.quantized(cuda, &outer, choices, Some(groups.count))?;
    }
    each(&outer, activated, 0, true, &space.out)
}

struct Groups {
    order: Arg,
    /// Of short tiles, and of tall ones.
    lists: [List; 2],
    count: Arg,
}

/// Tiles of one height.
struct List {
    tile: Tile,
    at: u64,
    num_tiles: usize,
}

/// Sorts choices by expert, on the GPU.
fn group(
    cuda: &Cuda,
    experts: &Experts,
    routes: &Routes,
    choices: usize,
    tiles: [Tile; 2],
) -> Result<Groups> {
    const THREADS: u32 = 1024;
    let held = experts.held.len();
    let rows = tiles.map(|tile| tile.rows);
    let [short, tall] = scratch::expert_tiles(choices, held, rows);
    let mut space = lock(&cuda.experts);
    let space = &mut *space;
    let words = |slot, count| tensor::room(&cuda.gpu, slot, count, DType::U32);
    let at = words(&mut space.tiles, (short + tall) * TILE_WORDS)?;
    let list = |tile, at, num_tiles| List {
        tile,
        at,
        num_tiles,
    };
    let behind = at + (short * TILE_WORDS * size_of::<u32>()) as u64;
    let groups = Groups {
        order: words(&mut space.order, choices).map(Arg::At)?,
        lists: [list(tiles[0], at, short), list(tiles[1], behind, tall)],
        count: Arg::At(space.count(cuda)?),
    };
    let grid = Grid {
        blocks: (held as u32, 1, 1),
        threads: THREADS,
        shared: (held * size_of::<u32>()) as u32,
    };
    cuda.launch(
        "group",
        "group",
        grid,
        &[
            tensor::at(&routes.experts)?,
            groups.order,
            Arg::At(at),
            groups.count,
            Arg::U32(choices as u32),
            Arg::U32(experts.first as u32),
            Arg::U32(held as u32),
            Arg::U32(rows[0] as u32),
            Arg::U32(short as u32),
            Arg::U32(rows[1] as u32),
            Arg::U32(tall as u32),
        ],
    )?;
    Ok(groups)
}

/// Elements of a lane in combine.cu, and how its kernels for those are called.
fn vectors(dtype: DType, width: usize) -> (usize, &'static str) {
    let lanes = 16 / dtype.size_in_bytes();
    match width.is_multiple_of(lanes) {
        true => (lanes, ""),
        false => (1, "odd_"),
    }
}

fn over(rows: usize, width: usize, lanes: usize) -> Grid {
    const THREADS: usize = 256;
    Grid {
        blocks: (rows as u32, width.div_ceil(THREADS * lanes) as u32, 1),
        threads: THREADS as u32,
        shared: 0,
    }
}

/// Holds that products stay within their buffers.
fn check(
    cuda: &Cuda,
    x: &Buffer,
    inner: &Weights,
    outer: &Weights,
    choices: usize,
    space: &ExpertSpace,
) -> Result<()> {
    let wide = |buffer: &Buffer, width: usize| {
        let room = buffer.elem_count() >= choices * width;
        room && buffer.dtype() == cuda.dtype && buffer.dim(1).is_ok_and(|w| w == width)
    };
    let fits = x.dim(1)? == inner.k
        && x.dtype() == cuda.dtype
        && inner.n == 2 * outer.k
        && wide(&space.gate_up, inner.n)
        && wide(&space.activated, outer.k)
        && wide(&space.out, outer.n);
    if !fits {
        bail!(
            "experts of {} x {} and {} x {} have {choices} rows of {:?} to go through {:?}, {:?} and {:?}",
            inner.n,
            inner.k,
            outer.n,
            outer.k,
            x.dims(),
            space.gate_up.dims(),
            space.activated.dims(),
            space.out.dims()
        );
    }
    Ok(())
}
