//! Which order of memory holds between devices: each pattern with its fence over many seeds, and without it, when
//! some seed must show that it is missing. Each case in a process of its own.

mod api;

use api::*;

const SEEDS: usize = 1000;
/// Bytes between words, so that no cache keeps two together.
const APART: usize = 128;
const WARP: u32 = 32;

/// How a message is left and taken.
struct Pattern {
    name: &'static str,
    /// Between the data's threads and the one that says so.
    barrier: &'static str,
    /// Between that and the flag.
    release: &'static str,
    flag: &'static str,
    poll: &'static str,
    /// Between the flag and the block's barrier, after which all take the data.
    acquire: &'static str,
    holds: bool,
}

const fn pattern(
    name: &'static str,
    [barrier, release, flag, poll, acquire]: [&'static str; 5],
    holds: bool,
) -> Pattern {
    Pattern {
        name,
        barrier,
        release,
        flag,
        poll,
        acquire,
        holds,
    }
}

const BLOCK: &str = "bar.sync 0;";
const LANES: &str = "bar.warp.sync 0xffffffff;";
const STORE: &str = "st.volatile.global.u32";
const LOAD: &str = "ld.volatile.global.u32";
const STORE_RELAXED: &str = "st.relaxed.sys.global.u32";
const RELEASE: &str = "st.release.sys.global.u32";
const ACQUIRE: &str = "ld.acquire.sys.global.u32";

const PATTERNS: [Pattern; 17] = [
    pattern(
        "membar",
        [BLOCK, "membar.sys;", STORE, LOAD, "membar.sys;"],
        true,
    ),
    pattern(
        "no membar before the flag",
        [BLOCK, "", STORE, LOAD, "membar.sys;"],
        false,
    ),
    pattern(
        "no membar after the flag",
        [BLOCK, "membar.sys;", STORE, LOAD, ""],
        false,
    ),
    pattern(
        "release and acquire",
        [BLOCK, "", RELEASE, ACQUIRE, ""],
        true,
    ),
    pattern("no release", [BLOCK, "", STORE_RELAXED, ACQUIRE, ""], false),
    pattern(
        "no acquire",
        [BLOCK, "", RELEASE, "ld.relaxed.sys.global.u32", ""],
        false,
    ),
    pattern(
        "release for the device",
        [BLOCK, "", "st.release.gpu.global.u32", ACQUIRE, ""],
        false,
    ),
    pattern(
        "acquire for the device",
        [BLOCK, "", RELEASE, "ld.acquire.gpu.global.u32", ""],
        false,
    ),
    pattern(
        "fences",
        [
            BLOCK,
            "fence.acq_rel.sys;",
            STORE_RELAXED,
            LOAD,
            "fence.acq_rel.sys;",
        ],
        true,
    ),
    pattern(
        "a fence for the device before",
        [BLOCK, "fence.acq_rel.gpu;", STORE, ACQUIRE, ""],
        false,
    ),
    pattern(
        "a fence for the device after",
        [BLOCK, "", RELEASE, LOAD, "membar.gl;"],
        false,
    ),
    pattern(
        "a fence for the block",
        [BLOCK, "membar.cta;", STORE, ACQUIRE, ""],
        false,
    ),
    pattern(
        "an atomic operation that releases",
        [BLOCK, "", "red.release.sys.global.add.u32", ACQUIRE, ""],
        true,
    ),
    pattern(
        "one that does not",
        [BLOCK, "", "red.relaxed.sys.global.add.u32", ACQUIRE, ""],
        false,
    ),
    pattern(
        "threads that do not meet",
        ["", "", RELEASE, ACQUIRE, ""],
        false,
    ),
    pattern("lanes that meet", [LANES, "", RELEASE, ACQUIRE, ""], true),
    pattern(
        "lanes that do not",
        ["", "membar.sys;", STORE, ACQUIRE, ""],
        false,
    ),
];

/// Lanes that need no more than their warp.
fn threads(p: &Pattern) -> u32 {
    if p.name.starts_with("lanes") {
        WARP
    } else {
        2 * WARP
    }
}

/// Each thread stores a word, and the first one says so.
fn writes(p: &Pattern) -> String {
    format!(
        "mov.u32 %r1, %tid.x; mov.u32 %r2, 1; mad.wide.u32 %rd3, %r1, {APART}, %rd1;
            st.global.u32 [%rd3], %r2;
            {}
            setp.ne.u32 %p, %r1, 0; @%p bra E;
            {}
            {} [%rd2], %r2;
        E:  ret;",
        p.barrier, p.release, p.flag
    )
}

/// Its threads have all looked before.
fn reads(p: &Pattern) -> String {
    format!(
        "mov.u32 %r1, %tid.x; mad.wide.u32 %rd3, %r1, {APART}, %rd1; mad.wide.u32 %rd4, %r1, 4, %rd5;
            ld.global.u32 %r2, [%rd3];
            setp.ne.u32 %p, %r1, 0; @%p bra B;
        L:  {} %r3, [%rd2]; setp.eq.u32 %p, %r3, 0; @%p bra L;
            {}
        B:  bar.sync 0;
            ld.global.u32 %r2, [%rd3]; st.global.u32 [%rd4], %r2; ret;",
        p.poll, p.acquire
    )
}

fn writer(p: &Pattern) -> String {
    format!(
        ".visible .entry writer(.param .u64 data, .param .u64 flag) {{
            .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<4>;
            ld.param.u64 %rd1, [data]; ld.param.u64 %rd2, [flag];
            {} }}",
        writes(p)
    )
}

