//! What the kernels do to memory, as the virtual GPU counts it: no two rows of a tile in one bank, nothing read that was
//! not written, no race, and keys and values once.

use super::tall::{SPANS, small};
use super::*;
use crate::exchange::Machine;
use crate::report::{bytes, kernels, reported};

#[test]
fn no_two_rows_meet_in_a_bank() {
    let test = "attention::traffic::no_two_rows_meet_in_a_bank";
    let report = reported(Machine::new(1, false), test, || {
        let mut random = Random(31);
        for (dtype, cache) in [
            (DType::F32, DType::F32),
            (DType::BF16, DType::BF16),
            (DType::BF16, DType::F8E4M3),
        ] {
            for head_dim in [64, 80, 96, 128, 256] {
                let step = Step::new(
                    &mut random,
                    shape(1, 4, head_dim, None),
                    &SPANS,
                    16,
                    0,
                    (dtype, cache),
                );
                step.check_on(&small(dtype), dtype, cache);
                step.check(dtype, cache);
            }
        }
    });
    let Some(report) = report else { return };
    for row in kernels(&report, "attention_") {
        assert_eq!(row["bank_conflicts"], 0, "{row}");
    }
    let ran =
        |name: &str, count| assert_eq!(kernels(&report, name).len(), count, "{name}: {report}");
    ran("attention_decode_", 15);
    ran("attention_prefill_tall_", 8);
    ran("attention_prefill_", 15 + 8);
}

/// Rows and heads as a small model's: what the kernel's header says, and little besides.
#[test]
fn decode_reads_keys_and_values_once() {
    const TOKENS: usize = 512;
    const SEQUENCES: usize = 12;
    const KV_HEADS: usize = 2;
    const HEADS: usize = 12;
    const HEAD_DIM: usize = 128;
    /// Of each context, on the virtual GPU's 128 multiprocessors with two blocks each.
    const SPLITS: usize = 8;
    let test = "attention::traffic::decode_reads_keys_and_values_once";
    let report = reported(Machine::new(1, false), test, || {
        let mut random = Random(32);
        let spans = [(); SEQUENCES].map(|()| TOKENS - 1..TOKENS);
        let types = (DType::BF16, DType::BF16);
        let shape = shape(KV_HEADS, HEADS / KV_HEADS, HEAD_DIM, None);
        let step = Step::new(&mut random, shape, &spans, 16, 0, types);
        step.check(types.0, types.1);
    });
    let Some(report) = report else { return };
    let moved = bytes(&kernels(&report, "attention_decode_"));
    let keys_and_values = TOKENS * 2 * KV_HEADS * HEAD_DIM * 2;
    let queries_and_results = 2 * HEADS * HEAD_DIM * 2;
    let parts = 2 * SPLITS * HEADS * 4 * (HEAD_DIM + 2);
    let least = (SEQUENCES * (keys_and_values + queries_and_results + parts)) as u64;
    println!("{moved} bytes, of which {least} must be moved");
    assert!(moved >= least, "{moved} of {least} bytes");
    assert!(moved * 10 <= least * 11, "{moved} of {least} bytes");
}
