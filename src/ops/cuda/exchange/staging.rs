//! Sums of large messages by the GPUs' copy engines: to host memory, where the others find them, and from it.
//!
//! A piece of a message is cut into a chunk for each rank. Each rank copies each chunk to its owner's staging memory; the
//! owner fetches all, adds them up, and copies the sum to every other's staging memory, where they fetch it. Between
//! copies that one rank makes and those of another that need them, all meet in a kernel. Copies have fixed ends, for a
//! graph may hold them: so all meet before the first as well, and then a piece may be written where the one before the
//! last was.

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr, sys};
use candle_core::{DType, Result};

use super::inboxes::{PIECE_BYTES, UNIT, made};
use super::{ALL_REDUCE, Exchange, THREADS, Values};
use crate::ops::cuda::device::Gpu;
use crate::ops::cuda::modules::{Arg, Grid};
use crate::ops::cuda::suffix;

/// Room on the GPU for what the others bring to one sum.
pub struct Staging {
    parts: CudaSlice<u8>,
}

pub fn kernel(dtype: DType) -> Result<String> {
    Ok(format!("staged_{}", suffix(dtype)?))
}

/// Units of a piece that one rank owns.
struct Chunks {
    /// Where the piece begins, as a device address.
    at: u64,
    bytes: usize,
    /// Units of each chunk but the last ones.
    each: usize,
}

impl Chunks {
    fn new(at: u64, bytes: usize, ranks: usize) -> Self {
        let each = bytes.div_ceil(UNIT).div_ceil(ranks);
        Self { at, bytes, each }
    }

    /// Byte offset of the chunk of `rank`.
    fn start(&self, rank: usize) -> usize {
        (rank * self.each * UNIT).min(self.bytes)
    }

    fn len(&self, rank: usize) -> usize {
        self.start(rank + 1) - self.start(rank)
    }

    fn of(&self, rank: usize) -> u64 {
        self.at + self.start(rank) as u64
    }
}

impl Staging {
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self {
            parts: gpu.stream.alloc_zeros(PIECE_BYTES).w()?,
        })
    }

    pub fn all_reduce(&self, exchange: &Exchange, values: Values) -> Result<()> {
        let size = values.dtype.size_in_bytes();
        // A chunk for each rank is whole units, and all of them are no more than a piece.
        let most = PIECE_BYTES / UNIT / exchange.ranks() * exchange.ranks() * UNIT;
        if values.count > 0 {
            exchange.meet()?;
        }
        let bytes = values.count * size;
        for (index, start) in (0..bytes).step_by(most).enumerate() {
            let piece = Values {
                at: values.at + start as u64,
                count: (bytes - start).min(most) / size,
                ..values
            };
            self.piece(exchange, &piece, index % 2)?;
        }
        Ok(())
    }

    /// In one half of the staging memory.
    fn piece(&self, exchange: &Exchange, piece: &Values, half: usize) -> Result<()> {
        let (rank, ranks) = (exchange.rank, exchange.ranks());
        let others = || (1..ranks).map(|i| (rank + i) % ranks);
        let size = piece.dtype.size_in_bytes();
        let chunks = Chunks::new(piece.at, piece.count * size, ranks);
        let staged = |of: usize, stage: usize| {
            let region = made(&exchange.inboxes.staging[of])?.address();
            Result::Ok(region + ((half * 2 + stage) * PIECE_BYTES) as u64)
        };
        let copy = |to, from, bytes| copy(&exchange.gpu, to, from, bytes);

        // Parts of one owner lie as closely as whole units allow.
        let stride = |owner: usize| chunks.len(owner).next_multiple_of(UNIT);
        for owner in others() {
            let to = staged(owner, 0)? + (rank * stride(owner)) as u64;
            copy(to, chunks.of(owner), chunks.len(owner))?;
        }
        exchange.meet()?;
        let (from, own) = (staged(rank, 0)?, stride(rank));
        let parts = self.parts.device_ptr(&exchange.gpu.stream).0;
        copy(parts, from, rank * own)?;
        let after = ((rank + 1) * own) as u64;
        copy(parts + after, from + after, (ranks - rank - 1) * own)?;
        let arguments = [
            Arg::At(chunks.of(rank)),
            Arg::U32((chunks.len(rank) / size) as u32),
            Arg::At(parts),
            Arg::U32((own / UNIT) as u32),
            Arg::U32(rank as u32),
            Arg::U32(ranks as u32),
        ];
        let grid = Grid::row((own / UNIT).div_ceil(THREADS), THREADS as u32);
        let kernel = kernel(piece.dtype)?;
        exchange
            .modules
            .launch(&exchange.gpu, ALL_REDUCE, &kernel, grid, &arguments)?;

        for other in others() {
            let to = staged(other, 1)? + chunks.start(rank) as u64;
            copy(to, chunks.of(rank), chunks.len(rank))?;
        }
        exchange.meet()?;
        let from = staged(rank, 1)?;
        copy(piece.at, from, chunks.start(rank))?;
        let after = chunks.start(rank + 1);
        copy(
            piece.at + after as u64,
            from + after as u64,
            chunks.bytes - after,
        )
    }
}

/// Queues a copy between any two addresses of the one address space.
fn copy(gpu: &Gpu, to: u64, from: u64, bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: both ends are staging memory, which lives as long as the exchange, or the caller's buffer, which outlives
    // the stream's work; each has room for the bytes, which the chunks of one piece are cut from.
    unsafe { sys::cuMemcpyAsync(to, from, bytes, gpu.stream.cu_stream()) }
        .result()
        .w()
}
