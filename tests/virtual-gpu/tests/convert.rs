//! `cvt`, each direction, over edge values.

mod common;
use common::{check, edges, evaluate, f32_edges, f32_of, f64_edges, of_f32, s32};

#[test]
fn integers() {
    check("cvt.u32.u8 %d, %a;", "u32", &["u32"], &[edges(32)], |v| {
        v[0] & 0xff
    });
    check("cvt.s32.s8 %d, %a;", "s32", &["u32"], &[edges(32)], |v| {
        v[0] as i8 as u64
    });
    check("cvt.s16.s8 %d, %a;", "s16", &["u16"], &[edges(16)], |v| {
        v[0] as i8 as u64
    });
    check("cvt.u64.u32 %d, %a;", "u64", &["u32"], &[edges(32)], |v| {
        v[0]
    });
    check("cvt.s64.s32 %d, %a;", "s64", &["s32"], &[edges(32)], |v| {
        s32(v[0]) as u64
    });
    check("cvt.u32.u64 %d, %a;", "u32", &["u64"], &[edges(64)], |v| {
        v[0]
    });
    check("cvt.s64.s32 %d, %a;", "s64", &["s64"], &[edges(64)], |v| {
        s32(v[0]) as u64
    });
    check(
        "cvt.sat.u8.s32 %d, %a;",
        "u32",
        &["s32"],
        &[edges(32)],
        |v| s32(v[0]).clamp(0, 255) as u64,
    );
    check(
        "cvt.sat.s32.s64 %d, %a;",
        "s32",
        &["s64"],
        &[edges(64)],
        |v| (v[0] as i64).clamp(i32::MIN.into(), i32::MAX.into()) as u64,
    );
}

#[test]
fn from_integers() {
    check(
        "cvt.rn.f32.s32 %d, %a;",
        "f32",
        &["s32"],
        &[edges(32)],
        |v| of_f32(s32(v[0]) as f32),
    );
    check(
        "cvt.rn.f32.u64 %d, %a;",
        "f32",
        &["u64"],
        &[edges(64)],
        |v| of_f32(v[0] as f32),
    );
    check(
        "cvt.rn.f64.s64 %d, %a;",
        "f64",
        &["s64"],
        &[edges(64)],
        |v| (v[0] as i64 as f64).to_bits(),
    );
    for (mode, low) in [("rm", true), ("rp", false)] {
        let text = format!("cvt.{mode}.f32.s32 %d, %a;");
        for (row, got) in evaluate(&text, "f32", &["s32"], &[edges(32)])
            .into_iter()
            .enumerate()
        {
            let (exact, got) = (f64::from(s32(edges(32)[row])), f32_of(got));
            let (near, beyond) = (
                f64::from(got),
                f64::from(if low { got.next_up() } else { got.next_down() }),
            );
            assert!(
                if low {
                    near <= exact && exact < beyond
                } else {
                    near >= exact && exact > beyond
                },
                "{text} {exact}: {got}"
            );
        }
    }
    check(
        "cvt.rz.f32.u32 %d, %a;",
        "f32",
        &["u32"],
        &[edges(32)],
        |v| {
            let near = v[0] as f32;
            of_f32(if f64::from(near) > v[0] as f64 {
                near.next_down()
            } else {
                near
            })
        },
    );
}

#[test]
fn to_integers() {
    // Rust's `as` saturates and makes NaN zero, as PTX has it for 32-bit results of f32.
    check(
        "cvt.rzi.s32.f32 %d, %a;",
        "s32",
        &["f32"],
        &[f32_edges()],
        |v| f32_of(v[0]) as i32 as u64,
    );
    check(
        "cvt.rzi.u32.f32 %d, %a;",
        "u32",
        &["f32"],
        &[f32_edges()],
        |v| u64::from(f32_of(v[0]) as u32),
    );
    check(
        "cvt.rni.s32.f32 %d, %a;",
        "s32",
        &["f32"],
        &[f32_edges()],
        |v| f32_of(v[0]).round_ties_even() as i32 as u64,
    );
    check(
        "cvt.rmi.s32.f32 %d, %a;",
        "s32",
        &["f32"],
        &[f32_edges()],
        |v| f32_of(v[0]).floor() as i32 as u64,
    );
    check(
        "cvt.rpi.s32.f32 %d, %a;",
        "s32",
        &["f32"],
        &[f32_edges()],
        |v| f32_of(v[0]).ceil() as i32 as u64,
    );
    check(
        "cvt.rzi.s64.f64 %d, %a;",
        "s64",
        &["f64"],
        &[f64_edges()],
        |v| {
            let value = f64::from_bits(v[0]);
            if value.is_nan() {
                1 << 63
            } else {
                value as i64 as u64
            }
        },
    );
    check(
        "cvt.rzi.u64.f32 %d, %a;",
        "u64",
        &["f32"],
        &[f32_edges()],
        |v| {
            if f32_of(v[0]).is_nan() {
                1 << 63
            } else {
                f32_of(v[0]) as u64
            }
        },
    );
    check(
        "cvt.rzi.s32.f64 %d, %a;",
        "s32",
        &["f64"],
        &[f64_edges()],
        |v| {
            let value = f64::from_bits(v[0]);
            if value.is_nan() {
                1 << 31
            } else {
                value as i32 as u64
            }
        },
    );
}

