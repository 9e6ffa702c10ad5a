//! Divergence, barriers, exchange between lanes, memory rules, races: what a warp and a block do together.

mod common;
use common::{Card, HEAD, kernel};
use virtual_gpu::exec::{Cause, KernelFault};

/// A kernel with `out` (u32 per thread) in %rd2 (own place) and %rd1 (start), thread in %r1, block in %r2.
fn text(shared: &str, body: &str) -> String {
    format!(
        "{HEAD}.visible .entry k(.param .u64 out) {{
            .reg .pred %p<8>; .reg .b32 %r<32>; .reg .b64 %rd<8>; {shared}
            ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
            mad.lo.u32 %r4, %r2, %r3, %r1; mad.wide.u32 %rd2, %r4, 4, %rd1;
            {body}
            ret; }}"
    )
}

fn try_run(shared: &str, body: &str, grid: u32, block: u32) -> Result<Vec<u32>, KernelFault> {
    let mut card = Card::new();
    card.limits.instructions = 1 << 22;
    let count = (grid * block) as usize;
    let out = card.upload(&vec![0xdeadu32; count]);
    card.launch(&kernel(&text(shared, body), "k"), grid, block, &[out])?;
    Ok(card.download(out, count))
}

fn run(shared: &str, body: &str, grid: u32, block: u32) -> Vec<u32> {
    try_run(shared, body, grid, block).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn lanes_part_and_meet() {
    // Odd lanes take a longer way; a loop ends at a different time for each lane.
    let body = "and.b32 %r5, %r1, 1; setp.eq.u32 %p0, %r5, 1; mov.u32 %r6, 10; @%p0 bra ODD; add.u32 %r6, %r6, 1; bra MEET;
        ODD: add.u32 %r6, %r6, 100; MEET: mov.u32 %r7, 0;
        LOOP: add.u32 %r6, %r6, 1; add.u32 %r7, %r7, 1; setp.lt.u32 %p1, %r7, %r1; @%p1 bra LOOP;
        activemask.b32 %r8; setp.ne.u32 %p2, %r8, 0xffffffff; @%p2 add.u32 %r6, %r6, 5000;
        st.global.u32 [%rd2], %r6;";
    for (t, got) in run("", body, 3, 32).into_iter().enumerate() {
        let t = t as u32 % 32;
        assert_eq!(
            got,
            if t % 2 == 1 { 110 } else { 11 } + t.max(1),
            "thread {t}: lanes must be together again"
        );
    }
}

#[test]
fn lanes_that_return_early() {
    let body = "setp.ge.u32 %p0, %r1, 20; @%p0 ret; shfl.sync.down.b32 %r5, %r1, 1, 31, 0xfffff; st.global.u32 [%rd2], %r5;";
    let got = run("", body, 1, 32);
    assert_eq!(got[..19], (1..20).collect::<Vec<u32>>());
    assert_eq!(got[20], 0xdead);
}

#[test]
fn shuffles() {
    for (mode, b, c, want) in [
        ("bfly", 5u32, 31u32, (|t| t ^ 5) as fn(u32) -> u32),
        ("down", 3, 31, |t| if t + 3 < 32 { t + 3 } else { t }),
        ("up", 4, 0, |t| if t >= 4 { t - 4 } else { t }),
        ("idx", 7, 31, |_| 7),
        ("idx", 3, 0x181f, |t| t / 8 * 8 + 3), // segments of eight
        ("down", 1, 0x101f, |t| if t % 16 < 15 { t + 1 } else { t }), // segments of sixteen
    ] {
        let body = format!(
            "shfl.sync.{mode}.b32 %r5|%p0, %r1, {b}, {c}, 0xffffffff; st.global.u32 [%rd2], %r5;"
        );
        let got = run("", &body, 1, 32);
        assert_eq!(
            got,
            (0..32).map(want).collect::<Vec<_>>(),
            "{mode} {b} {c:#x}"
        );
    }
}

#[test]
fn votes_matches_and_reductions() {
    let store = "st.global.u32 [%rd2], %r5;";
    let all = |body: &str| {
        run(
            "",
            &format!("setp.lt.u32 %p0, %r1, 12; {body} {store}"),
            1,
            32,
        )
    };
    assert!(
        all("vote.sync.ballot.b32 %r5, %p0, 0xffffffff;")
            .iter()
            .all(|v| *v == 0xfff)
    );
    assert!(
        all("vote.sync.ballot.b32 %r5, !%p0, 0xffffffff;")
            .iter()
            .all(|v| *v == !0xfff)
    );
    assert!(
        all("vote.sync.any.pred %p1, %p0, 0xffffffff; selp.u32 %r5, 1, 0, %p1;")
            .iter()
            .all(|v| *v == 1)
    );
    assert!(
        all("vote.sync.all.pred %p1, %p0, 0xffffffff; selp.u32 %r5, 1, 0, %p1;")
            .iter()
            .all(|v| *v == 0)
    );
    assert!(
        all("redux.sync.add.u32 %r5, %r1, 0xffffffff;")
            .iter()
            .all(|v| *v == 31 * 16)
    );
    assert!(
        all("redux.sync.max.s32 %r5, %r1, 0xffffffff;")
            .iter()
            .all(|v| *v == 31)
    );
    let got = all("and.b32 %r6, %r1, 3; match.any.sync.b32 %r5, %r6, 0xffffffff;");
    assert!(
        got.iter()
            .enumerate()
            .all(|(t, v)| *v == 0x1111_1111 << (t % 4))
    );
    // A half of the warp shuffles by itself, in its own branch.
    let got = all(
        "@%p0 bra A; shfl.sync.idx.b32 %r5, %r1, 20, 31, 0xfffff000; bra B; A: shfl.sync.idx.b32 %r5, %r1, 2, 31, 0xfff; B:",
    );
    assert!(
        got.iter()
            .enumerate()
            .all(|(t, v)| *v == if t < 12 { 2 } else { 20 })
    );
}

const SUM: &str = "shl.b32 %r5, %r1, 2; mov.u32 %r6, buffer; add.u32 %r6, %r6, %r5; st.shared.u32 [%r6], %r1; SYNC
    mov.u32 %r7, 64; LOOP: setp.ge.u32 %p0, %r1, %r7; @%p0 bra SKIP; shl.b32 %r8, %r7, 2; add.u32 %r9, %r6, %r8;
    ld.shared.u32 %r10, [%r9]; ld.shared.u32 %r11, [%r6]; add.u32 %r11, %r11, %r10; st.shared.u32 [%r6], %r11;
    SKIP: SYNC shr.u32 %r7, %r7, 1; setp.ne.u32 %p1, %r7, 0; @%p1 bra LOOP;
    ld.shared.u32 %r12, [buffer]; st.global.u32 [%rd2], %r12;";

#[test]
fn blocks_meet_at_barriers() {
    let shared = ".shared .align 4 .b8 buffer[512];";
    let got = run(shared, &SUM.replace("SYNC", "bar.sync 0;"), 5, 128);
    assert!(got.iter().all(|v| *v == 127 * 64));
    let fault = try_run(shared, &SUM.replace("SYNC", ""), 5, 128).unwrap_err();
    assert!(
        fault.message.contains("never written") || fault.message.contains("race"),
        "{fault}"
    );
    // Only the barrier within the loop is missing: a race, not an unwritten read.
    let fault = try_run(
        shared,
        &SUM.replacen("SYNC", "bar.sync 0;", 1).replace("SYNC", ""),
        5,
        128,
    )
    .unwrap_err();
    assert!(
        fault.cause == Cause::Misuse && fault.message.contains("race"),
        "{fault}"
    );
}

#[test]
fn counted_barriers_and_reductions() {
    // Warps 0 and 1 hand over to 2 and 3: producers arrive, consumers wait.
    let shared = ".shared .align 4 .b8 buffer[256];";
    let body = "setp.lt.u32 %p0, %r1, 64; @!%p0 bra READ;
        shl.b32 %r5, %r1, 2; mov.u32 %r6, buffer; add.u32 %r6, %r6, %r5; mul.lo.u32 %r7, %r1, 3; st.shared.u32 [%r6], %r7;
        bar.arrive 3, 128; st.global.u32 [%rd2], %r7; bra END;
        READ: bar.sync 3, 128; sub.u32 %r8, %r1, 64; shl.b32 %r8, %r8, 2; mov.u32 %r6, buffer; add.u32 %r6, %r6, %r8;
        ld.shared.u32 %r7, [%r6]; st.global.u32 [%rd2], %r7; END:";
    let got = run(shared, body, 2, 128);
    assert!(
        got.iter()
            .enumerate()
            .all(|(t, v)| *v == (t as u32 % 64) * 3)
    );
    let count =
        "setp.lt.u32 %p0, %r1, 37; bar.red.popc.u32 %r5, 0, %p0; st.global.u32 [%rd2], %r5;";
    assert!(run("", count, 1, 96).iter().all(|v| *v == 37));
    let any = "setp.eq.u32 %p0, %r1, 70; barrier.cta.red.or.pred %p1, 0, %p0; selp.u32 %r5, 7, 8, %p1; st.global.u32 [%rd2], %r5;";
    assert!(run("", any, 1, 96).iter().all(|v| *v == 7));
}

#[test]
fn misuse_is_named() {
    let fault = |body: &str, threads| try_run("", body, 1, threads).unwrap_err();
    // Half of the block never comes.
    let f = fault(
        "setp.lt.u32 %p0, %r1, 32; @%p0 bra A; bar.sync 1, 96; A: bar.sync 0;",
        64,
    );
    assert!(f.message.contains("for ever"), "{f}");
    // A lane shuffles under a mask without it.
    let f = fault("shfl.sync.idx.b32 %r5, %r1, 0, 31, 0xffff;", 32);
    assert!(
        f.message.contains("not in the mask") && f.thread == Some([16, 0, 0]),
        "{f}"
    );
    // Lanes named in a mask are elsewhere for ever.
    let f = fault(
        "setp.lt.u32 %p0, %r1, 16; @%p0 bra A; bar.sync 0; bra B; A: shfl.sync.idx.b32 %r5, %r1, 0, 31, 0xffffffff; B:",
        32,
    );
    assert!(f.message.contains("for ever"), "{f}");
    let f = fault("L: bra L;", 32);
    assert_eq!(f.cause, Cause::Timeout, "{f}");
    let f = fault("setp.eq.u32 %p0, %r1, 3; @%p0 trap;", 32);
    assert!(f.cause == Cause::Trap && f.thread == Some([3, 0, 0]), "{f}");
}

#[test]
fn a_warp_barrier_orders_its_lanes() {
    let shared = ".shared .align 4 .b8 buffer[128];";
    let body = "shl.b32 %r5, %r1, 2; mov.u32 %r6, buffer; add.u32 %r7, %r6, %r5; st.shared.u32 [%r7], %r1; SYNC
        xor.b32 %r5, %r5, 4; add.u32 %r8, %r6, %r5; ld.shared.u32 %r9, [%r8]; st.global.u32 [%rd2], %r9;";
    let got = run(
        shared,
        &body.replace("SYNC", "bar.warp.sync 0xffffffff;"),
        1,
        32,
    );
    assert!(got.iter().enumerate().all(|(t, v)| *v == t as u32 ^ 1));
    let f = try_run(shared, &body.replace("SYNC", ""), 1, 32).unwrap_err();
    assert!(f.message.contains("race"), "{f}");
    // In two branches of their own, lanes still meet.
    let body = "setp.lt.u32 %p0, %r1, 9; @%p0 bra A; bar.warp.sync 0xffffffff; bra B; A: bar.warp.sync 0xffffffff; B: st.global.u32 [%rd2], %r1;";
    assert_eq!(run("", body, 1, 32), (0..32).collect::<Vec<u32>>());
}

/// A lane that spins until another one of its warp lets it go: forward progress of every lane.
#[test]
fn lanes_that_spin_let_others_run() {
    let shared = ".shared .align 4 .b8 lock[4];";
    let body = "setp.ne.u32 %p0, %r1, 0; @%p0 bra W; mov.u32 %r5, 0; st.shared.u32 [lock], %r5; W: bar.warp.sync 0xffffffff;
        TRY: atom.shared.cas.b32 %r6, [lock], 0, 1; setp.ne.u32 %p1, %r6, 0; @%p1 bra TRY;
        ld.global.u32 %r7, [%rd1]; add.u32 %r7, %r7, 1; st.global.u32 [%rd1], %r7;
        atom.shared.exch.b32 %r8, [lock], 0;";
    let mut card = Card::new();
    card.limits.races = false;
    let out = card.upload(&[0u32; 32]);
    card.launch(&kernel(&text(shared, body), "k"), 1, 32, &[out])
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(card.download::<u32>(out, 1)[0], 32);
}

#[test]
fn calls_are_laid_out_in_place() {
    let text = format!(
        "{HEAD}.func (.param .b32 back) twice(.param .b32 given) {{ .reg .pred %p; .reg .b32 %r<3>; ld.param.b32 %r1, [given];
            setp.gt.u32 %p, %r1, 20; @%p bra BIG; add.u32 %r2, %r1, %r1; st.param.b32 [back], %r2; ret;
            BIG: mov.u32 %r2, 7; st.param.b32 [back], %r2; ret; }}
        .visible .entry k(.param .u64 out) {{ .reg .b32 %r<5>; .reg .b64 %rd<4>; ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x;
            {{ .param .b32 p0; st.param.b32 [p0], %r1; .param .b32 r0; call.uni (r0), twice, (p0); ld.param.b32 %r2, [r0]; }}
            {{ .param .b32 p0; st.param.b32 [p0], %r2; .param .b32 r0; call.uni (r0), twice, (p0); ld.param.b32 %r2, [r0]; }}
            mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.u32 [%rd2], %r2; ret; }}"
    );
    let mut card = Card::new();
    let out = card.upload(&[0u32; 32]);
    card.launch(&kernel(&text, "k"), 1, 32, &[out])
        .unwrap_or_else(|e| panic!("{e}"));
    let twice = |v: u32| if v > 20 { 7 } else { 2 * v };
    assert_eq!(
        card.download::<u32>(out, 32),
        (0..32).map(|t| twice(twice(t))).collect::<Vec<_>>()
    );
}
