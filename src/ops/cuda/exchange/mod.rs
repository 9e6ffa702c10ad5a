//! How the GPUs of one process add up and compare what they have, without a library: each writes into the others'
//! inboxes, in host memory or in theirs. See `kernels/exchange.cuh`.
//!
//! Every rank makes the same calls in the same order, each queued on its stream, in a captured graph or not. All of them
//! come out with the same bits.

mod inboxes;
mod norm;
mod region;
mod staging;

use std::sync::Arc;

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{DType, Result, bail};

use super::device::Gpu;
use super::modules::{Arg, Grid, Modules};
use super::{suffix, tensor};
use crate::ops::Buffer;
use inboxes::{CHANNELS, UNIT, made};
use staging::Staging;

pub use inboxes::{CHANNEL_BYTES, Inboxes, MOST_RANKS, Route};

/// Of a block.
const THREADS: usize = 512;
const ALL_REDUCE: &str = "all_reduce";

/// How values go to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shots {
    /// Each rank writes all it has to every other: (R - 1) n bytes a rank, one meeting.
    One,
    /// Each adds up its chunk and writes the sum to the others: 2 (R - 1) n / R bytes a rank, two meetings.
    Two,
}

/// The first elements of a buffer.
#[derive(Debug, Clone, Copy)]
struct Values {
    at: u64,
    count: usize,
    dtype: DType,
}

impl Values {
    fn new(x: &Buffer, rows: usize) -> Result<Self> {
        let (at, count, dtype) = (tensor::address(x)?, rows * x.dim(1)?, x.dtype());
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            bail!("ranks add up f32, f16 and bf16, not {dtype:?}");
        }
        if count > x.elem_count() {
            bail!("{rows} rows of a buffer of {:?}", x.dims());
        }
        Ok(Self { at, count, dtype })
    }

    fn units(&self) -> usize {
        (self.count * self.dtype.size_in_bytes()).div_ceil(UNIT)
    }
}

/// One rank's view of the others' inboxes.
pub struct Exchange {
    gpu: Gpu,
    rank: usize,
    modules: Modules,
    inboxes: Arc<Inboxes>,
    /// `Member` of `kernels/exchange.cuh`.
    member: CudaSlice<u32>,
    staging: Option<Staging>,
}

impl Exchange {
    /// All kernels are loaded here, for a driver may load none while another rank waits in one. Between this and the
    /// first call all ranks must have joined.
    ///
    /// # Errors
    /// A rank has no inbox yet, a GPU does not reach another, or the driver fails.
    pub fn join(gpu: &Gpu, rank: usize, inboxes: Arc<Inboxes>) -> Result<Self> {
        Self::with_kernels(gpu, rank, inboxes, Modules::default())
    }

    /// [`Self::join`] with other kernels in place of those of `kernels/all_reduce.cu`: PTX, for tests that show what
    /// each part of them is for.
    ///
    /// # Errors
    /// As there; or the PTX is none.
    pub fn join_with(gpu: &Gpu, rank: usize, inboxes: Arc<Inboxes>, ptx: String) -> Result<Self> {
        let modules = Modules::replaced(gpu, ALL_REDUCE, ptx)?;
        Self::with_kernels(gpu, rank, inboxes, modules)
    }

