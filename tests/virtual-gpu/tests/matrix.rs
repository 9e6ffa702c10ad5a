//! Tensor-core instructions against plain matrix products.

mod common;
use common::{Card, HEAD, kernel};
use virtual_gpu::exec::floats::{BF16, E4M3, E5M2, F16, Format, Rounding, TF32};

/// D = A B + C of one warp: A is 16 x k by rows, B is k x 8 by columns, loaded by the layout of the manual.
fn product(
    shape: &str,
    ty: &str,
    sum: &str,
    k: usize,
    per: usize,
    format: Format,
    width: u32,
) -> (Vec<f64>, Vec<f32>) {
    let shift = if format.mantissa_bits == TF32.mantissa_bits && width == 32 {
        13
    } else {
        0
    };
    let encode = |v: f64| format.encode(v, Rounding::Nearest, true) << shift;
    // What the format holds of it: the products are exact from there.
    let value = |i: usize| {
        format.decode(format.encode(
            ((i * 7919 % 61) as f64 - 30.0) / 8.0,
            Rounding::Nearest,
            true,
        ))
    };
    let a: Vec<f64> = (0..16 * k).map(value).collect();
    let b: Vec<f64> = (0..8 * k).map(|i| value(i + 5)).collect();
    let pack = |m: &[f64]| -> Vec<u32> {
        m.chunks(per)
            .map(|c| {
                c.iter()
                    .enumerate()
                    .fold(0, |w, (i, v)| w | encode(*v) << (i as u32 * width))
            })
            .collect()
    };
    let c: Vec<f32> = (0..128).map(|i| i as f32 / 4.0).collect();
    let (na, words) = (2 * k / (4 * per), k / per);
    let mut load = String::new();
    for j in 0..na {
        // Row g + 8 (j & 1), word t + 4 (j >> 1).
        load += &format!(
            "ld.global.b32 %a{j}, [%rd4+{}]; ",
            4 * (8 * (j & 1) * words + 4 * (j >> 1))
        );
    }
    for j in 0..na / 2 {
        load += &format!("ld.global.b32 %b{j}, [%rd5+{}]; ", 16 * j);
    }
    let list = |name: &str, n: usize| {
        (0..n)
            .map(|i| format!("%{name}{i}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d) {{
            .reg .b32 %r<8>; .reg .b64 %rd<16>; .reg .b32 %a<4>; .reg .b32 %b<2>; .reg .f32 %c<4>; .reg .f32 %d<4>;
            ld.param.u64 %rd0, [a]; ld.param.u64 %rd1, [b]; ld.param.u64 %rd2, [c]; ld.param.u64 %rd3, [d];
            mov.u32 %r0, %laneid; shr.u32 %r1, %r0, 2; and.b32 %r2, %r0, 3;
            mad.lo.u32 %r3, %r1, {words}, %r2; mad.wide.u32 %rd4, %r3, 4, %rd0; mad.wide.u32 %rd5, %r3, 4, %rd1;
            shl.b32 %r4, %r1, 3; mad.lo.u32 %r4, %r2, 2, %r4; mad.wide.u32 %rd6, %r4, 4, %rd2; mad.wide.u32 %rd7, %r4, 4, %rd3;
            {load}
            ld.global.v2.f32 {{%c0,%c1}}, [%rd6]; ld.global.v2.f32 {{%c2,%c3}}, [%rd6+256];
            mma.sync.aligned.{shape}.row.col.{sum}.{ty}.{ty}.{sum} {{%d0,%d1,%d2,%d3}}, {{{}}}, {{{}}}, {{%c0,%c1,%c2,%c3}};
            st.global.v2.f32 [%rd7], {{%d0,%d1}}; st.global.v2.f32 [%rd7+256], {{%d2,%d3}}; ret; }}",
        list("a", na),
        list("b", na / 2),
    );
    let mut card = Card::new();
    let params = [
        card.upload(&pack(&a)),
        card.upload(&pack(&b)),
        card.upload(&c),
        card.alloc(512),
    ];
    card.launch(&kernel(&text, "k"), 1, 32, &params)
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    let want = (0..128)
        .map(|i| {
            f64::from(c[i])
                + (0..k)
                    .map(|j| a[i / 8 * k + j] * b[i % 8 * k + j])
                    .sum::<f64>()
        })
        .collect();
    (want, card.download(params[3], 128))
}

#[test]
fn products_of_all_types() {
    let check = |name: &str, (want, got): (Vec<f64>, Vec<f32>)| {
        for (i, (w, g)) in want.iter().zip(&got).enumerate() {
            assert!(
                (w - f64::from(*g)).abs() <= 1e-6 * (1.0 + w.abs()),
                "{name} element {i}: {g}, not {w}"
            );
        }
    };
    check("bf16", product("m16n8k16", "bf16", "f32", 16, 2, BF16, 16));
    check("bf16 k8", product("m16n8k8", "bf16", "f32", 8, 2, BF16, 16));
    check("f16", product("m16n8k16", "f16", "f32", 16, 2, F16, 16));
    check("tf32", product("m16n8k8", "tf32", "f32", 8, 1, TF32, 32));
    check("tf32 k4", product("m16n8k4", "tf32", "f32", 4, 1, TF32, 32));
    check("e4m3", product("m16n8k32", "e4m3", "f32", 32, 4, E4M3, 8));
    check("e5m2", product("m16n8k32", "e5m2", "f32", 32, 4, E5M2, 8));
}

#[test]
fn load_matrix() {
    for (transposed, suffix) in [(false, ""), (true, ".trans")] {
        let text = format!(
            "{HEAD}.visible .entry k(.param .u64 in, .param .u64 out) {{
                .reg .b32 %r<16>; .reg .b64 %rd<8>; .shared .align 16 .b8 tile[512];
                ld.param.u64 %rd0, [in]; ld.param.u64 %rd1, [out]; mov.u32 %r0, %laneid; shl.b32 %r1, %r0, 4; cvt.u64.u32 %rd2, %r1;
                add.u64 %rd3, %rd0, %rd2; ld.global.v4.u32 {{%r2,%r3,%r4,%r5}}, [%rd3]; mov.u32 %r6, tile; add.u32 %r6, %r6, %r1;
                st.shared.v4.u32 [%r6], {{%r2,%r3,%r4,%r5}}; bar.sync 0;
                ldmatrix.sync.aligned.m8n8.x4{suffix}.shared.b16 {{%r8,%r9,%r10,%r11}}, [%r6];
                add.u64 %rd4, %rd1, %rd2; st.global.v4.u32 [%rd4], {{%r8,%r9,%r10,%r11}}; ret; }}"
        );
        let mut card = Card::new();
        let input: Vec<u16> = (0..256).collect();
        let params = [card.upload(&input), card.alloc(512)];
        card.launch(&kernel(&text, "k"), 1, 32, &params)
            .unwrap_or_else(|e| panic!("{e}"));
        let got: Vec<u16> = card.download(params[1], 256);
        for lane in 0..32usize {
            for matrix in 0..4 {
                for half in 0..2 {
                    let (r, c) = (lane / 4, 2 * (lane % 4) + half);
                    let (r, c) = if transposed { (c, r) } else { (r, c) };
                    assert_eq!(
                        got[lane * 8 + matrix * 2 + half] as usize,
                        matrix * 64 + r * 8 + c,
                        "lane {lane} matrix {matrix}"
                    );
                }
            }
        }
    }
}
