//! Ranks on several cards, and what goes wrong between them: each case in a process of its own.

mod api;

use std::time::{Duration, Instant};

use api::*;

const RANKS: i32 = 2;
const NOT_READY: i32 = 600;
const REMOTE_ERROR: i32 = 6;
const IN_PROGRESS: i32 = 7;
const F32: i32 = 7;
const SUM: i32 = 0;
const MAX: i32 = 2;
const LAUNCH_TIMEOUT: i32 = 702;
const LAUNCH_FAILED: i32 = 719;

/// Runs `rank` on a thread for each card, with a communicator over all of them.
fn ranks(rank: impl Fn(i32, u64) + Sync) {
    begin(0);
    let mut id = Id([0; 128]);
    ok(ncclGetUniqueId(&mut id));
    std::thread::scope(|scope| {
        for number in 0..RANKS {
            let rank = &rank;
            scope.spawn(move || {
                begin(number);
                rank(number, get(|c| ncclCommInitRank(c, RANKS, id, number)));
            });
        }
    });
}

fn capture(s: u64, queue: impl Fn()) -> u64 {
    ok(cuStreamBeginCapture_v2(s, 1));
    queue();
    let graph = get(|g| cuStreamEndCapture(s, g));
    let executable = get(|e| cuGraphInstantiateWithFlags(e, graph, 0));
    ok(cuGraphDestroy(graph));
    executable
}

fn all_reduce(at: u64, count: usize, comm: u64, s: u64) {
    ok(ncclAllReduce(at, at, count, F32, SUM, comm, s));
}

/// Work and sums captured together, with memory of the graph's own, replayed and mixed with eager sums.
fn captured_sums() {
    ranks(|rank, comm| {
        let f = function(ADD, "add");
        let s = stream();
        let word = upload(&[0u32; 2]);
        let at = upload(&[1f32 + rank as f32; 2]);
        all_reduce(at, 2, comm, s);
        let executable = capture(s, || {
            ok(add(f, word, 1, s));
            let own = get(|p| cuMemAllocAsync(p, 8, s));
            ok(cuMemcpyDtoDAsync_v2(own, at, 8, s));
            all_reduce(own, 2, comm, s);
            ok(cuMemcpyDtoDAsync_v2(at, own, 8, s));
            ok(cuMemFreeAsync(own, s));
            ok(add(f, word, 1, s));
        });
        for _ in 0..3 {
            ok(cuGraphLaunch(executable, s));
            all_reduce(at, 1, comm, s);
        }
        ok(cuStreamSynchronize(s));
        assert_eq!(download::<f32>(at, 2), [3.0 * 64.0, 3.0 * 8.0]);
        assert_eq!(download::<u32>(word, 1), [6]);
        // Teardown in the right order does not wait.
        let started = Instant::now();
        ok(cuGraphExecDestroy(executable));
        ok(ncclCommDestroy(comm));
        assert!(started.elapsed() < Duration::from_secs(1));
    });
}

/// Two graphs, which the ranks replay in different orders.
fn crossed_replays() {
    ranks(|rank, comm| {
        let s = stream();
        let at = upload(&[1f32; 64]);
        let mut graphs = [1, 64].map(|count| capture(s, || all_reduce(at, count, comm, s)));
        if rank == 1 {
            graphs.reverse();
        }
        // A launch may already find the device lost, where the other rank was quicker.
        for executable in graphs {
            let told = cuGraphLaunch(executable, s);
            assert!([0, LAUNCH_FAILED].contains(&told), "{told}");
        }
        assert_eq!(cuStreamSynchronize(s), LAUNCH_FAILED);
    });
}

fn absent_replay() {
    ranks(|rank, comm| {
        let s = stream();
        let at = upload(&[1f32]);
        let executable = capture(s, || all_reduce(at, 1, comm, s));
        if rank == 0 {
            ok(cuGraphLaunch(executable, s));
            assert_eq!(cuStreamSynchronize(s), LAUNCH_TIMEOUT);
        }
    });
}

/// NCCL's teardown waits for graphs that hold its collectives.
fn graph_outlives_ranks() {
    ranks(|_, comm| {
        let s = stream();
        let at = upload(&[1f32]);
        let executable = capture(s, || all_reduce(at, 1, comm, s));
        assert_ne!(ncclCommDestroy(comm), 0);
        ok(cuGraphExecDestroy(executable));
        ok(ncclCommDestroy(comm));
    });
}