fn reader(p: &Pattern) -> String {
    format!(
        ".visible .entry reader(.param .u64 data, .param .u64 flag, .param .u64 out) {{
            .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<6>;
            ld.param.u64 %rd1, [data]; ld.param.u64 %rd2, [flag]; ld.param.u64 %rd5, [out];
            {} }}",
        reads(p)
    )
}

/// Block 0 writes, block 1 reads.
fn two_blocks(p: &Pattern) -> String {
    format!(
        ".visible .entry both(.param .u64 data, .param .u64 flag, .param .u64 out) {{
            .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<6>;
            ld.param.u64 %rd1, [data]; ld.param.u64 %rd2, [flag]; ld.param.u64 %rd5, [out];
            mov.u32 %r1, %ctaid.x; setp.ne.u32 %p, %r1, 0; @%p bra R;
            {}
        R:  {} }}",
        writes(p),
        reads(p)
    )
}

struct Card {
    context: u64,
    stream: u64,
}

fn cards() -> [Card; 2] {
    [0, 1].map(|device| {
        begin(device);
        Card {
            context: get(|c| cuCtxGetCurrent(c)),
            stream: stream(),
        }
    })
}

fn launch(card: &Card, f: u64, threads: u32, params: &[u64]) {
    launch_blocks(card, f, 1, threads, params);
}

fn launch_blocks(card: &Card, f: u64, blocks: u32, threads: u32, params: &[u64]) {
    ok(cuCtxSetCurrent(card.context));
    let pointers: Vec<u64> = params.iter().map(|p| p as *const u64 as u64).collect();
    ok(cuLaunchKernel(
        f,
        blocks,
        1,
        1,
        threads,
        1,
        1,
        0,
        card.stream,
        pointers.as_ptr(),
        std::ptr::null(),
    ));
}

fn wait(card: &Card) {
    ok(cuCtxSetCurrent(card.context));
    ok(cuStreamSynchronize(card.stream));
}

/// Memory in which card 0 leaves what card 1 takes: the host's, or card 1's own.
struct Memory {
    at: u64,
    bytes: usize,
    host: bool,
}

impl Memory {
    fn new(cards: &[Card; 2], bytes: usize, host: bool) -> Self {
        if !host {
            ok(cuCtxSetCurrent(cards[0].context));
            // The second case finds it enabled.
            let _ = cuCtxEnablePeerAccess(cards[1].context, 0);
        }
        ok(cuCtxSetCurrent(cards[1].context));
        let at = if host {
            get(|p| cuMemHostAlloc(p, bytes, 3))
        } else {
            get(|p| cuMemAlloc_v2(p, bytes))
        };
        Self { at, bytes, host }
    }

    fn clear(&self, card: &Card) {
        if self.host {
            // SAFETY: the test's own buffer, and no kernel runs.
            unsafe { std::slice::from_raw_parts_mut(self.at as *mut u8, self.bytes) }.fill(0);
        } else {
            ok(cuCtxSetCurrent(card.context));
            ok(cuMemsetD32Async(self.at, 0, self.bytes / 4, card.stream));
            ok(cuStreamSynchronize(card.stream));
        }
    }
}

fn functions(cards: &[Card; 2], texts: [String; 2], names: [&str; 2]) -> [u64; 2] {
    [0, 1].map(|d| {
        ok(cuCtxSetCurrent(cards[d].context));
        function(&texts[d], names[d])
    })
}

/// In how many of the runs a word was missed.
fn missed(cards: &[Card; 2], p: &Pattern, host: bool) -> usize {
    let threads = threads(p);
    let data = threads as usize * APART;
    let [writer, reader] = functions(cards, [writer(p), reader(p)], ["writer", "reader"]);
    let memory = Memory::new(cards, data + APART, host);
    let flag = memory.at + data as u64;
    let out = get(|o| cuMemAlloc_v2(o, 4 * threads as usize));
    let run = || {
        memory.clear(&cards[1]);
        launch(&cards[1], reader, threads, &[memory.at, flag, out]);
        launch(&cards[0], writer, threads, &[memory.at, flag]);
        wait(&cards[1]);
        wait(&cards[0]);
        ok(cuCtxSetCurrent(cards[1].context));
        download::<u32>(out, threads as usize).contains(&0)
    };
    if p.holds {
        (0..SEEDS).filter(|_| run()).count()
    } else {
        usize::from((0..SEEDS).any(|_| run()))
    }
}

