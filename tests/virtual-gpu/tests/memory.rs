//! Loads, stores and atomics in every space; what is out of bounds, misaligned or never written.

mod common;
use common::{Card, HEAD, kernel};
use virtual_gpu::exec::{Cause, KernelFault};

fn run(card: &mut Card, body: &str, threads: u32, params: &[u64]) -> Result<(), KernelFault> {
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 a, .param .u64 b) {{
            .reg .pred %p<4>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .f32 %f<8>; .reg .f64 %fd<4>; .reg .b64 %rd<16>;
            .local .align 16 .b8 own[64]; .shared .align 16 .b8 all[256];
            ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; mov.u32 %r1, %tid.x; cvt.u64.u32 %rd3, %r1;
            {body}
            ret; }}"
    );
    card.launch(&kernel(&text, "k"), 1, threads, params)
        .map(|_| ())
}

#[test]
fn widths_and_signs() {
    let mut card = Card::new();
    let from = card.upload(
        &(0..64u32)
            .map(|i| (i * 37) as u8 ^ 0x80)
            .collect::<Vec<_>>(),
    );
    let to = card.upload(&[0i64; 64]);
    let body = "add.u64 %rd4, %rd1, %rd3; ld.global.s8 %r2, [%rd4]; cvt.s64.s32 %rd5, %r2; shl.b64 %rd6, %rd3, 3; add.u64 %rd6, %rd6, %rd2; st.global.u64 [%rd6], %rd5;";
    run(&mut card, body, 64, &[from, to]).unwrap();
    assert_eq!(
        card.download::<i64>(to, 64),
        (0..64u32)
            .map(|i| i64::from(((i * 37) as u8 ^ 0x80) as i8))
            .collect::<Vec<_>>()
    );
    // Vectors, and a 64-bit register for a narrow value.
    let from = card.upload(&(0..128u32).collect::<Vec<_>>());
    let to = card.upload(&[0u32; 128]);
    let body = "shl.b64 %rd4, %rd3, 4; add.u64 %rd5, %rd1, %rd4; add.u64 %rd6, %rd2, %rd4; ld.global.nc.L1::no_allocate.v4.u32 {%r2,%r3,%r4,%r5}, [%rd5];
        st.global.v2.u32 [%rd6], {%r5,%r4}; st.global.v2.b32 [%rd6+8], {%r3,%r2};";
    run(&mut card, body, 32, &[from, to]).unwrap();
    let got = card.download::<u32>(to, 128);
    assert!(got.chunks(4).enumerate().all(|(i, v)| v
        == [
            4 * i as u32 + 3,
            4 * i as u32 + 2,
            4 * i as u32 + 1,
            4 * i as u32
        ]));
}

