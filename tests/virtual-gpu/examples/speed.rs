//! How many instructions a second the interpreter does: a loop of multiply-adds, and one of loads.

#[path = "../tests/common/mod.rs"]
mod common;
use common::{Card, HEAD, kernel};

fn main() {
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 p, .param .u32 n) {{
            .reg .pred %q; .reg .b32 %r<6>; .reg .f32 %f<4>; .reg .b64 %rd<4>;
            ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n];
            mov.u32 %r2, %tid.x; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x;
            mad.lo.s32 %r2, %r3, %r4, %r2;
            mul.wide.u32 %rd2, %r2, 4; add.s64 %rd3, %rd1, %rd2;
            mov.f32 %f1, 0f3F800000; mov.f32 %f2, 0f3F000000; mov.u32 %r5, 0;
        L:  fma.rn.f32 %f1, %f1, %f2, %f2; fma.rn.f32 %f1, %f1, %f2, %f2;
            fma.rn.f32 %f1, %f1, %f2, %f2; fma.rn.f32 %f1, %f1, %f2, %f2;
            ld.global.f32 %f3, [%rd3]; add.f32 %f1, %f1, %f3;
            add.s32 %r5, %r5, 1; setp.lt.u32 %q, %r5, %r1; @%q bra L;
            st.global.f32 [%rd3], %f1; ret; }}"
    );
    let kernel = kernel(&text, "k");
    for workers in [1, 2] {
        let mut card = Card::new();
        card.limits.workers = workers;
        card.limits.traffic = false;
        let at = card.upload(&vec![0f32; 64 * 256]);
        let started = std::time::Instant::now();
        let counters = card.launch(&kernel, 64, 256, &[at, 1000]).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let millions = counters.thread_instructions as f64 / 1e6;
        println!(
            "{workers} threads: {millions:.0} M instructions in {seconds:.3} s: {:.0} M/s",
            millions / seconds
        );
    }
}
