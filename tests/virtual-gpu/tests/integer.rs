//! Integer instructions against Rust's integers, over edge values.

mod common;
use common::{check, edges, s32};

fn e32() -> Vec<Vec<u64>> {
    vec![edges(32), edges(32)]
}

fn e64() -> Vec<Vec<u64>> {
    vec![edges(64), edges(64)]
}

fn two(op: &str, ty: &str, bits: u32, f: impl Fn(u64, u64) -> u64) {
    let text = format!("{op}.{ty} %d, %a, %b;");
    check(&text, ty, &[ty, ty], &[edges(bits), edges(bits)], |v| {
        f(v[0], v[1])
    });
}

#[test]
fn add_sub_min_max() {
    two("add", "u16", 16, |a, b| a.wrapping_add(b));
    two("add", "s32", 32, |a, b| a.wrapping_add(b));
    two("add", "u64", 64, |a, b| a.wrapping_add(b));
    two("sub", "s16", 16, |a, b| a.wrapping_sub(b));
    two("sub", "u32", 32, |a, b| a.wrapping_sub(b));
    two("sub", "s64", 64, |a, b| a.wrapping_sub(b));
    two("add.sat", "s32", 32, |a, b| {
        s32(a).saturating_add(s32(b)) as u64
    });
    two("sub.sat", "s32", 32, |a, b| {
        s32(a).saturating_sub(s32(b)) as u64
    });
    two("min", "s32", 32, |a, b| s32(a).min(s32(b)) as u64);
    two("min", "u32", 32, |a, b| a.min(b));
    two("max", "s64", 64, |a, b| (a as i64).max(b as i64) as u64);
    two("max", "u64", 64, |a, b| a.max(b));
    two("max", "s16", 16, |a, b| (a as i16).max(b as i16) as u64);
    two("min", "u16", 16, |a, b| a.min(b));
}

#[test]
fn division() {
    let nonzero = |bits| {
        vec![
            edges(bits),
            edges(bits).into_iter().filter(|v| *v != 0).collect(),
        ]
    };
    check(
        "div.u32 %d, %a, %b;",
        "u32",
        &["u32"; 2],
        &nonzero(32),
        |v| v[0] / v[1],
    );
    check(
        "div.s32 %d, %a, %b;",
        "s32",
        &["s32"; 2],
        &nonzero(32),
        |v| s32(v[0]).wrapping_div(s32(v[1])) as u64,
    );
    check(
        "rem.u64 %d, %a, %b;",
        "u64",
        &["u64"; 2],
        &nonzero(64),
        |v| v[0] % v[1],
    );
    check(
        "rem.s32 %d, %a, %b;",
        "s32",
        &["s32"; 2],
        &nonzero(32),
        |v| s32(v[0]).wrapping_rem(s32(v[1])) as u64,
    );
    check(
        "div.s64 %d, %a, %b;",
        "s64",
        &["s64"; 2],
        &nonzero(64),
        |v| (v[0] as i64).wrapping_div(v[1] as i64) as u64,
    );
    check(
        "div.u16 %d, %a, %b;",
        "u16",
        &["u16"; 2],
        &nonzero(16),
        |v| v[0] / v[1],
    );
}