fn messages(host: bool) {
    let cards = cards();
    for p in &PATTERNS {
        let missed = missed(&cards, p, host);
        assert_eq!(
            missed == 0,
            p.holds,
            "{}: a word was missed in {missed} of {SEEDS} runs",
            p.name
        );
    }
}

const RELEASE_DEVICE: &str = "st.release.gpu.global.u32";
const ACQUIRE_DEVICE: &str = "ld.acquire.gpu.global.u32";
const STORE_DEVICE: &str = "st.relaxed.gpu.global.u32";
const LOAD_DEVICE: &str = "ld.relaxed.gpu.global.u32";
const FENCE_DEVICE: &str = "fence.acq_rel.gpu;";
const COUNT: &str = "red.release.gpu.global.add.u32";

/// Between two blocks of one launch.
const OF_BLOCKS: [Pattern; 8] = [
    pattern(
        "release, acquire",
        [BLOCK, "", RELEASE_DEVICE, ACQUIRE_DEVICE, ""],
        true,
    ),
    pattern(
        "two fences",
        [BLOCK, FENCE_DEVICE, STORE_DEVICE, LOAD_DEVICE, FENCE_DEVICE],
        true,
    ),
    pattern(
        "an atomic that releases",
        [BLOCK, "", COUNT, ACQUIRE_DEVICE, ""],
        true,
    ),
    pattern(
        "not released",
        [BLOCK, "", STORE_DEVICE, ACQUIRE_DEVICE, ""],
        false,
    ),
    pattern(
        "not acquired",
        [BLOCK, "", RELEASE_DEVICE, LOAD_DEVICE, ""],
        false,
    ),
    pattern(
        "threads apart",
        ["", "", RELEASE_DEVICE, ACQUIRE_DEVICE, ""],
        false,
    ),
    pattern(
        "released to the block",
        [BLOCK, "membar.cta;", STORE_DEVICE, ACQUIRE_DEVICE, ""],
        false,
    ),
    pattern(
        "acquired from the block",
        [BLOCK, "", RELEASE_DEVICE, LOAD_DEVICE, "membar.cta;"],
        false,
    ),
];

fn between_blocks() {
    begin(0);
    let card = Card {
        context: get(|c| cuCtxGetCurrent(c)),
        stream: stream(),
    };
    for p in &OF_BLOCKS {
        let threads = threads(p);
        let both = function(&two_blocks(p), "both");
        let bytes = (threads as usize + 1) * APART;
        let data = get(|d| cuMemAlloc_v2(d, bytes));
        let out = get(|o| cuMemAlloc_v2(o, 4 * threads as usize));
        let run = || {
            ok(cuMemsetD32Async(data, 0, bytes / 4, card.stream));
            let flag = data + u64::from(threads) * APART as u64;
            launch_blocks(&card, both, 2, threads, &[data, flag, out]);
            wait(&card);
            download::<u32>(out, threads as usize).contains(&0)
        };
        let missed = (0..SEEDS).any(|_| run());
        assert_eq!(missed, !p.holds, "{}", p.name);
    }
}

fn through_the_host() {
    messages(true);
}

fn through_peers() {
    messages(false);
}

/// What a kernel stored is there when the next one of its stream runs.
fn kernels_end() {
    let cards = cards();
    let p = pattern("a kernel's end", ["", "", STORE, ACQUIRE, ""], true);
    let set = ".visible .entry set(.param .u64 flag) { .reg .b32 %r; .reg .b64 %rd;
        ld.param.u64 %rd, [flag]; mov.u32 %r, 1; st.volatile.global.u32 [%rd], %r; ret; }";
    let [_, reader] = functions(&cards, [set.to_owned(), reader(&p)], ["set", "reader"]);
    ok(cuCtxSetCurrent(cards[0].context));
    let (writer, set) = (function(&writer(&p), "writer"), function(set, "set"));
    let memory = Memory::new(&cards, 66 * APART, true);
    let (flag, unused) = (memory.at + 64 * APART as u64, memory.at + 65 * APART as u64);
    let out = get(|o| cuMemAlloc_v2(o, 256));
    for _ in 0..SEEDS {
        memory.clear(&cards[1]);
        launch(&cards[1], reader, 64, &[memory.at, flag, out]);
        launch(&cards[0], writer, 64, &[memory.at, unused]);
        launch(&cards[0], set, 1, &[flag]);
        wait(&cards[1]);
        wait(&cards[0]);
        ok(cuCtxSetCurrent(cards[1].context));
        assert_eq!(download::<u32>(out, 64), [1; 64]);
    }
}

