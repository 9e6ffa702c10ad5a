//! Ranks on several cards, and what goes wrong between them: each case in a process of its own.

mod api;

use std::time::{Duration, Instant};

use api::*;

const RANKS: i32 = 2;
const F32: i32 = 7;
const SUM: i32 = 0;
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
        for executable in graphs {
            ok(cuGraphLaunch(executable, s));
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

const CASES: [(&str, fn()); 4] = [
    ("sums_are_captured", captured_sums),
    ("replays_in_different_orders_are_named", crossed_replays),
    ("a_replay_that_stays_away_is_named", absent_replay),
    ("teardown_waits_for_graphs", graph_outlives_ranks),
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
