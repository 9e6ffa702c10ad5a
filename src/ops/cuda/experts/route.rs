//! Each row's experts from its scores.

use candle_core::{Result, bail};

use crate::ops::cuda::modules::{Arg, Grid};
use crate::ops::cuda::{Cuda, tensor};
use crate::ops::{Buffer, Routes, Routing};

/// Rows of a block.
const WARPS: usize = 4;

/// See [`crate::ops::Kernels::route`].
pub fn route(
    cuda: &Cuda,
    scores: &Buffer,
    routing: &Routing,
    rows: usize,
    routes: &Routes,
    load: &Buffer,
) -> Result<()> {
    let Routing {
        num_experts,
        top_k,
        normalize,
    } = *routing;
    if top_k > num_experts {
        bail!("{top_k} experts are asked of {num_experts}");
    }
    let grid = Grid {
        blocks: (rows.div_ceil(WARPS) as u32, 1, 1),
        threads: 32 * WARPS as u32,
        shared: (WARPS * num_experts * size_of::<f32>()) as u32,
    };
    cuda.launch(
        "route",
        "route",
        grid,
        &[
            tensor::at(scores)?,
            tensor::at(&routes.experts)?,
            tensor::at(&routes.weights)?,
            tensor::at(load)?,
            cuda.step().slots_of(rows),
            Arg::U32(rows as u32),
            Arg::U32(num_experts as u32),
            Arg::U32(top_k as u32),
            Arg::U32(normalize.into()),
        ],
    )
}
