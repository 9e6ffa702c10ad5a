//! Ranks on GPUs of one process: tensors are summed by NCCL on each rank's stream, words are exchanged by the
//! threads that run them.

use std::cell::Cell;
use std::time::Duration;

use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::CudaSlice;
use candle_core::cuda::cudarc::nccl::result::get_nccl_version;
use candle_core::cuda::cudarc::nccl::{Comm, Id, NcclType, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, Error, InplaceOp1, Layout, Result, bail};

use super::Collective;
use crate::ground::recorder::Traffic;
use crate::ops::Buffer;
use crate::ops::cuda::Gpu;

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

/// How ranks on GPUs find each other.
pub struct Link {
    /// `None`: there is one.
    id: Option<Id>,
}

impl Link {
    /// # Errors
    /// NCCL does not start.
    pub fn new(ranks: usize) -> Result<Self> {
        let id = (ranks > 1).then(Id::new).transpose();
        Ok(Self {
            id: id.map_err(|e| failed("does not start", &e.0))?,
        })
    }

    /// The rank's GPU, and its view of its peers on it. All ranks call this at once, each on its own thread.
    ///
    /// # Errors
    /// A rank could not open its GPU, or NCCL refuses.
    pub fn join(
        &self,
        host: Box<dyn Collective>,
        gpu: Result<Gpu>,
    ) -> Result<(Gpu, Box<dyn Collective>)> {
        let Some(id) = self.id else {
            return Ok((gpu?, host));
        };
        // NCCL would wait for ever for a rank that has no GPU.
        let mut open = Vec::new();
        host.all_gather(&[u32::from(gpu.is_ok())], &mut open)?;
        let gpu = gpu?;
        if let Some(rank) = open.iter().position(|&is_open| is_open == 0) {
            bail!("rank {rank} could not open its GPU");
        }
        let (rank, size) = (host.rank(), host.size());
        let comm = Comm::from_rank(gpu.stream(), rank, size, id);
        let comm = comm.map_err(|e| failed("does not connect the GPUs", &e.0))?;
        let nccl = Nccl {
            host,
            comm,
            traffic: Cell::default(),
        };
        Ok((gpu, Box::new(nccl)))
    }
}

struct Nccl {
    host: Box<dyn Collective>,
    comm: Comm,
    traffic: Cell<Traffic>,
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.host.rank()
    }

    fn size(&self) -> usize {
        self.host.size()
    }

    fn all_reduce(&self, x: &Buffer, rows: usize) -> Result<()> {
        self.queue(x, rows * x.dim(1)?)
    }

    fn agree(&self, keys: &Buffer, count: usize) -> Result<()> {
        self.queue(keys, count)
    }

    fn all_gather(&self, mine: &[u32], all: &mut Vec<u32>) -> Result<()> {
        self.host.all_gather(mine, all)
    }

    fn take_traffic(&self) -> Traffic {
        let mut traffic = self.traffic.take();
        traffic += self.host.take_traffic();
        traffic
    }
}

impl Nccl {
    /// Queued on the rank's stream. Nobody waits here, so that nothing is known of its time.
    fn queue(&self, x: &Buffer, len: usize) -> Result<()> {
        let comm = &self.comm;
        x.first().inplace_op1(&Reduce { comm, len })?;
        let mut traffic = self.traffic.get();
        traffic += Traffic {
            bytes: (len * x.dtype().size_in_bytes()) as u64,
            time: Duration::ZERO,
        };
        self.traffic.set(traffic);
        Ok(())
    }
}

/// The first `len` elements of a buffer over all ranks: the sum of floats, the highest of keys.
struct Reduce<'a> {
    comm: &'a Comm,
    len: usize,
}

impl Reduce<'_> {
    fn sum<T: NcclType>(&self, values: &mut CudaSlice<T>) -> Result<()> {
        let mut values = values.slice_mut(..self.len);
        let sum = self.comm.all_reduce_in_place(&mut values, &ReduceOp::Sum);
        sum.map_err(|e| failed("could not sum over the GPUs", &e.0))?;
        Ok(())
    }

    fn highest(&self, keys: &mut CudaSlice<i64>) -> Result<()> {
        // SAFETY: any bits are a u64, of which each takes as much room as an i64.
        let Some(mut keys) = (unsafe { keys.transmute_mut::<u64>(self.len) }) else {
            bail!(
                "{} keys are fewer than the {} to compare",
                keys.len(),
                self.len
            );
        };
        let highest = self.comm.all_reduce_in_place(&mut keys, &ReduceOp::Max);
        highest.map_err(|e| failed("could not compare over the GPUs", &e.0))?;
        Ok(())
    }
}

impl InplaceOp1 for Reduce<'_> {
    fn name(&self) -> &'static str {
        "all_reduce"
    }

    fn cpu_fwd(&self, _storage: &mut CpuStorage, _layout: &Layout) -> Result<()> {
        bail!("NCCL reduces over GPUs, and was given a tensor of the CPU")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _layout: &Layout) -> Result<()> {
        match &mut storage.slice {
            CudaStorageSlice::F32(values) => self.sum(values),
            CudaStorageSlice::F16(values) => self.sum(values),
            CudaStorageSlice::BF16(values) => self.sum(values),
            CudaStorageSlice::I64(keys) => self.highest(keys),
            _ => bail!("NCCL sums f32, f16 and bf16, and compares i64"),
        }
    }
}

fn failed(what: &str, status: &dyn std::fmt::Debug) -> Error {
    Error::Msg(format!("NCCL {what}: {status:?}"))
}
