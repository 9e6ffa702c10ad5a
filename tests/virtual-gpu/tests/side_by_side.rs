//! Kernels of several cards that wait for each other, through host memory and through peers' memory. Each case
//! in a process of its own.

mod api;

use api::*;

const INVALID_VALUE: i32 = 1;
const PEER_ACCESS_UNSUPPORTED: i32 = 217;
const NOT_READY: i32 = 600;
const ILLEGAL_ADDRESS: i32 = 700;
const LAUNCH_TIMEOUT: i32 = 702;
const ALREADY_ENABLED: i32 = 704;
const TOO_LARGE: i32 = 720;
const WARP: u32 = 32;

/// Each block tells its twin on another card a number, and goes on when it is told the same one.
const PONG: &str = ".visible .entry pong(.param .u64 mine, .param .u64 other, .param .u32 rounds) {
    .reg .pred %p; .reg .pred %q; .reg .b32 %r<8>; .reg .b64 %rd<6>;
    ld.param.u64 %rd1, [mine]; ld.param.u64 %rd2, [other]; ld.param.u32 %r1, [rounds];
    mov.u32 %r2, %ctaid.x; mov.u32 %r3, %tid.x; mov.u32 %r4, 1;
    mad.wide.u32 %rd1, %r2, 4, %rd1; mad.wide.u32 %rd2, %r2, 4, %rd2;
    setp.ne.u32 %p, %r3, 0;
  R:
    @%p bra B;
    st.release.sys.global.u32 [%rd2], %r4;
  L:
    ld.acquire.sys.global.u32 %r5, [%rd1];
    setp.lt.u32 %q, %r5, %r4;
    @%q bra L;
  B:
    bar.sync 0;
    add.u32 %r4, %r4, 1;
    setp.le.u32 %q, %r4, %r1;
    @%q bra R;
    ret; }";

/// All blocks of one launch meet.
const MEET: &str = ".visible .entry meet(.param .u64 count) {
    .reg .pred %q; .reg .b32 %r<4>; .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [count]; mov.u32 %r1, %nctaid.x;
    atom.global.add.u32 %r2, [%rd1], 1;
  L:
    ld.volatile.global.u32 %r2, [%rd1];
    setp.lt.u32 %q, %r2, %r1;
    @%q bra L;
    ret; }";

fn launch(f: u64, blocks: u32, s: u64, params: &[u64]) {
    let pointers: Vec<u64> = params.iter().map(|p| p as *const u64 as u64).collect();
    ok(cuLaunchKernel(
        f,
        blocks,
        1,
        1,
        WARP,
        1,
        1,
        0,
        s,
        pointers.as_ptr(),
        std::ptr::null(),
    ));
}

fn host_words(count: usize) -> u64 {
    let at = get(|p| cuMemHostAlloc(p, 4 * count, 3));
    words(at, count).fill(0);
    assert_eq!(get(|d| cuMemHostGetDevicePointer_v2(d, at, 0)), at);
    at
}

fn words<'a>(at: u64, count: usize) -> &'a mut [u32] {
    // SAFETY: the caller's own words, which no kernel uses at the time.
    unsafe { std::slice::from_raw_parts_mut(at as *mut u32, count) }
}

struct Card {
    context: u64,
    pong: u64,
    stream: u64,
}

fn card(device: i32) -> Card {
    begin(device);
    Card {
        context: get(|c| cuCtxGetCurrent(c)),
        pong: function(PONG, "pong"),
        stream: stream(),
    }
}

