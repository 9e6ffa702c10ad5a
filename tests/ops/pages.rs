//! Packed weights lie in huge pages, as the memory roof that they are held against does.

use candle_core::{DType, Device, Tensor};
use candlepower::EngineOptions;
use candlepower::ops::Backend;
use candlepower::ops::cpu::Cpu;

use crate::common::stored::Stored;

const ROWS: usize = 4096;
const COLUMNS: usize = 8192;
/// What the system may leave in small pages: the two ends.
const SHARE: f64 = 0.9;

/// Bytes of this process in huge pages, where the system tells.
fn huge_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("AnonHugePages:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

fn wishes_are_heard() -> bool {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    std::fs::read_to_string(path).is_ok_and(|text| !text.contains("[never]"))
}

#[test]
fn weights_lie_in_huge_pages() {
    let (Some(before), true) = (huge_bytes(), wishes_are_heard()) else {
        eprintln!("skipped: this system has no huge pages to give, or does not tell");
        return;
    };
    for dtype in [DType::BF16, DType::F32] {
        let weights = Tensor::zeros((ROWS, COLUMNS), dtype, &Device::Cpu).unwrap();
        let linear = Cpu::F32.pack(&[&Stored::plain(weights)], None).unwrap();
        let bytes = ROWS * COLUMNS * dtype.size_in_bytes();
        let huge = huge_bytes().unwrap() - before;
        assert!(
            huge as f64 > SHARE * bytes as f64,
            "{dtype:?}: {huge} of {bytes} bytes"
        );
        drop(linear);
    }
    // In the same test: another one at the same time would be counted too.
    let before = huge_bytes().unwrap();
    let options = EngineOptions::new("Qwen2.5-0.5B").dummy_weights(true);
    let options = options.layers(2_usize).device("cpu").max_num_seqs(1);
    let options = options.max_model_len(64_usize).max_num_batched_tokens(64);
    let session = options.kv_cache_memory(1_u64 << 24).open().unwrap();
    let bytes = session.settings.ranks[0].weights_bytes;
    let huge = huge_bytes().unwrap() - before;
    assert!(
        huge as f64 > SHARE * bytes as f64,
        "a run: {huge} of {bytes} bytes"
    );
}