#[test]
fn spaces_through_generic_addresses() {
    let mut card = Card::new();
    let to = card.upload(&[0u32; 32]);
    let body = "mov.u64 %rd4, own; cvta.local.u64 %rd5, %rd4; add.u32 %r2, %r1, 5; st.u32 [%rd5+8], %r2; ld.local.u32 %r3, [own+8];
        shl.b32 %r4, %r1, 2; cvt.u64.u32 %rd6, %r4; mov.u64 %rd7, all; cvta.shared.u64 %rd8, %rd7; add.u64 %rd8, %rd8, %rd6; st.u32 [%rd8], %r3;
        cvta.to.shared.u64 %rd9, %rd8; ld.shared.u32 %r5, [%rd9]; isspacep.shared %p0, %rd8; isspacep.local %p1, %rd8; selp.u32 %r6, 100, 0, %p0; @%p1 add.u32 %r6, %r6, 1000;
        add.u32 %r5, %r5, %r6; add.u64 %rd10, %rd2, %rd6; st.u32 [%rd10], %r5;";
    run(&mut card, body, 32, &[0, to]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(card.download::<u32>(to, 32), (105..137).collect::<Vec<_>>());
}

#[test]
fn faults_name_their_place() {
    let mut card = Card::new();
    let small = card.upload(&[1u32; 20]);
    let index = "shl.b64 %rd4, %rd3, 2; add.u64 %rd5, %rd1, %rd4;";
    let f = run(
        &mut card,
        &format!("{index} ld.global.u32 %r2, [%rd5];"),
        32,
        &[small, 0],
    )
    .unwrap_err();
    assert!(
        f.cause == Cause::IllegalAddress
            && f.thread == Some([20, 0, 0])
            && f.kernel == "k"
            && f.line > 4,
        "{f}"
    );
    let f = run(&mut card, "ld.global.u32 %r2, [%rd1+2];", 1, &[small, 0]).unwrap_err();
    assert_eq!(f.cause, Cause::Misaligned, "{f}");
    let f = run(
        &mut card,
        "ld.global.v4.u32 {%r2,%r3,%r4,%r5}, [%rd1+8];",
        1,
        &[small, 0],
    )
    .unwrap_err();
    assert_eq!(f.cause, Cause::Misaligned, "{f}");
    let f = run(&mut card, "st.shared.u32 [all+256], %r1;", 1, &[small, 0]).unwrap_err();
    assert!(f.message.contains("shared"), "{f}");
    let f = run(&mut card, "ld.global.u32 %r2, [%rd2];", 1, &[small, 0]).unwrap_err();
    assert_eq!(f.cause, Cause::IllegalAddress, "{f}");
    // Between two allocations there is a gap.
    let next = card.upload(&[1u32; 4]);
    assert!(next >= small + 512 + 80 || next < small);
    card.space.free(small);
    let f = run(&mut card, "ld.global.u32 %r2, [%rd1];", 1, &[small, 0]).unwrap_err();
    assert_eq!(f.cause, Cause::IllegalAddress, "freed memory: {f}");
}

#[test]
fn unwritten_memory_is_poison_or_a_fault() {
    let mut card = Card::new();
    let fresh = card.alloc(64);
    let to = card.upload(&[0u32; 32]);
    let body = "st.global.u16 [%rd1], %h0; ld.global.u32 %r2, [%rd1]; st.global.u32 [%rd2], %r2;";
    let body = format!("mov.b16 %h0, 0x1234; {body}");
    let f = run(&mut card, &body, 1, &[fresh, to]).unwrap_err();
    assert!(f.message.contains("never written"), "{f}");
    let fresh = card.alloc(64);
    card.limits.strict = false;
    run(&mut card, &body, 1, &[fresh, to]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(card.download::<u32>(to, 1)[0], 0xffff_1234);
}

#[test]
fn atomics() {
    type Step = fn(u64, u64) -> u64;
    let cases: [(&str, &str, u64, Step); 9] = [
        ("add.u32", "%r1", 4, |o, t| o + t),
        ("max.u32", "%r1", 4, |o, t| o.max(t)),
        ("min.s32", "%r1", 4, |o, t| {
            (o as i32).min(t as i32) as u32 as u64
        }),
        ("or.b32", "%r1", 4, |o, t| o | t),
        ("xor.b32", "%r1", 4, |o, t| o ^ t),
        ("and.b32", "%r1", 4, |o, t| o & t),
        ("add.u64", "%rd3", 8, |o, t| o + t),
        ("max.s64", "%rd3", 8, |o, t| (o as i64).max(t as i64) as u64),
        ("inc.u32", "%r1", 4, |o, t| if o >= t { 0 } else { o + 1 }),
    ];
    for (op, register, bytes, f) in cases {
        for space in ["global", "shared"] {
            let mut card = Card::new();
            let at = card.upload(&[3u64]);
            let to = card.upload(&[0u64; 64]);
            let (base, before, after) = match space {
                "global" => ("%rd1", "", ""),
                _ => (
                    "all",
                    "setp.ne.u32 %p0, %r1, 0; @%p0 bra S; mov.u64 %rd8, 3; st.shared.u64 [all], %rd8; S: bar.sync 0;",
                    "bar.sync 0; ld.shared.u64 %rd9, [all]; st.global.u64 [%rd1], %rd9;",
                ),
            };
            // One lane at a time in any order gives the same end for these; `inc` and `and` follow lane order within a warp.
            run(
                &mut card,
                &format!("{before} red.{space}.{op} [{base}], {register}; {after}"),
                32,
                &[at, to],
            )
            .unwrap_or_else(|e| panic!("{e}"));
            let mut want = 3;
            for t in 0..32 {
                want = f(want, t);
            }
            let mask = if bytes == 8 {
                u64::MAX
            } else {
                u32::MAX.into()
            };
            assert_eq!(
                card.download::<u64>(at, 1)[0] & mask,
                want & mask,
                "{op} {space}"
            );
        }
    }
    let mut card = Card::new();
    let at = card.upload(&[0f32, 0.0]);
    let to = card.upload(&[0u32; 32]);
    run(&mut card, "cvt.rn.f32.u32 %f1, %r1; atom.global.add.f32 %f2, [%rd1], %f1; add.f32 %f2, %f2, %f1; shl.b64 %rd4, %rd3, 2; add.u64 %rd4, %rd4, %rd2; st.global.f32 [%rd4], %f2;", 32, &[at, to]).unwrap();
    assert_eq!(card.download::<f32>(at, 1)[0], 496.0);
    assert_eq!(card.download::<f32>(to, 32)[31], 496.0);
    // bf16 by compare-and-swap of 16 bits, and packed halves.
    let at = card.upload(&[0x3f80_3f80u32]);
    run(&mut card, "mov.b32 %r2, 0x3f803f80; atom.global.add.noftz.bf16x2 %r3, [%rd1], %r2; mov.b16 %h1, 0x1111; mov.b16 %h2, 0x4080; atom.global.cas.b16 %h3, [%rd1], %h2, %h1;", 3, &[at, to]).unwrap();
    assert_eq!(card.download::<u32>(at, 1)[0], 0x4080_1111);
}

#[test]
fn async_copies_come_late() {
    let mut card = Card::new();
    let from = card.upload(&(0..64u32).collect::<Vec<_>>());
    let to = card.upload(&[0u32; 64]);
    let start = "shl.b32 %r2, %r1, 4; mov.u32 %r3, all; add.u32 %r3, %r3, %r2; cvt.u64.u32 %rd4, %r2; add.u64 %rd5, %rd1, %rd4; add.u64 %rd6, %rd2, %rd4;
        cp.async.cg.shared.global.L2::128B [%r3], [%rd5], 16, SIZE; cp.async.commit_group;";
    let end =
        "ld.shared.v4.u32 {%r4,%r5,%r6,%r7}, [%r3]; st.global.v4.u32 [%rd6], {%r4,%r5,%r6,%r7};";
    let whole = start.replace("SIZE", "16");
    run(
        &mut card,
        &format!("{whole} cp.async.wait_group 0; {end}"),
        16,
        &[from, to],
    )
    .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(card.download::<u32>(to, 64), (0..64).collect::<Vec<_>>());
    let f = run(
        &mut card,
        &format!("{whole} cp.async.wait_group 1; {end}"),
        16,
        &[from, to],
    )
    .unwrap_err();
    assert!(
        f.message.contains("never written"),
        "without a wait nothing has come: {f}"
    );
    let part = start.replace("SIZE", "8");
    run(
        &mut card,
        &format!("{part} cp.async.wait_all; {end}"),
        16,
        &[from, to],
    )
    .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(card.download::<u32>(to, 8), [0, 1, 0, 0, 4, 5, 0, 0]);
}