#[test]
fn products() {
    two("mul.lo", "u16", 16, |a, b| a.wrapping_mul(b));
    two("mul.lo", "s32", 32, |a, b| a.wrapping_mul(b));
    two("mul.lo", "s64", 64, |a, b| a.wrapping_mul(b));
    two("mul.hi", "u32", 32, |a, b| (a * b) >> 32);
    two("mul.hi", "s32", 32, |a, b| {
        ((i64::from(s32(a)) * i64::from(s32(b))) >> 32) as u64
    });
    two("mul.hi", "u64", 64, |a, b| {
        ((u128::from(a) * u128::from(b)) >> 64) as u64
    });
    two("mul.hi", "s64", 64, |a, b| {
        ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
    });
    check(
        "mul.wide.s32 %d, %a, %b;",
        "s64",
        &["s32"; 2],
        &e32(),
        |v| (i64::from(s32(v[0])) * i64::from(s32(v[1]))) as u64,
    );
    check(
        "mul.wide.u32 %d, %a, %b;",
        "u64",
        &["u32"; 2],
        &e32(),
        |v| v[0] * v[1],
    );
    check(
        "mul.wide.u16 %d, %a, %b;",
        "u32",
        &["u16"; 2],
        &[edges(16), edges(16)],
        |v| v[0] * v[1],
    );
    check(
        "mul.wide.s16 %d, %a, %b;",
        "s32",
        &["s16"; 2],
        &[edges(16), edges(16)],
        |v| (v[0] as i16 as i32 * v[1] as i16 as i32) as u64,
    );
    let three = vec![edges(32), edges(32), edges(32)[..6].to_vec()];
    check(
        "mad.lo.s32 %d, %a, %b, %c;",
        "s32",
        &["s32"; 3],
        &three,
        |v| v[0].wrapping_mul(v[1]).wrapping_add(v[2]),
    );
    check(
        "mad.hi.u32 %d, %a, %b, %c;",
        "u32",
        &["u32"; 3],
        &three,
        |v| ((v[0] * v[1]) >> 32).wrapping_add(v[2]),
    );
    let wide = vec![edges(32), edges(32), edges(64)[..6].to_vec()];
    check(
        "mad.wide.u32 %d, %a, %b, %c;",
        "u64",
        &["u32", "u32", "u64"],
        &wide,
        |v| (v[0] * v[1]).wrapping_add(v[2]),
    );
    check(
        "mad.wide.s32 %d, %a, %b, %c;",
        "s64",
        &["s32", "s32", "s64"],
        &wide,
        |v| (i64::from(s32(v[0])) * i64::from(s32(v[1]))).wrapping_add(v[2] as i64) as u64,
    );
    two("mul24.lo", "u32", 32, |a, b| {
        (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff)
    });
    check(
        "sad.s32 %d, %a, %b, %c;",
        "u32",
        &["s32", "s32", "u32"],
        &three,
        |v| u64::from(s32(v[0]).abs_diff(s32(v[1]))) + v[2],
    );
    check(
        "dp4a.s32.s32 %d, %a, %b, %c;",
        "s32",
        &["s32"; 3],
        &three,
        |v| {
            (0..4).fold(s32(v[2]), |s, i| {
                s.wrapping_add(
                    i32::from((v[0] >> (8 * i)) as i8) * i32::from((v[1] >> (8 * i)) as i8),
                )
            }) as u64
        },
    );
    check(
        "dp4a.u32.s32 %d, %a, %b, %c;",
        "s32",
        &["s32"; 3],
        &three,
        |v| {
            (0..4).fold(s32(v[2]), |s, i| {
                s.wrapping_add(
                    i32::from((v[0] >> (8 * i)) as u8) * i32::from((v[1] >> (8 * i)) as i8),
                )
            }) as u64
        },
    );
}

/// 64-bit sums from 32-bit halves: what carries are for.
#[test]
fn carries() {
    let halves = ".reg .b32 %x<6>; mov.b64 {%x0,%x1}, %a; mov.b64 {%x2,%x3}, %b;";
    let add = format!(
        "{halves} add.cc.u32 %x4, %x0, %x2; addc.u32 %x5, %x1, %x3; mov.b64 %d, {{%x4,%x5}};"
    );
    check(&add, "u64", &["u64"; 2], &e64(), |v| {
        v[0].wrapping_add(v[1])
    });
    let sub = format!(
        "{halves} sub.cc.u32 %x4, %x0, %x2; subc.u32 %x5, %x1, %x3; mov.b64 %d, {{%x4,%x5}};"
    );
    check(&sub, "u64", &["u64"; 2], &e64(), |v| {
        v[0].wrapping_sub(v[1])
    });
    // The low 64 bits of a product, in four steps.
    let mul = format!(
        "{halves} mul.lo.u32 %x4, %x0, %x2; mul.hi.u32 %x5, %x0, %x2; mad.lo.u32 %x5, %x1, %x2, %x5; \
         mad.lo.u32 %x5, %x0, %x3, %x5; mov.b64 %d, {{%x4,%x5}};"
    );
    check(&mul, "u64", &["u64"; 2], &e64(), |v| {
        v[0].wrapping_mul(v[1])
    });
    let chain = "mad.lo.cc.u32 %d, %a, %b, %c; madc.hi.u32 %d, %a, %b, 0;";
    let three = vec![edges(32), edges(32), edges(32)[..8].to_vec()];
    check(chain, "u32", &["u32"; 3], &three, |v| {
        (v[0] * v[1] + v[2]) >> 32
    });
}

