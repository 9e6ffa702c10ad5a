//! What the kernels do to memory, as the virtual GPU counts it: no two rows of a tile in one bank, nothing read that was
//! not written, no race, and keys and values once.

use serde_json::Value;

use super::tall::{SPANS, small};
use super::*;
use crate::exchange::Machine;

/// Rows of the report whose kernels begin so.
fn kernels<'a>(report: &'a Value, begin: &str) -> Vec<&'a Value> {
    let rows = report["kernels"].as_array().unwrap().iter();
    rows.filter(|row| row["name"].as_str().unwrap().starts_with(begin))
        .collect()
}

/// The report of `work` in a process of its own; none in there, and where no virtual GPU is.
fn reported(test: &str, work: impl Fn()) -> Option<Value> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    let machine = Machine::new(1, false)
        .with("VGPU_REPORT", file.display())
        .with("VGPU_STRICT", 1)
        .with("VGPU_RACES", 1);
    if machine.is_inside(test) {
        work();
        return None;
    }
    let text = std::fs::read_to_string(&file).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn no_two_rows_meet_in_a_bank() {
    let test = "attention::traffic::no_two_rows_meet_in_a_bank";
    let report = reported(test, || {
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
    let report = reported(test, || {
        let mut random = Random(32);
        let spans = [(); SEQUENCES].map(|()| TOKENS - 1..TOKENS);
        let types = (DType::BF16, DType::BF16);
        let shape = shape(KV_HEADS, HEADS / KV_HEADS, HEAD_DIM, None);
        let step = Step::new(&mut random, shape, &spans, 16, 0, types);
        step.check(types.0, types.1);
    });
    let Some(report) = report else { return };
    let moved: u64 = kernels(&report, "attention_decode_")
        .into_iter()
        .flat_map(|row| [&row["load_sectors"], &row["store_sectors"]])
        .map(|sectors| 32 * sectors.as_u64().unwrap())
        .sum();
    let keys_and_values = TOKENS * 2 * KV_HEADS * HEAD_DIM * 2;
    let queries_and_results = 2 * HEADS * HEAD_DIM * 2;
    let parts = 2 * SPLITS * HEADS * 4 * (HEAD_DIM + 2);
    let least = (SEQUENCES * (keys_and_values + queries_and_results + parts)) as u64;
    println!("{moved} bytes, of which {least} must be moved");
    assert!(moved >= least, "{moved} of {least} bytes");
    assert!(moved * 10 <= least * 11, "{moved} of {least} bytes");
}
