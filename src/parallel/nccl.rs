//! Sums over GPUs by NCCL, on each rank's stream.

use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtrMut};
use candle_core::cuda::cudarc::nccl::result::get_nccl_version;
use candle_core::cuda::cudarc::nccl::{Id, NcclType};
use candle_core::{CpuStorage, CudaStorage, Error, InplaceOp1, Layout, Result, bail};

use super::{Collective, Failed};
use crate::ops::Buffer;
use crate::ops::cuda::communicator::{Communicator, Reduction};
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
        let id = Id::new().map_err(|e| Error::Msg(format!("NCCL does not start: {:?}", e.0)));
        id.map(Self)
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

    /// One of `size` ranks, all of which come, each on its own thread, but for those that have `failed`.
    ///
    /// # Errors
    /// NCCL refuses, or a rank has failed.
    pub fn join(&self, gpu: &Gpu, rank: usize, size: usize, failed: Failed) -> Result<Nccl> {
        let comm = Communicator::connect(gpu, (rank, size), self.0, failed.as_ref())?;
        Ok(Nccl { comm, failed })
    }
}

/// One rank's communicator.
pub struct Nccl {
    comm: Communicator,
    failed: Failed,
}

impl Nccl {
    /// Reduces the first `len` elements of `x` over all ranks, in place: sums of floats, the highest of keys.
    ///
    /// # Errors
    /// NCCL refuses, or does not reduce the type of `x`.
    pub fn all_reduce(&self, x: &Buffer, len: usize) -> Result<()> {
        x.first().inplace_op1(&Reduce { nccl: self, len })
    }

    /// What NCCL says against its peers.
    pub fn failure(&self) -> Option<String> {
        self.comm.failure()
    }

    /// Lets the GPU leave what it waits for others in.
    pub fn give_up(&self) {
        self.comm.give_up();
    }
}

/// The first `len` elements of a buffer over all ranks: the sum of floats, the highest of keys.
struct Reduce<'a> {
    nccl: &'a Nccl,
    len: usize,
}

impl Reduce<'_> {
    fn sum<T: NcclType>(&self, values: &mut CudaSlice<T>) -> Result<()> {
        self.reduce(&mut values.slice_mut(..self.len), Reduction::Sum)
    }

    fn highest(&self, keys: &mut CudaSlice<i64>) -> Result<()> {
        let Some(mut keys) = keys_of(keys, self.len) else {
            bail!("a record has no room for {} keys", self.len);
        };
        self.reduce(&mut keys, Reduction::Highest)
    }

    fn reduce<T: NcclType>(
        &self,
        values: &mut impl DevicePtrMut<T>,
        reduction: Reduction,
    ) -> Result<()> {
        let Nccl { comm, failed } = self.nccl;
        comm.all_reduce(values, reduction, failed.as_ref())
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
