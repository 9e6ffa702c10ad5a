//! What keeps the parts of a split context in order: without any one of it, the last block merges what is not there.

use candlepower::ops::cuda::Gpu;

use super::*;
use crate::exchange::Machine;
use crate::left_out;

/// `Order` of `kernels/attention_merge.cuh`.
const COMPLETE: &str = "COMPLETE";
const PARTS: [&str; 3] = ["BLOCK_HAS_WRITTEN", "RELEASE", "ACQUIRE"];

/// Decode over heads of 64 without a part.
fn without(part: &str) -> Option<String> {
    left_out::without(
        part,
        "#include \"attention_export.cuh\"\nEXPORT_DECODE(64, 64, bf16, bf16, false)\n",
    )
}

/// Whether several steps come out right.
fn right(ptx: String) -> bool {
    let mut random = Random(41);
    let types = (DType::BF16, DType::BF16);
    let gpu = Gpu::open(0).unwrap();
    let cuda = Cuda::replaced(gpu, types.0, "attention_64_bf16", ptx).unwrap();
    (0..6).all(|_| {
        let spans = [0, 0].map(|_| random.within(200..500)).map(|at| at..at + 1);
        let step = Step::new(&mut random, shape(1, 4, 64, None), &spans, 16, 0, types);
        let (found, expected) = step.both_on(&cuda, types.0, types.1);
        let mut pairs = values(&found).into_iter().zip(values(&expected));
        let near = |(f, e): (f32, f32)| (f - e).abs() <= allowed(types.0) * (1.0 + e.abs());
        pairs.all(near)
    })
}

#[test]
fn every_part_of_a_merge_is_needed() {
    for part in [COMPLETE].into_iter().chain(PARTS) {
        // Without a part the results shall come, wrong: strict reads would stop the kernel first.
        let strict = u8::from(part == COMPLETE);
        let machine = Machine::new(1, false)
            .with("VGPU_WEAK", 1)
            .with("VGPU_STRICT", strict)
            .with("VGPU_RACES", strict)
            .with("CANDLEPOWER_TEST_PART", part);
        if !machine.is_inside("attention::order::every_part_of_a_merge_is_needed") {
            continue;
        }
        let part = std::env::var("CANDLEPOWER_TEST_PART").unwrap();
        if let Some(ptx) = without(&part) {
            assert_eq!(right(ptx), part == COMPLETE, "{part} left out");
        }
        return;
    }
}