/// Rank 1's device stops at its second collective: asked, it is never ready, and whoever waits for it is set free.
fn hangs() {
    ranks(|rank, comm| {
        let (s, done) = (stream(), event());
        let at = upload(&[1f32]);
        all_reduce(at, 1, comm, s);
        ok(cuStreamSynchronize(s));
        all_reduce(at, 1, comm, s);
        ok(cuEventRecord(done, s));
        for _ in 0..100 {
            assert_eq!(cuEventQuery(done), NOT_READY);
            assert_eq!(get(|e| ncclCommGetAsyncError(comm, e)), 0);
        }
        ok(ncclCommAbort(comm));
        let free = (0..100).any(|_| cuEventQuery(done) == 0);
        assert_eq!(free, rank == 0);
    });
}

fn ends(rank_1: i32) {
    ranks(|rank, comm| {
        let s = stream();
        let at = upload(&[1f32]);
        all_reduce(at, 1, comm, s);
        if rank == 1 {
            assert_eq!(cuStreamSynchronize(s), rank_1);
            assert_eq!(get(|e| ncclCommGetAsyncError(comm, e)), 1);
        } else {
            // Nobody tells a rank of the same process.
            assert_eq!(cuStreamQuery(s), NOT_READY);
            assert_eq!(get(|e| ncclCommGetAsyncError(comm, e)), 0);
            ok(ncclCommAbort(comm));
            ok(cuStreamSynchronize(s));
        }
    });
}

fn dies() {
    ends(999);
}

fn ecc_error() {
    ends(214);
}

fn remote_error() {
    ranks(|rank, comm| {
        let s = stream();
        let at = upload(&[1f32]);
        all_reduce(at, 1, comm, s);
        assert_eq!(cuStreamQuery(s), NOT_READY);
        let told = || get(|e| ncclCommGetAsyncError(comm, e)) == REMOTE_ERROR;
        // Whichever comes first.
        assert!(
            (0..1000).any(|_| told() || {
                cuStreamQuery(s);
                false
            }),
            "rank {rank}"
        );
        ok(ncclCommAbort(comm));
        ok(cuStreamSynchronize(s));
    });
}

/// Calls that do not wait, and must be asked whether they are done.
fn no_waiting() {
    begin(0);
    let mut id = Id([0; 128]);
    ok(ncclGetUniqueId(&mut id));
    let config = [24u64, 0xcafe_beef | 21400 << 32, 0];
    std::thread::scope(|scope| {
        for rank in 0..RANKS {
            scope.spawn(move || {
                begin(rank);
                let mut comm = 0;
                assert_eq!(
                    ncclCommInitRankConfig(&mut comm, RANKS, id, rank, &config),
                    IN_PROGRESS
                );
                let settle = || while get(|e| ncclCommGetAsyncError(comm, e)) == IN_PROGRESS {};
                settle();
                let s = stream();
                let at = upload(&[1f32]);
                let mut late = 0;
                for _ in 0..20 {
                    let code = ncclAllReduce(at, at, 1, F32, MAX, comm, s);
                    if code == IN_PROGRESS {
                        late += 1;
                        assert_eq!(
                            ncclAllReduce(at, at, 1, F32, MAX, comm, s),
                            4,
                            "not asked before"
                        );
                        settle();
                    } else {
                        ok(code);
                    }
                }
                assert!(late > 0);
                ok(cuStreamSynchronize(s));
                assert_eq!(download::<f32>(at, 1), [1.0]);
            });
        }
    });
}

/// Rank 0 makes a call that waits, before rank 1 has come to the collective.
fn locks(call: impl Fn(u64) -> i32 + Sync) {
    let turn = std::sync::Barrier::new(2);
    ranks(|rank, comm| {
        let s = stream();
        let at = upload(&[1f32]);
        if rank == 0 {
            all_reduce(at, 1, comm, s);
            assert_eq!(call(at), LAUNCH_FAILED);
        }
        turn.wait();
    });
}

fn lock_by_copy() {
    locks(|at| {
        let mut out = 0f32;
        cuMemcpyDtoH_v2(&raw mut out as u64, at, 4)
    });
}

fn lock_by_load() {
    let text = std::ffi::CString::new(format!("{HEAD}{ADD}")).unwrap();
    locks(|_| cuModuleLoadData(&mut 0, text.as_ptr()));
}

fn lock_by_allocation() {
    locks(|_| cuMemAlloc_v2(&mut 0, 64));
}

fn lock_by_free() {
    locks(|at| cuMemFree_v2(at));
}

fn lock_by_waiting() {
    locks(|_| cuCtxSynchronize());
}

