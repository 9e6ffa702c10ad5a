//! Operands on a GPU beside the same numbers on the CPU.

use candle_core::{DType, Device, Tensor};
use candlepower::ops::Buffer;
use candlepower::ops::cuda::{Cuda, Gpu};

use crate::common::random::Random;

/// What kernels compute in.
pub const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
/// What caches hold.
pub const KV_DTYPES: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F8E4M3];
/// Rows of a buffer beyond those of the step, which no kernel may write.
pub const SPARE: usize = 3;
/// What those rows hold; exact in every type.
pub const UNTOUCHED: f32 = 7.5;

/// Set where one card is to stand for all: each rank is a stream of it.
pub const ONE_CARD: &str = "CANDLEPOWER_TEST_ONE_CARD";

/// Of the GPU of a rank.
pub fn ordinal(rank: usize) -> usize {
    match std::env::var_os(ONE_CARD) {
        Some(_) => 0,
        None => rank,
    }
}

/// Kernels on the first GPU.
pub fn cuda(dtype: DType) -> Cuda {
    Cuda::new(Gpu::open(0).unwrap(), dtype).unwrap()
}

/// Relative to `1 + |value|`: one rounding of a result in `dtype`, or another order of sums in f32.
pub fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::F32 => 1e-5,
        DType::F16 => 1.0 / 1024.0,
        DType::BF16 => 1.0 / 128.0,
        _ => 1.0 / 8.0,
    }
}

/// Numbers near 1 that `dtype` holds exactly, as f32 on the CPU.
pub fn exact(random: &mut Random, rows: usize, width: usize, dtype: DType) -> Tensor {
    let values = Tensor::from_vec(random.units(rows * width), (rows, width), &Device::Cpu).unwrap();
    let rounded = values.to_dtype(dtype).unwrap();
    rounded.to_dtype(DType::F32).unwrap()
}

/// A buffer on the CPU, with `SPARE` rows more than asked, all `UNTOUCHED`.
pub fn untouched(rows: usize, width: usize) -> Buffer {
    let whole = Tensor::full(UNTOUCHED, (rows + SPARE, width), &Device::Cpu).unwrap();
    Buffer::new(whole).unwrap()
}

/// A copy of a CPU tensor in a buffer of its own on the CPU.
pub fn copied(tensor: &Tensor) -> Buffer {
    Buffer::new(tensor.copy().unwrap()).unwrap()
}

/// A copy of a CPU tensor on the GPU, as `dtype`.
pub fn sent(cuda: &Cuda, tensor: &Tensor, dtype: DType) -> Buffer {
    let cast = tensor.to_dtype(dtype).unwrap().contiguous().unwrap();
    Buffer::new(cast.to_device(&cuda.gpu().candle()).unwrap()).unwrap()
}

/// All elements, widened.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    let here = tensor
        .flatten_all()
        .unwrap()
        .to_device(&Device::Cpu)
        .unwrap();
    here.to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// Element by element, the rows beyond the step's too; what is not finite is wrong.
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    for (i, (f, e)) in values(found).iter().zip(values(expected)).enumerate() {
        let near = (f - e).abs() <= tolerance * (1.0 + e.abs());
        assert!(near, "element {i} of {:?}: {f}, expected {e}", found.dims());
    }
}