    fn with_kernels(
        gpu: &Gpu,
        rank: usize,
        inboxes: Arc<Inboxes>,
        modules: Modules,
    ) -> Result<Self> {
        for shots in [Shots::One, Shots::Two] {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                modules.load(gpu, ALL_REDUCE, &shots.kernel(dtype)?)?;
                modules.load(gpu, ALL_REDUCE, &staging::kernel(dtype)?)?;
                modules.load(gpu, ALL_REDUCE, &norm::kernel(dtype)?)?;
            }
        }
        modules.load(gpu, ALL_REDUCE, "highest_u64")?;
        modules.load(gpu, ALL_REDUCE, "meet")?;
        let words = member(gpu, rank, &inboxes)?;
        let staging = match inboxes.route {
            Route::Host => Some(Staging::new(gpu)?),
            Route::Peers => None,
        };
        let exchange = Self {
            rank,
            modules,
            member: gpu.stream.clone_htod(&words).w()?,
            staging,
            inboxes,
            gpu: gpu.clone(),
        };
        gpu.synchronize()?;
        Ok(exchange)
    }

    pub fn ranks(&self) -> usize {
        self.inboxes.ranks
    }

    /// Sums the first `rows` rows of `x` over all ranks, in place, in f32 and in rank order.
    ///
    /// # Errors
    /// `x` is none that ranks add up, or the driver refuses the launch.
    pub fn all_reduce(&self, x: &Buffer, rows: usize, shots: Shots) -> Result<()> {
        let values = Values::new(x, rows)?;
        let units = match shots {
            Shots::One => values.units(),
            Shots::Two => values.units().div_ceil(self.ranks()),
        };
        let arguments = [Arg::At(values.at), Arg::U32(values.count as u32)];
        self.launch(&shots.kernel(values.dtype)?, units, &arguments)
    }

    /// [`Self::all_reduce`] by the GPUs' copy engines, through host memory: for large messages.
    ///
    /// # Errors
    /// As there; or inboxes are not in host memory.
    pub fn all_reduce_staged(&self, x: &Buffer, rows: usize) -> Result<()> {
        let Some(staging) = &self.staging else {
            bail!("copies between GPUs that reach each other are not staged");
        };
        staging.all_reduce(self, Values::new(x, rows)?)
    }

    /// Sets each of the `count` u64 at the device address `at` to the highest of all ranks, in place. `at` is a multiple
    /// of 16.
    ///
    /// # Errors
    /// The driver refuses the launch.
    pub fn all_reduce_max_u64(&self, at: u64, count: usize) -> Result<()> {
        let units = (count * size_of::<u64>()).div_ceil(UNIT);
        let arguments = [Arg::At(at), Arg::U32(count as u32)];
        self.launch("highest_u64", units, &arguments)
    }

    /// Leaves in the first `count` of `keys`, i64, the highest of all ranks', as unsigned numbers.
    ///
    /// # Errors
    /// They are no such keys, or the driver refuses the launch.
    pub fn agree(&self, keys: &Buffer, count: usize) -> Result<()> {
        if keys.dtype() != DType::I64 || keys.elem_count() < count {
            bail!("{count} keys to compare in {keys:?}");
        }
        self.all_reduce_max_u64(tensor::address(keys)?, count)
    }

    /// Ends all waiting on every GPU: see [`Inboxes::abort`].
    pub fn abort(&self) {
        self.inboxes.abort();
    }

    /// What was queued on every rank's stream before it is done on all of them before what is queued after it.
    fn meet(&self) -> Result<()> {
        self.launch("meet", 1, &[])
    }

    /// The same grid on every rank: as many channels as a message of `units` keeps busy.
    fn launch(&self, function: &str, units: usize, arguments: &[Arg]) -> Result<()> {
        let grid = Grid::row(units.div_ceil(THREADS).min(CHANNELS), THREADS as u32);
        self.launch_grid(function, grid, arguments)
    }

    /// At most a block a channel.
    fn launch_grid(&self, function: &str, grid: Grid, arguments: &[Arg]) -> Result<()> {
        let member = Arg::At(self.member.device_ptr(&self.gpu.stream).0);
        let arguments = [&[member], arguments].concat();
        self.modules
            .launch(&self.gpu, ALL_REDUCE, function, grid, &arguments)
    }
}

impl Drop for Exchange {
    /// Others may free their inboxes after this: nothing of here writes to them any more.
    fn drop(&mut self) {
        // A GPU that has failed runs nothing.
        let _ = self.gpu.synchronize();
    }
}

impl Shots {
    fn kernel(self, dtype: DType) -> Result<String> {
        let name = match self {
            Self::One => "one_shot",
            Self::Two => "two_shot",
        };
        Ok(format!("{name}_{}", suffix(dtype)?))
    }
}

/// `Member` of `kernels/exchange.cuh`, word by word.
fn member(gpu: &Gpu, rank: usize, inboxes: &Inboxes) -> Result<Vec<u32>> {
    let mut words = Vec::new();
    let mut push = |address: u64| words.extend([address as u32, (address >> u32::BITS) as u32]);
    for inbox in &inboxes.by_rank {
        let inbox = made(inbox)?;
        inbox.open_to(gpu)?;
        push(inbox.address());
    }
    (inboxes.ranks..MOST_RANKS).for_each(|_| push(0));
    push(made(&inboxes.stop)?.address());
    let sizes = [rank, inboxes.ranks, inboxes.slot_units, 0];
    words.extend(sizes.map(|size| size as u32));
    words.extend([0; CHANNELS]);
    Ok(words)
}