#[test]
fn comparisons_and_selection() {
    let columns = vec![edges(32), edges(32)];
    type Test = fn(i32, i32) -> bool;
    let tests: [(&str, Test); 6] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a != b),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
    ];
    for (name, f) in tests {
        check(
            &format!("setp.{name}.s32 %p, %a, %b; selp.u32 %d, 1, 0, %p;"),
            "u32",
            &["s32"; 2],
            &columns,
            |v| u64::from(f(s32(v[0]), s32(v[1]))),
        );
        check(
            &format!("set.{name}.u32.s32 %d, %a, %b;"),
            "u32",
            &["s32"; 2],
            &columns,
            |v| if f(s32(v[0]), s32(v[1])) { u64::MAX } else { 0 },
        );
    }
    check(
        "setp.lo.u32 %p, %a, %b; selp.u32 %d, 1, 0, %p;",
        "u32",
        &["u32"; 2],
        &columns,
        |v| u64::from(v[0] < v[1]),
    );
    check(
        "setp.lt.u16 %p, %a, %b; selp.u32 %d, 1, 0, %p;",
        "u32",
        &["u16"; 2],
        &[edges(16), edges(16)],
        |v| u64::from(v[0] < v[1]),
    );
    check(
        "setp.lt.s64 %p, %a, %b; selp.u32 %d, 1, 0, %p;",
        "u32",
        &["s64"; 2],
        &e64(),
        |v| u64::from((v[0] as i64) < v[1] as i64),
    );
    // Both results, and a combination with a negated predicate.
    let text = "setp.gt.u32 %q, %a, 100; setp.lt.and.u32 %p|%q, %a, %b, !%q; selp.u32 %d, 2, 0, %q; @%p add.u32 %d, %d, 1;";
    check(text, "u32", &["u32"; 2], &columns, |v| {
        let c = v[0] <= 100;
        u64::from((v[0] < v[1]) && c) + 2 * u64::from(v[0] >= v[1] && c)
    });
}

#[test]
fn moves() {
    check("mov.b64 %d, {%a, %b};", "u64", &["u32"; 2], &e32(), |v| {
        v[1] << 32 | v[0]
    });
    check(
        "mov.b32 %d, {%a, %b};",
        "u32",
        &["u16"; 2],
        &[edges(16), edges(16)],
        |v| v[1] << 16 | v[0],
    );
    check(
        ".reg .b16 %h<4>; mov.b64 {%h0,%h1,%h2,%h3}, %a; mov.b64 %d, {%h3,%h2,%h1,%h0};",
        "u64",
        &["u64"],
        &[edges(64)],
        |v| {
            (v[0] & 0xffff) << 48
                | (v[0] >> 16 & 0xffff) << 32
                | (v[0] >> 32 & 0xffff) << 16
                | v[0] >> 48
        },
    );
    check(
        ".reg .b32 %hi; mov.b64 {_, %hi}, %a; mov.u32 %d, %hi;",
        "u32",
        &["u64"],
        &[edges(64)],
        |v| v[0] >> 32,
    );
    check("neg.s32 %d, %a;", "s32", &["s32"], &[edges(32)], |v| {
        s32(v[0]).wrapping_neg() as u64
    });
    check("abs.s64 %d, %a;", "s64", &["s64"], &[edges(64)], |v| {
        (v[0] as i64).wrapping_abs() as u64
    });
}
