//! Linear layers of few rows, with and without a gate, against the reference.

use candle_core::{DType, Tensor};
use candlepower::ops::reference::Reference;
use candlepower::ops::{Backend, Kernels, WeightRows};

use crate::common::random::Random;
use crate::common::stored::Stored;
use crate::exchange::Machine;
use crate::report::{bytes, kernels, reported};
use crate::support::{DTYPES, SPARE, assert_close, cuda, exact, sent, tolerance, untouched};

/// Elements of a row that all warps of a block take in one turn, and some more: k is such a number of accesses.
const LONGEST: usize = 2500;

/// As a device that keeps `tensor` in `dtype`.
fn rounded(tensor: &Tensor, dtype: DType) -> Tensor {
    let kept = tensor.to_dtype(dtype).unwrap();
    kept.to_dtype(DType::F32).unwrap()
}

/// One case of each type: the layer, then gated where it has two halves.
fn check(random: &mut Random, dtype: DType, rows: usize, (n, k): (usize, usize)) {
    let cuda = cuda(dtype);
    let weight = Stored::plain((exact(random, n, k, dtype) * 0.125).unwrap());
    let parts: [&dyn WeightRows; 1] = [&weight];
    let bias = exact(random, 1, n, dtype).flatten_all().unwrap();
    let bias = random.flip().then_some(bias);
    let ours = cuda.pack(&parts, bias.clone()).unwrap();
    let plain = Reference.pack(&parts, bias).unwrap();
    let x = exact(random, rows + SPARE, k, dtype);
    let expected = untouched(rows, n);
    Reference.linear(&x, &plain, rows, &expected).unwrap();
    let x = sent(&cuda, &x, dtype);
    // Sums of so many products in another order.
    let allowed = |of| tolerance(of).max(4e-5);
    for out_dtype in [dtype, DType::F32] {
        let out = sent(&cuda, &untouched(rows, n), out_dtype);
        cuda.linear(&x, &ours, rows, &out).unwrap();
        assert_close(&out, &expected, allowed(out_dtype));
    }
    if !n.is_multiple_of(2) {
        return;
    }
    assert!(cuda.gates(&x, &ours, rows).unwrap());
    let halves = rounded(&expected, dtype);
    let activated = untouched(rows, n / 2);
    Reference.silu_mul(&halves, rows, &activated).unwrap();
    let out = sent(&cuda, &untouched(rows, n / 2), dtype);
    cuda.gated(&x, &ours, rows, &out).unwrap();
    // Each half may fall to the other side of a rounding.
    assert_close(&out, &activated, 4.0 * allowed(dtype));
}

#[test]
fn few_rows_agree_with_the_reference() {
    let random = &mut Random(51);
    for case in 0..24 {
        let dtype = DTYPES[case % DTYPES.len()];
        let access = 16 / dtype.size_in_bytes();
        let k = random.within(1..LONGEST / access) * access;
        let n = random.within(1..70);
        check(random, dtype, 1 + case % 8, (n, k));
    }
}

#[test]
fn more_rows_and_odd_ones_have_no_gate() {
    let cuda = cuda(DType::BF16);
    let layer = |k| {
        let weight = Stored::plain(exact(&mut Random(52), 6, k, DType::BF16));
        cuda.pack(&[&weight], None).unwrap()
    };
    for (rows, k, gates) in [(8, 16, true), (9, 16, false), (1, 12, false)] {
        let x = cuda.buffer(rows, k).unwrap();
        assert_eq!(
            cuda.gates(&x, &layer(k), rows).unwrap(),
            gates,
            "{rows}, {k}"
        );
    }
}

/// A layer that decodes: its weights once, no two lanes in one bank.
#[test]
fn weights_are_read_once() {
    const N: usize = 192;
    const K: usize = 2048;
    let report = reported(
        Machine::new(1, false),
        "gemv::weights_are_read_once",
        || {
            for dtype in DTYPES {
                check(&mut Random(53), dtype, 1, (N, K));
            }
        },
    );
    let Some(report) = report else { return };
    let mut seen = 0;
    for row in kernels(&report, "gemv_") {
        assert_eq!(row["bank_conflicts"], 0, "{row}");
        let element = if row["name"].as_str().unwrap().ends_with("f32") {
            4
        } else {
            2
        };
        let launches = row["launches"].as_u64().unwrap();
        let least = launches * (N * K * element) as u64;
        let moved = bytes(&[row]);
        println!("{moved} bytes, of which {least} must be moved");
        assert!(
            moved >= least && moved * 10 <= least * 11,
            "{moved} of {least}: {row}"
        );
        seen += 1;
    }
    assert_eq!(seen, 6, "{report}");
}