/// Each raises its flag and looks at the other's: one of them must see it, if both fence.
fn raised_flags() {
    let cards = cards();
    let both_missed = |fence: &str| {
        let text = format!(
            ".visible .entry raise(.param .u64 mine, .param .u64 other, .param .u64 out) {{
                .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<4>;
                ld.param.u64 %rd1, [mine]; ld.param.u64 %rd2, [other]; ld.param.u64 %rd3, [out];
                mov.u32 %r1, 1; st.relaxed.sys.global.u32 [%rd1], %r1;
                {fence}
                mov.u32 %r3, 0;
            L:  nanosleep.u32 100; add.u32 %r3, %r3, 1; setp.lt.u32 %p, %r3, 2; @%p bra L;
                ld.relaxed.sys.global.u32 %r2, [%rd2]; st.global.u32 [%rd3], %r2; ret; }}"
        );
        let raise = functions(&cards, [text.clone(), text], ["raise"; 2]);
        let flags = Memory::new(&cards, 2 * APART, true);
        let out = [0, 1].map(|d: usize| {
            ok(cuCtxSetCurrent(cards[d].context));
            get(|o| cuMemAlloc_v2(o, 4))
        });
        let run = || {
            flags.clear(&cards[0]);
            let at = [flags.at, flags.at + APART as u64];
            for d in 0..2 {
                launch(&cards[d], raise[d], 1, &[at[d], at[1 - d], out[d]]);
            }
            cards.iter().for_each(wait);
            [0, 1].map(|d: usize| {
                ok(cuCtxSetCurrent(cards[d].context));
                download::<u32>(out[d], 1)[0]
            }) == [0, 0]
        };
        (0..SEEDS).any(|_| run())
    };
    assert!(!both_missed("fence.sc.sys;"));
    assert!(both_missed(""));
}

/// Both count: whole at the system's scope where the link can do it, else counts are lost.
fn counts(whole: bool) {
    let cards = cards();
    let count = |scope: &str| {
        let text = format!(
            ".visible .entry count(.param .u64 at) {{
                .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<2>; ld.param.u64 %rd1, [at]; mov.u32 %r1, 0;
            L:  atom{scope}.global.add.u32 %r2, [%rd1], 1; add.u32 %r1, %r1, 1;
                setp.lt.u32 %p, %r1, 100; @%p bra L; ret; }}"
        );
        let count = functions(&cards, [text.clone(), text], ["count"; 2]);
        let memory = Memory::new(&cards, 4, true);
        let run = || {
            memory.clear(&cards[0]);
            for (card, count) in cards.iter().zip(count) {
                launch(card, count, 2, &[memory.at]);
            }
            cards.iter().for_each(wait);
            // SAFETY: as in `clear`.
            let total = unsafe { (memory.at as *const u32).read() };
            total < 400
        };
        (0..SEEDS / 10).any(|_| run())
    };
    assert_eq!(count(".sys"), !whole);
    assert!(count(""), "a count of the device alone");
}

fn counts_over_pcie() {
    counts(false);
}

fn whole_counts() {
    counts(true);
}

const CASES: [(&str, fn()); 7] = [
    ("blocks_of_one_launch", between_blocks),
    ("messages_through_the_host", through_the_host),
    ("messages_through_peers", through_peers),
    ("the_end_of_a_kernel_orders", kernels_end),
    ("flags_raised_at_once", raised_flags),
    ("counts_are_lost_over_pcie", counts_over_pcie),
    ("counts_where_atomics_reach", whole_counts),
];

fn on_two(name: &str, configured: &str) {
    let (_kept, path) = configuration(configured);
    apart(
        &CASES,
        name,
        &[("VGPU_DEVICES", "2"), ("VGPU_CONFIG", &path)],
        1,
    );
}

#[test]
fn messages_through_the_host() {
    on_two("messages_through_the_host", "");
}

#[test]
fn messages_through_peers() {
    on_two("messages_through_peers", "peer_access = true\n");
}

#[test]
fn the_end_of_a_kernel_orders() {
    on_two("the_end_of_a_kernel_orders", "");
}

#[test]
fn flags_raised_at_once() {
    on_two("flags_raised_at_once", "");
}

#[test]
fn counts_are_lost_over_pcie() {
    on_two("counts_are_lost_over_pcie", "");
}

#[test]
fn counts_where_atomics_reach() {
    on_two("counts_where_atomics_reach", "atomics = true\n");
}

#[test]
fn blocks_of_one_launch() {
    apart(&CASES, "blocks_of_one_launch", &[("VGPU_WEAK", "1")], 1);
}
