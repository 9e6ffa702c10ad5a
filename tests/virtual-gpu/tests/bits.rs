//! Bits, shifts, fields and permutations, over edge values.

mod common;
use common::{check, edges, s32};

fn e64() -> Vec<Vec<u64>> {
    vec![edges(64), edges(64)]
}

fn e32() -> Vec<Vec<u64>> {
    vec![edges(32), edges(32)]
}

#[test]
fn bits() {
    check("and.b32 %d, %a, %b;", "u32", &["u32"; 2], &e32(), |v| {
        v[0] & v[1]
    });
    check("or.b64 %d, %a, %b;", "u64", &["u64"; 2], &e64(), |v| {
        v[0] | v[1]
    });
    check(
        "xor.b16 %d, %a, %b;",
        "u16",
        &["u16"; 2],
        &[edges(16), edges(16)],
        |v| v[0] ^ v[1],
    );
    check("not.b32 %d, %a;", "u32", &["u32"], &[edges(32)], |v| !v[0]);
    check("cnot.b32 %d, %a;", "u32", &["u32"], &[edges(32)], |v| {
        u64::from(v[0] == 0)
    });
    check("popc.b64 %d, %a;", "u32", &["u64"], &[edges(64)], |v| {
        v[0].count_ones().into()
    });
    check("popc.b32 %d, %a;", "u32", &["u32"], &[edges(32)], |v| {
        v[0].count_ones().into()
    });
    check("clz.b32 %d, %a;", "u32", &["u32"], &[edges(32)], |v| {
        (v[0] as u32).leading_zeros().into()
    });
    check("clz.b64 %d, %a;", "u32", &["u64"], &[edges(64)], |v| {
        v[0].leading_zeros().into()
    });
    check("brev.b32 %d, %a;", "u32", &["u32"], &[edges(32)], |v| {
        (v[0] as u32).reverse_bits().into()
    });
    check("bfind.u32 %d, %a;", "u32", &["u32"], &[edges(32)], |v| {
        (v[0] as u32).checked_ilog2().map_or(u64::MAX, u64::from)
    });
    check("bfind.s32 %d, %a;", "u32", &["u32"], &[edges(32)], |v| {
        let a = s32(v[0]);
        ((if a < 0 { !a } else { a }) as u32)
            .checked_ilog2()
            .map_or(u64::MAX, u64::from)
    });
    check("shl.b32 %d, %a, %b;", "u32", &["u32"; 2], &e32(), |v| {
        if v[1] < 32 { v[0] << v[1] } else { 0 }
    });
    check("shr.u32 %d, %a, %b;", "u32", &["u32"; 2], &e32(), |v| {
        if v[1] < 32 { v[0] >> v[1] } else { 0 }
    });
    check("shr.s32 %d, %a, %b;", "s32", &["s32", "u32"], &e32(), |v| {
        (s32(v[0]) >> v[1].min(31)) as u64
    });
    check(
        "shl.b64 %d, %a, %b;",
        "u64",
        &["u64", "u32"],
        &[edges(64), edges(32)],
        |v| if v[1] < 64 { v[0] << v[1] } else { 0 },
    );
    check(
        "shr.s64 %d, %a, %b;",
        "s64",
        &["s64", "u32"],
        &[edges(64), edges(32)],
        |v| ((v[0] as i64) >> v[1].min(63)) as u64,
    );
    check(
        "shr.u16 %d, %a, %b;",
        "u16",
        &["u16", "u32"],
        &[edges(16), edges(32)],
        |v| if v[1] < 16 { v[0] >> v[1] } else { 0 },
    );
    let three = vec![edges(32), edges(32), edges(32)];
    for table in [0x80u32, 0xfe, 0x96, 0xe8, 0x1b, 0x2a] {
        check(
            &format!("lop3.b32 %d, %a, %b, %c, {table:#x};"),
            "u32",
            &["u32"; 3],
            &three,
            |v| {
                (0..32).fold(0, |out, bit| {
                    let row = (v[0] >> bit & 1) << 2 | (v[1] >> bit & 1) << 1 | (v[2] >> bit & 1);
                    out | u64::from(table >> row & 1) << bit
                })
            },
        );
    }
    check(
        "shf.l.wrap.b32 %d, %a, %b, %c;",
        "u32",
        &["u32"; 3],
        &three,
        |v| ((v[1] << 32 | v[0]) << (v[2] & 31)) >> 32,
    );
    check(
        "shf.r.clamp.b32 %d, %a, %b, %c;",
        "u32",
        &["u32"; 3],
        &three,
        |v| (v[1] << 32 | v[0]) >> v[2].min(32),
    );
    check(
        "prmt.b32 %d, %a, %b, %c;",
        "u32",
        &["u32"; 3],
        &three,
        |v| {
            let bytes = (v[1] << 32 | v[0]).to_le_bytes();
            (0..4).fold(0, |out, at| {
                let n = v[2] >> (4 * at) & 15;
                let b = bytes[(n & 7) as usize];
                let b = if n & 8 == 0 {
                    b
                } else if b & 0x80 != 0 {
                    0xff
                } else {
                    0
                };
                out | u64::from(b) << (8 * at)
            })
        },
    );
}

#[test]
fn fields() {
    let columns = vec![
        edges(32),
        vec![0, 1, 5, 16, 31, 32, 40],
        vec![0, 1, 7, 16, 31, 32, 33],
    ];
    let reference = |v: &[u64], signed: bool| {
        let (p, n) = (v[1] & 255, v[2] & 255);
        let sign = if !signed || n == 0 {
            0
        } else {
            v[0] >> (p + n - 1).min(31) & 1
        };
        (0..32).fold(0, |d, i| {
            d | (if i < n && p + i <= 31 {
                v[0] >> (p + i) & 1
            } else {
                sign
            }) << i
        })
    };
    check(
        "bfe.u32 %d, %a, %b, %c;",
        "u32",
        &["u32"; 3],
        &columns,
        |v| reference(v, false),
    );
    check(
        "bfe.s32 %d, %a, %b, %c;",
        "s32",
        &["s32", "u32", "u32"],
        &columns,
        |v| reference(v, true),
    );
    let four = vec![
        edges(32),
        edges(32)[..8].to_vec(),
        vec![0, 1, 16, 31, 32],
        vec![0, 1, 9, 32],
    ];
    check(
        "bfi.b32 %d, %a, %b, %c, %e;",
        "u32",
        &["u32"; 4],
        &four,
        |v| {
            (0..32).fold(0, |d, i| {
                let inside = i >= v[2] && i < v[2] + v[3];
                d | (if inside {
                    v[0] >> (i - v[2]) & 1
                } else {
                    v[1] >> i & 1
                }) << i
            })
        },
    );
}