/// What does not wait, and what comes when all are there, is no lock.
fn no_lock() {
    let turn = std::sync::Barrier::new(2);
    ranks(|_, comm| {
        let s = stream();
        let at = upload(&[1f32]);
        all_reduce(at, 1, comm, s);
        get(|p| cuMemAllocAsync(p, 64, s));
        ok(cuMemcpyDtoDAsync_v2(at, at, 4, s));
        turn.wait();
        ok(cuStreamSynchronize(s));
        assert_eq!(download::<f32>(at, 1), [2.0]);
        ok(cuCtxSynchronize());
        get(|p| cuMemAlloc_v2(p, 64));
    });
}

const CASES: [(&str, fn()); 15] = [
    ("sums_are_captured", captured_sums),
    ("replays_in_different_orders_are_named", crossed_replays),
    ("a_replay_that_stays_away_is_named", absent_replay),
    ("teardown_waits_for_graphs", graph_outlives_ranks),
    ("a_device_that_hangs", hangs),
    ("a_device_that_dies", dies),
    ("an_ecc_error_at_a_collective", ecc_error),
    ("a_peer_is_gone", remote_error),
    ("calls_that_do_not_wait", no_waiting),
    ("a_copy_can_lock", lock_by_copy),
    ("a_load_can_lock", lock_by_load),
    ("an_allocation_can_lock", lock_by_allocation),
    ("a_free_can_lock", lock_by_free),
    ("waiting_can_lock", lock_by_waiting),
    ("what_cannot_lock", no_lock),
];

/// A case on two cards, with a patience of a second.
fn on_two(name: &str, seeds: u64) -> String {
    apart(
        &CASES,
        name,
        &[("VGPU_DEVICES", "2"), ("VGPU_PATIENCE", "1")],
        seeds,
    )
}

#[test]
fn sums_are_captured() {
    on_two("sums_are_captured", 4);
}

#[test]
fn replays_in_different_orders_are_named() {
    let told = on_two("replays_in_different_orders_are_named", 4);
    let expected =
        "rank 0 in collective 1 (AllReduce of 1 elements, 4 bytes), rank 1 in collective 2";
    assert!(told.is_empty() || told.contains(expected), "{told}");
}

#[test]
fn a_replay_that_stays_away_is_named() {
    let told = on_two("a_replay_that_stays_away_is_named", 1);
    let expected = "rank 0 is in collective 1 (AllReduce of 1 elements, 4 bytes), to which ranks 1 of 2 have not come";
    assert!(told.is_empty() || told.contains(expected), "{told}");
}

#[test]
fn teardown_waits_for_graphs() {
    on_two("teardown_waits_for_graphs", 1);
}

/// With a fault at the second device's first or second collective.
fn with_fault(name: &str, kind: &str, collective: u32) {
    let text = format!("[[fault]]\nkind = '{kind}'\ndevice = 1\ncollective = {collective}\n");
    let (_kept, path) = configuration(&text);
    apart(
        &CASES,
        name,
        &[
            ("VGPU_DEVICES", "2"),
            ("VGPU_PATIENCE", "1"),
            ("VGPU_CONFIG", &path),
        ],
        2,
    );
}

#[test]
fn a_device_that_hangs() {
    with_fault("a_device_that_hangs", "hangs", 2);
}

#[test]
fn a_device_that_dies() {
    with_fault("a_device_that_dies", "dies", 1);
}

#[test]
fn an_ecc_error_at_a_collective() {
    with_fault("an_ecc_error_at_a_collective", "ecc-error", 1);
}

#[test]
fn a_peer_is_gone() {
    with_fault("a_peer_is_gone", "remote-error", 1);
}

#[test]
fn calls_that_do_not_wait() {
    on_two("calls_that_do_not_wait", 4);
}

/// The call and the collective are named.
fn locking(name: &str, call: &str) {
    let variables = [("VGPU_DEVICES", "2"), ("VGPU_LOCKS", "1")];
    let told = apart(&CASES, name, &variables, 1);
    let expected = format!(
        "{call} while collective 1 (AllReduce of 1 elements, 4 bytes) is open, to which ranks 1 of 2 have not come"
    );
    assert!(told.is_empty() || told.contains(&expected), "{told}");
}

#[test]
fn a_copy_can_lock() {
    locking("a_copy_can_lock", "a copy to pageable memory");
}

#[test]
fn a_load_can_lock() {
    locking("a_load_can_lock", "a module's loading");
}

#[test]
fn an_allocation_can_lock() {
    locking("an_allocation_can_lock", "cuMemAlloc");
}

#[test]
fn a_free_can_lock() {
    locking("a_free_can_lock", "cuMemFree");
}

#[test]
fn waiting_can_lock() {
    locking("waiting_can_lock", "cuCtxSynchronize");
}

#[test]
fn what_cannot_lock() {
    let variables = [("VGPU_DEVICES", "2"), ("VGPU_LOCKS", "1")];
    apart(&CASES, "what_cannot_lock", &variables, 4);
}