/// More blocks than run at once, in orders that differ, through host memory.
fn through_the_host() {
    const BLOCKS: u32 = 9;
    let cards = [card(0), card(1)];
    let flags = [(); 2].map(|()| host_words(BLOCKS as usize));
    let clear = || {
        flags
            .iter()
            .for_each(|at| words(*at, BLOCKS as usize).fill(0))
    };
    let params = |d: usize| [flags[d], flags[1 - d], 5];
    for (d, card) in cards.iter().enumerate() {
        ok(cuCtxSetCurrent(card.context));
        launch(card.pong, BLOCKS, card.stream, &params(d));
    }
    ok(cuStreamSynchronize(cards[0].stream));
    ok(cuCtxSetCurrent(cards[0].context));
    ok(cuCtxSynchronize());
    ok(cuCtxSetCurrent(cards[1].context));
    ok(cuCtxSynchronize());
    assert_eq!(words(flags[0], BLOCKS as usize), [5; BLOCKS as usize]);
    // Replayed: each card's kernel is in a graph of its own.
    let graphs = [0, 1].map(|d: usize| {
        let card = &cards[d];
        ok(cuCtxSetCurrent(card.context));
        ok(cuStreamBeginCapture_v2(card.stream, 1));
        launch(card.pong, BLOCKS, card.stream, &params(d));
        let graph = get(|g| cuStreamEndCapture(card.stream, g));
        get(|e| cuGraphInstantiateWithFlags(e, graph, 0))
    });
    for _ in 0..3 {
        clear();
        for (card, graph) in cards.iter().zip(graphs) {
            ok(cuCtxSetCurrent(card.context));
            ok(cuGraphLaunch(graph, card.stream));
        }
        // Asked again and again, it ends.
        while cuStreamQuery(cards[1].stream) == NOT_READY {}
        ok(cuStreamSynchronize(cards[1].stream));
        ok(cuCtxSetCurrent(cards[0].context));
        ok(cuStreamSynchronize(cards[0].stream));
    }
    // A thread for each card.
    clear();
    std::thread::scope(|scope| {
        for (d, card) in cards.iter().enumerate() {
            let params = params(d);
            scope.spawn(move || {
                ok(cuCtxSetCurrent(card.context));
                launch(card.pong, BLOCKS, card.stream, &params);
                ok(cuStreamSynchronize(card.stream));
            });
        }
    });
}

/// Memory that the program has, registered; the host tells a kernel that runs.
fn registered() {
    let card = card(0);
    let mut own = vec![0u32; 1024];
    let at = own.as_mut_ptr() as u64;
    assert_eq!(cuMemHostGetDevicePointer_v2(&mut 0, at, 0), INVALID_VALUE);
    ok(cuMemHostRegister_v2(at, 4096, 2));
    launch(card.pong, 1, card.stream, &[at, at + 4, 1]);
    for _ in 0..50 {
        assert_eq!(cuStreamQuery(card.stream), NOT_READY);
    }
    words(at, 1)[0] = 1;
    ok(cuStreamSynchronize(card.stream));
    assert_eq!(own[1], 1);
    ok(cuMemHostUnregister(at));
}

/// Through memory of the cards themselves: pushed.
fn through_peers() {
    let cards = [card(0), card(1)];
    let flags = [0, 1].map(|d: usize| {
        ok(cuCtxSetCurrent(cards[d].context));
        assert_eq!(get(|c| cuDeviceCanAccessPeer(c, d as i32, 1 - d as i32)), 1);
        ok(cuCtxEnablePeerAccess(cards[1 - d].context, 0));
        assert_eq!(
            cuCtxEnablePeerAccess(cards[1 - d].context, 0),
            ALREADY_ENABLED
        );
        upload(&[0u32; 4])
    });
    for (d, card) in cards.iter().enumerate() {
        ok(cuCtxSetCurrent(card.context));
        launch(card.pong, 4, card.stream, &[flags[d], flags[1 - d], 7]);
    }
    for (d, card) in cards.iter().enumerate() {
        ok(cuCtxSetCurrent(card.context));
        ok(cuStreamSynchronize(card.stream));
        assert_eq!(download::<u32>(flags[d], 4), [7; 4]);
    }
    // Memory of a pool is shared by the pool.
    let pool = get(|p| cuDeviceGetDefaultMemPool(p, 1));
    ok(cuMemPoolSetAccess(pool, &[1, 0, 3], 1));
    ok(cuCtxSetCurrent(cards[1].context));
    let s = cards[1].stream;
    let pooled = get(|p| cuMemAllocAsync(p, 16, s));
    ok(cuMemsetD32Async(pooled, 1, 4, s));
    ok(cuStreamSynchronize(s));
    ok(cuCtxSetCurrent(cards[0].context));
    launch(cards[0].pong, 1, cards[0].stream, &[pooled, pooled + 4, 1]);
    ok(cuStreamSynchronize(cards[0].stream));
    ok(cuMemPoolSetAccess(pool, &[1, 0, 0], 1));
    launch(cards[0].pong, 1, cards[0].stream, &[pooled, pooled + 4, 1]);
    assert_eq!(cuStreamSynchronize(cards[0].stream), ILLEGAL_ADDRESS);
}

