//! What a GPU can do at best, measured with its own events.

use std::time::{Duration, Instant};

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use candle_core::{DType, Result, Tensor, bail};

use super::modules::{Arg, Grid};
use super::{Cuda, linear, suffix, tensor};
use crate::ops::{Buffer, DeviceRoofs, Linear};

/// The best of so many tries of a size counts.
const TRIES: usize = 5;
/// Sizes grow until a try takes as long on the host's clock: then it measures well, on whatever computes it.
const LONG_ENOUGH: Duration = Duration::from_millis(5);
/// Of free memory that a measurement may take.
const SHARE: u64 = 4;
/// Bytes read in one try: at most far more than any cache.
const READ_BYTES: [usize; 6] = [1 << 20, 1 << 25, 1 << 27, 1 << 28, 1 << 29, 1 << 30];
/// Rows and columns of all three matrices of a product.
const SIDES: [usize; 5] = [512, 1024, 2048, 4096, 8192];
/// f32 has no tensor cores, and is slow enough at this size.
const LARGEST_F32_SIDE: usize = 4096;

/// Measures how fast memory is read, and products of the type of activations.
///
/// # Errors
/// There is no memory for it, or the driver fails.
pub fn measure(cuda: &Cuda) -> Result<DeviceRoofs> {
    let room = cuda.gpu.memory()?.free / SHARE;
    let sizes = READ_BYTES.into_iter().filter(|&bytes| bytes as u64 <= room);
    let read_bytes_per_s = best(sizes, |bytes| read(cuda, bytes))?;
    let largest = match cuda.dtype {
        DType::F32 => LARGEST_F32_SIDE,
        _ => usize::MAX,
    };
    let bytes = |side: usize| (3 * side * side * cuda.dtype.size_in_bytes()) as u64;
    let sides = SIDES
        .into_iter()
        .filter(|&side| side <= largest && bytes(side) <= room);
    let flop_per_s = best(sides, |side| multiply(cuda, side))?;
    Ok(DeviceRoofs {
        read_bytes_per_s,
        flop_per_s,
    })
}

/// The highest rate of sizes that ascend, up to the first whose tries are long enough.
fn best(
    sizes: impl Iterator<Item = usize>,
    rate: impl Fn(usize) -> Result<(f64, Duration)>,
) -> Result<f64> {
    let mut highest = 0.0_f64;
    for size in sizes {
        let (found, longest) = rate(size)?;
        highest = highest.max(found);
        if longest >= LONG_ENOUGH {
            break;
        }
    }
    match highest.is_finite() && highest > 0.0 {
        true => Ok(highest),
        false => bail!("the GPU's events tell no time, or there is no memory to measure with"),
    }
}

/// The highest `work` a second of some tries, and how long the shortest took on the host's clock.
fn tries(cuda: &Cuda, work: f64, queue: impl Fn() -> Result<()>) -> Result<(f64, Duration)> {
    const MS_PER_S: f64 = 1e3;
    let (mut highest, mut shortest) = (0.0_f64, Duration::MAX);
    for _ in 0..TRIES {
        cuda.gpu.synchronize()?;
        let start = Instant::now();
        let before = cuda.gpu.stream.record_event(Some(CU_EVENT_DEFAULT)).w()?;
        queue()?;
        let after = cuda.gpu.stream.record_event(Some(CU_EVENT_DEFAULT)).w()?;
        let ms = f64::from(before.elapsed_ms(&after).w()?);
        shortest = shortest.min(start.elapsed());
        highest = highest.max(work * MS_PER_S / ms);
        if shortest > 20 * LONG_ENOUGH {
            break;
        }
    }
    Ok((highest, shortest))
}

fn read(cuda: &Cuda, bytes: usize) -> Result<(f64, Duration)> {
    const THREADS: u32 = 512;
    const THREADS_OF_A_MULTIPROCESSOR: u32 = 2048;
    let words = filled(cuda, &[bytes / size_of::<f32>()], DType::F32)?;
    let sum = tensor::uninitialized(&cuda.gpu, &[1], DType::U32)?;
    let blocks = cuda.gpu.multiprocessors * (THREADS_OF_A_MULTIPROCESSOR / THREADS);
    tries(cuda, bytes as f64, || {
        cuda.launch(
            "roof",
            "read",
            Grid::row(blocks as usize, THREADS),
            &[
                tensor::at(&words)?,
                Arg::U64((bytes / 16) as u64),
                tensor::at(&sum)?,
            ],
        )
    })
}

fn multiply(cuda: &Cuda, side: usize) -> Result<(f64, Duration)> {
    let matrix = || filled(cuda, &[side, side], cuda.dtype);
    let layer = Linear {
        n: side,
        k: side,
        weight: matrix()?,
        bias: None,
        scales: None,
    };
    let (x, out) = (matrix()?, Buffer::new(matrix()?)?);
    let flop = 2.0 * (side as f64).powi(3);
    tries(cuda, flop, || linear::linear(cuda, &x, &layer, side, &out))
}

fn filled(cuda: &Cuda, dims: &[usize], dtype: DType) -> Result<Tensor> {
    const THREADS: u32 = 512;
    let tensor = tensor::uninitialized(&cuda.gpu, dims, dtype)?;
    let count = tensor.elem_count();
    cuda.launch(
        "roof",
        &format!("fill_{}", suffix(dtype)?),
        Grid::row(count.div_ceil(THREADS as usize), THREADS),
        &[tensor::at(&tensor)?, Arg::U64(count as u64)],
    )?;
    Ok(tensor)
}
