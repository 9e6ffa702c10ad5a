//! f16 and bf16: results are rounded once, from the exact value.

mod common;
use common::{evaluate, exact_sum, product};

fn halves(ty: &str) -> Vec<u64> {
    let mut found = vec![
        0u64, 0x8000, 1, 0x8001, 0x3c00, 0xbc00, 0x3f80, 0xbf80, 0x7bff, 0x4248, 0x0400, 0x0080,
        0x5555, 0x7f7f, 0x2345,
    ];
    found.extend(if ty == "f16" {
        [0x7c00, 0xfc00, 0x7e00]
    } else {
        [0x7f80, 0xff80, 0x7fc0]
    });
    found
}

fn half_value(ty: &str, bits: u64) -> f64 {
    use virtual_gpu::exec::floats::{BF16, F16};
    if ty == "f16" {
        F16.decode(bits as u32)
    } else {
        BF16.decode(bits as u32)
    }
}

/// Does the format hold nothing nearer to the exact value? NaN and infinity by the rules of f64.
fn nearest_half(ty: &str, got: u64, sum: f64, rest: f64) -> bool {
    if sum.is_nan() {
        return half_value(ty, got).is_nan();
    }
    let value = half_value(ty, got);
    let largest = half_value(ty, if ty == "f16" { 0x7bff } else { 0x7f7f });
    if value.is_infinite() {
        let half_step = largest - half_value(ty, if ty == "f16" { 0x7bfe } else { 0x7f7e });
        return sum.abs() >= largest + half_step / 2.0
            && sum.is_sign_negative() == value.is_sign_negative();
    }
    let distance = |v: f64| ((v - sum) - rest).abs();
    let magnitude = got & 0x7fff;
    let around =
        [magnitude.saturating_sub(1), magnitude + 1].map(|m| half_value(ty, m | got & 0x8000));
    let tie_to_even = |other: f64| distance(other) == distance(value) && got & 1 == 0;
    around.iter().all(|other| {
        other.is_infinite()
            || distance(*other) > distance(value)
            || tie_to_even(*other)
            || *other == value
    })
}

#[test]
fn halves_round_once() {
    for ty in ["f16", "bf16"] {
        let inputs = product(&[halves(ty), halves(ty), halves(ty)]);
        let columns = ["b16"; 3];
        let run = |op: &str| {
            evaluate(
                &format!("{op}.{ty} %d, %a, %b, %c;"),
                "b16",
                &columns,
                &inputs,
            )
        };
        let fma = run("fma.rn");
        let sum = evaluate(
            &format!("add.{ty} %d, %a, %b;"),
            "b16",
            &columns[..2],
            &inputs[..2],
        );
        let mul = evaluate(
            &format!("mul.rn.{ty} %d, %a, %b;"),
            "b16",
            &columns[..2],
            &inputs[..2],
        );
        for row in 0..fma.len() {
            let [a, b, c] = std::array::from_fn(|i| half_value(ty, inputs[i][row]));
            let (s, e) = exact_sum(a * b, c);
            assert!(
                nearest_half(ty, fma[row], s, if e.is_nan() { 0.0 } else { e }),
                "fma.{ty} {a:e} {b:e} {c:e}: {:e}",
                half_value(ty, fma[row])
            );
            assert!(
                nearest_half(ty, sum[row], a + b, 0.0),
                "add.{ty} {a:e} {b:e}"
            );
            assert!(
                nearest_half(ty, mul[row], a * b, 0.0),
                "mul.{ty} {a:e} {b:e}"
            );
        }
        // A pair does what two single ones do.
        let pairs: Vec<Vec<u64>> = inputs
            .iter()
            .map(|c| c.iter().map(|v| v << 16 | 0x3c80).collect())
            .collect();
        let packed = evaluate(
            &format!("fma.rn.{ty}x2 %d, %a, %b, %c;"),
            "b32",
            &["b32"; 3],
            &pairs,
        );
        for (row, got) in packed.iter().enumerate() {
            let same = got >> 16 == fma[row]
                || half_value(ty, got >> 16).is_nan() && half_value(ty, fma[row]).is_nan();
            assert!(same, "fma.{ty}x2");
        }
    }
}