fn no_peers() {
    let cards = [card(0), card(1)];
    let at = upload(&[1u32; 4]);
    ok(cuCtxSetCurrent(cards[0].context));
    assert_eq!(get(|c| cuDeviceCanAccessPeer(c, 0, 1)), 0);
    assert_eq!(
        cuCtxEnablePeerAccess(cards[1].context, 0),
        PEER_ACCESS_UNSUPPORTED
    );
    launch(cards[0].pong, 1, cards[0].stream, &[at, at + 4, 1]);
    assert_eq!(cuStreamSynchronize(cards[0].stream), ILLEGAL_ADDRESS);
}

fn nobody_answers() {
    let card = card(1);
    let flags = host_words(2);
    launch(card.pong, 1, card.stream, &[flags, flags + 4, 3]);
    println!("flag at {flags:#x}");
    assert_eq!(cuStreamSynchronize(card.stream), LAUNCH_TIMEOUT);
}

/// Blocks of one launch wait for each other, as long as the card holds all of them.
fn blocks_meet() {
    begin(0);
    let (f, s) = (function(MEET, "meet"), stream());
    let at = upload(&[0u32]);
    let pointer = &raw const at as u64;
    let launch = |blocks| cuLaunchCooperativeKernel(f, blocks, 1, 1, 1, 1, 1, 0, s, &pointer);
    assert_eq!(launch(4000), TOO_LARGE);
    ok(launch(300));
    ok(cuStreamSynchronize(s));
    ok(cuMemsetD32Async(at, 0, 1, s));
    ok(cuLaunchKernel(
        f,
        4000,
        1,
        1,
        1,
        1,
        1,
        0,
        s,
        &pointer,
        std::ptr::null(),
    ));
    assert_eq!(cuStreamSynchronize(s), LAUNCH_TIMEOUT);
}

const CASES: [(&str, fn()); 6] = [
    ("kernels_meet_in_host_memory", through_the_host),
    ("registered_memory", registered),
    ("kernels_meet_in_peers_memory", through_peers),
    ("peers_out_of_reach", no_peers),
    ("an_endless_poll_is_named", nobody_answers),
    ("blocks_of_a_launch_meet", blocks_meet),
];

fn on_two(name: &str, more: &[(&str, &str)], seeds: u64) -> String {
    let variables = [&[("VGPU_DEVICES", "2"), ("VGPU_PATIENCE", "1")], more].concat();
    apart(&CASES, name, &variables, seeds)
}

#[test]
fn kernels_meet_in_host_memory() {
    on_two("kernels_meet_in_host_memory", &[("VGPU_WORKERS", "1")], 6);
    on_two("kernels_meet_in_host_memory", &[("VGPU_WORKERS", "2")], 6);
}

#[test]
fn registered_memory() {
    on_two("registered_memory", &[], 1);
}

#[test]
fn kernels_meet_in_peers_memory() {
    let (_kept, path) = configuration("peer_access = true\n");
    on_two("kernels_meet_in_peers_memory", &[("VGPU_CONFIG", &path)], 4);
}

#[test]
fn peers_out_of_reach() {
    on_two("peers_out_of_reach", &[], 1);
}

#[test]
fn an_endless_poll_is_named() {
    let told = on_two("an_endless_poll_is_named", &[], 1);
    let expected = [
        "device 1: kernel pong, PTX line 16",
        "it polls 0x",
        "where it finds 0x0, for ever",
    ];
    assert!(
        told.is_empty() || expected.iter().all(|e| told.contains(e)),
        "{told}"
    );
}

#[test]
fn blocks_of_a_launch_meet() {
    let told = on_two("blocks_of_a_launch_meet", &[], 1);
    let expected = "3072 of 4000 blocks have begun: the card holds no more at once";
    assert!(told.is_empty() || told.contains(expected), "{told}");
}
