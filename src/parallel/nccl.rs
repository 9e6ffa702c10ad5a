//! Sums over GPUs by NCCL, on each rank's stream.

use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::CudaSlice;
use candle_core::cuda::cudarc::nccl::result::get_nccl_version;
use candle_core::cuda::cudarc::nccl::{Comm, Id, NcclType, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, Error, InplaceOp1, Layout, Result, bail};

use super::Collective;
use crate::ops::Buffer;
use crate::ops::cuda::{Gpu, keys_of};

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

/// Bytes of the words that ranks exchange.
const WORD: usize = size_of::<u32>();

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

    /// Where the first rank will say.
    pub fn elsewhere() -> Self {
        Self(Id::uninit([0; _]))
    }

    /// The first rank's of all that `host` joins, which may be in another process.
    ///
    /// # Errors
    /// A rank has failed.
    pub fn of_first(&self, host: &dyn Collective) -> Result<Self> {
        let (own, _) = self.0.internal().as_chunks::<WORD>();
        let own: Vec<u32> = own
            .iter()
            .map(|bytes| u32::from_ne_bytes(bytes.map(|byte| byte as u8)))
            .collect();
        let mut all = Vec::new();
        host.all_gather(&own, &mut all)?;
        let bytes: Vec<_> = all[..own.len()]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .map(|byte| byte as std::ffi::c_char)
            .collect();
        match bytes.try_into() {
            Ok(id) => Ok(Self(Id::uninit(id))),
            Err(_) => bail!("NCCL's id is not of whole words"),
        }
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
    /// Reduces the first `len` elements of `x` over all ranks, in place: sums of floats, the highest of keys.
    ///
    /// # Errors
    /// NCCL refuses, or does not reduce the type of `x`.
    pub fn all_reduce(&self, x: &Buffer, len: usize) -> Result<()> {
        let comm = &self.comm;
        x.first().inplace_op1(&Reduce { comm, len })
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
        let Some(mut keys) = keys_of(keys, self.len) else {
            bail!("a record has no room for {} keys", self.len);
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
