//! Tall tiles: a GPU takes them where there are enough and two have room. This one has little to fill and much room.

use candlepower::ops::cuda::Gpu;

use super::*;

/// One multiprocessor, with the shared memory of an A100's.
pub fn small(dtype: DType) -> Cuda {
    let mut gpu = Gpu::open(0).unwrap();
    gpu.multiprocessors = 1;
    gpu.shared_of_multiprocessor = 164 << 10;
    Cuda::new(gpu, dtype).unwrap()
}

/// Prompts, a chunk behind a context, and rows that decode.
pub const SPANS: [Range<usize>; 4] = [0..130, 70..71, 45..106, 0..3];

#[test]
fn tall_tiles() {
    let mut random = Random(21);
    for dtype in [DType::F16, DType::BF16] {
        for cache in [dtype, DType::F8E4M3] {
            for head_dim in [48, 64, 80, 96, 112, 128] {
                let window = random.flip().then_some(random.within(1..100));
                let shape = shape(
                    random.within(1..3),
                    random.pick(&[2, 3, 5]),
                    head_dim,
                    window,
                );
                let types = (dtype, cache);
                let step = Step::new(&mut random, shape, &SPANS, 16, 0, types);
                step.check_on(&small(dtype), dtype, cache);
            }
        }
    }
}

/// Where blocks of the cache begin within a tile, and cross it.
#[test]
fn tall_tiles_over_odd_pages() {
    let mut random = Random(22);
    for block_size in [1, 3, 48, 200] {
        let types = (DType::BF16, DType::BF16);
        let step = Step::new(
            &mut random,
            shape(1, 4, 128, None),
            &SPANS,
            block_size,
            1,
            types,
        );
        step.check_on(&small(types.0), types.0, types.1);
    }
}
