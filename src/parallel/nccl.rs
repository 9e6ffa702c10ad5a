//! Sums over GPUs by NCCL, on each rank's stream.

use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::CudaSlice;
use candle_core::cuda::cudarc::nccl::result::get_nccl_version;
use candle_core::cuda::cudarc::nccl::{Comm, Id, NcclType, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, Error, InplaceOp1, Layout, Result, bail};

use crate::ops::Buffer;
use crate::ops::cuda::Gpu;

/// Whether this build has it.
pub const IS_BUILT: bool = true;

/// Of the library, `2.27.7`.
pub fn version() -> Option<String> {
    // Since 2.9: major * 10000 + minor * 100 + patch.
    let code = get_nccl_version().ok()?;
    Some(format!(
        "{}.{}.{}",
        code / 10_000,
        code / 100 % 100,
        code % 100
    ))
}

/// Where ranks meet.
pub struct Meeting(Id);

impl Meeting {
    /// # Errors
    /// NCCL does not start.
    pub fn new() -> Result<Self> {
        Id::new()
            .map(Self)
            .map_err(|e| failed("does not start", &e.0))
    }

    /// One of `size` ranks, all of which come, each on its own thread: NCCL would wait for ever for one that does not.
    ///
    /// # Errors
    /// NCCL refuses.
    pub fn join(&self, gpu: &Gpu, rank: usize, size: usize) -> Result<Nccl> {
        let comm = Comm::from_rank(gpu.stream(), rank, size, self.0);
        let comm = comm.map_err(|e| failed("does not connect the GPUs", &e.0))?;
        Ok(Nccl { comm })
    }
}

/// One rank's communicator.
pub struct Nccl {
    comm: Comm,
}

impl Nccl {
    /// Sums the first `rows` rows of `x` over all ranks, in place.
    ///
    /// # Errors
    /// NCCL refuses, or does not sum the type of `x`.
    pub fn all_reduce(&self, x: &Buffer, rows: usize) -> Result<()> {
        let (comm, len) = (&self.comm, rows * x.dim(1)?);
        x.first().inplace_op1(&Sum { comm, len })
    }
}

/// The first `len` elements of a buffer, over all ranks.
struct Sum<'a> {
    comm: &'a Comm,
    len: usize,
}

impl Sum<'_> {
    fn of<T: NcclType>(&self, values: &mut CudaSlice<T>) -> Result<()> {
        let mut values = values.slice_mut(..self.len);
        let sum = self.comm.all_reduce_in_place(&mut values, &ReduceOp::Sum);
        sum.map_err(|e| failed("could not sum over the GPUs", &e.0))?;
        Ok(())
    }
}

impl InplaceOp1 for Sum<'_> {
    fn name(&self) -> &'static str {
        "all_reduce"
    }

    fn cpu_fwd(&self, _storage: &mut CpuStorage, _layout: &Layout) -> Result<()> {
        bail!("NCCL sums over GPUs, and was given a tensor of the CPU")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _layout: &Layout) -> Result<()> {
        match &mut storage.slice {
            CudaStorageSlice::F32(values) => self.of(values),
            CudaStorageSlice::F16(values) => self.of(values),
            CudaStorageSlice::BF16(values) => self.of(values),
            _ => bail!("NCCL sums f32, f16 and bf16"),
        }
    }
}

fn failed(what: &str, status: &dyn std::fmt::Debug) -> Error {
    Error::Msg(format!("NCCL {what}: {status:?}"))
}