#[test]
fn between_floats() {
    check(
        "cvt.f64.f32 %d, %a;",
        "f64",
        &["f32"],
        &[f32_edges()],
        |v| f64::from(f32_of(v[0])).to_bits(),
    );
    check(
        "cvt.rn.f32.f64 %d, %a;",
        "f32",
        &["f64"],
        &[f64_edges()],
        |v| of_f32(f64::from_bits(v[0]) as f32),
    );
    check(
        "cvt.rni.f32.f32 %d, %a;",
        "f32",
        &["f32"],
        &[f32_edges()],
        |v| of_f32(f32_of(v[0]).round_ties_even()),
    );
    check(
        "cvt.rmi.f32.f32 %d, %a;",
        "f32",
        &["f32"],
        &[f32_edges()],
        |v| of_f32(f32_of(v[0]).floor()),
    );
    check(
        "cvt.rzi.f64.f64 %d, %a;",
        "f64",
        &["f64"],
        &[f64_edges()],
        |v| f64::from_bits(v[0]).trunc().to_bits(),
    );
    // Every half to f32 and back.
    let every: Vec<u64> = (0..=u16::MAX.into()).collect();
    for ty in ["f16", "bf16"] {
        let nan = |v: u64| {
            if ty == "f16" {
                v & 0x7fff > 0x7c00
            } else {
                v & 0x7fff > 0x7f80
            }
        };
        let there = evaluate(
            &format!("cvt.f32.{ty} %d, %a;"),
            "f32",
            &["u16"],
            std::slice::from_ref(&every),
        );
        let back = evaluate(
            &format!("cvt.rn.{ty}.f32 %d, %a;"),
            "u16",
            &["f32"],
            &[there],
        );
        for (want, got) in every.iter().zip(&back) {
            assert!(
                want == got || nan(*want) && nan(*got),
                "{ty} {want:#x}: {got:#x}"
            );
        }
    }
    let columns = vec![f32_edges()];
    check("cvt.rz.bf16.f32 %d, %a;", "u16", &["f32"], &columns, |v| {
        if f32_of(v[0]).is_nan() {
            0x7fff
        } else {
            v[0] >> 16
        }
    });
    check(
        "cvt.rna.tf32.f32 %d, %a;",
        "u32",
        &["f32"],
        &[vec![of_f32(1.0), of_f32(3.1416789), of_f32(-2.7123)]],
        |v| (v[0] + 0x1000) & !0x1fff,
    );
    check(
        "cvt.rn.bf16x2.f32 %d, %a, %b;",
        "u32",
        &["f32"; 2],
        &[vec![of_f32(1.5)], vec![of_f32(-2.0)]],
        |_| 0x3fc0_c000,
    );
}

/// e4m3 and e5m2: every code through f16, and back with saturation.
#[test]
fn eight_bit_floats() {
    for (ty, exponent, bias, has_infinity) in [("e4m3", 4u32, 7i32, false), ("e5m2", 5, 15, true)] {
        let mantissa = 7 - exponent;
        let value = |code: u64| {
            let magnitude = code & 0x7f;
            let (e, m) = (
                (magnitude >> mantissa) as i32,
                (magnitude & ((1 << mantissa) - 1)) as f64,
            );
            let unit = f64::from(1 << mantissa);
            let sign = if code & 0x80 != 0 { -1.0 } else { 1.0 };
            if !has_infinity && magnitude == 0x7f {
                f64::NAN
            } else if has_infinity && e == 31 {
                if m == 0.0 {
                    sign * f64::INFINITY
                } else {
                    f64::NAN
                }
            } else if e == 0 {
                sign * m / unit * 2f64.powi(1 - bias)
            } else {
                sign * (1.0 + m / unit) * 2f64.powi(e - bias)
            }
        };
        let codes: Vec<u64> = (0..=255).collect();
        let text = format!(
            ".reg .b16 %h<2>; cvt.rn.f16x2.{ty}x2 %r7, %a; mov.b32 {{%h0,%h1}}, %r7; cvt.f32.f16 %d, %h0;"
        );
        for (code, got) in codes.iter().zip(evaluate(
            &text,
            "f32",
            &["u16"],
            std::slice::from_ref(&codes),
        )) {
            let (want, got) = (value(*code), f64::from(f32_of(got)));
            assert!(
                want == got || want.is_nan() && got.is_nan(),
                "{ty} {code:#x}: {got}, not {want}"
            );
        }
        let numbers: Vec<u64> = [
            0.0f32,
            1.0,
            -1.0,
            448.0,
            464.0,
            1e6,
            -1e6,
            0.001,
            0.0019,
            17.0,
            18.0,
            19.0,
            f32::NAN,
        ]
        .iter()
        .map(|v| of_f32(*v))
        .collect();
        let zero = vec![of_f32(0.0); numbers.len()];
        let text = format!("cvt.rn.satfinite.{ty}x2.f32 %d, %b, %a;");
        for (at, got) in evaluate(&text, "u16", &["f32"; 2], &[numbers.clone(), zero])
            .into_iter()
            .enumerate()
        {
            let (number, got) = (f64::from(f32_of(numbers[at])), value(got & 0xff));
            if number.is_nan() {
                assert!(got.is_nan());
                continue;
            }
            let finite: Vec<f64> = codes
                .iter()
                .map(|c| value(*c))
                .filter(|v| v.is_finite())
                .collect();
            let best = finite
                .iter()
                .map(|v| (v - number).abs())
                .fold(f64::INFINITY, f64::min);
            assert_eq!((got - number).abs(), best, "{ty} of {number}: {got}");
        }
    }
}
