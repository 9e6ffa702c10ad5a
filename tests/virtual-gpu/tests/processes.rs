//! Ranks in several processes: this test's binary starts itself once for each.

mod api;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::*;

const F32: i32 = 7;
const SUM: i32 = 0;
const REMOTE_ERROR: i32 = 6;
const ROLE: &str = "VGPU_TEST_ROLE";
const ID: &str = "VGPU_TEST_ID";

/// Two processes with two cards each, or what one of them does when it is started.
fn two(case: &str, life: fn(i32, u64)) {
    let Ok(role) = std::env::var(ROLE) else {
        let (first, id) = start(case, "0", "");
        let (second, _) = start(case, "2", &id);
        for child in [first, second] {
            let ended = child.wait_with_output().unwrap();
            let expected = ended.status.success() || ended.status.code() == Some(LEFT);
            assert!(expected, "{}", String::from_utf8_lossy(&ended.stderr));
        }
        return;
    };
    let offset: i32 = role.parse().unwrap();
    begin(0);
    let mut id = Id([0; 128]);
    match std::env::var(ID) {
        Ok(text) if !text.is_empty() => {
            let bytes = text.split(',').map(|b| b.parse().unwrap());
            id.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
        _ => ok(ncclGetUniqueId(&mut id)),
    }
    eprintln!("id:{}", id.0.map(|b| b.to_string()).join(","));
    std::thread::scope(|scope| {
        for card in 0..2 {
            scope.spawn(move || {
                begin(card);
                let rank = offset + card;
                life(rank, get(|c| ncclCommInitRank(c, 4, id, rank)));
            });
        }
    });
}

/// Starts a process, and waits for the id that it says.
fn start(case: &str, role: &str, id: &str) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", case, "--nocapture"])
        .env(ROLE, role)
        .env(ID, id)
        .env("VGPU_DEVICES", "2")
        .env("VGPU_PATIENCE", "20")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let id = lines
        .find_map(|line| line.unwrap().strip_prefix("id:").map(str::to_owned))
        .unwrap();
    std::thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap())));
    (child, id)
}

fn sums(rank: i32, comm: u64) {
    let s = stream();
    let at = upload(&[rank as f32, 1.0]);
    let all = upload(&[0f32; 8]);
    ok(ncclAllReduce(at, at, 2, F32, SUM, comm, s));
    ok(ncclAllGather(at, all, 2, F32, comm, s));
    ok(cuStreamSynchronize(s));
    assert_eq!(download::<f32>(at, 2), [6.0, 4.0]);
    assert_eq!(
        download::<f32>(all, 8),
        [6.0, 4.0, 6.0, 4.0, 6.0, 4.0, 6.0, 4.0]
    );
    // As a node of a graph.
    ok(cuStreamBeginCapture_v2(s, 1));
    ok(ncclAllReduce(at, at, 2, F32, SUM, comm, s));
    let graph = get(|g| cuStreamEndCapture(s, g));
    let executable = get(|e| cuGraphInstantiateWithFlags(e, graph, 0));
    for _ in 0..3 {
        ok(cuGraphLaunch(executable, s));
    }
    ok(cuStreamSynchronize(s));
    assert_eq!(download::<f32>(at, 2), [6.0 * 64.0, 4.0 * 64.0]);
    ok(cuGraphExecDestroy(executable));
    ok(ncclCommDestroy(comm));
}

/// How a process ends that leaves the others.
const LEFT: i32 = 3;

/// The second process ends without a word: NCCL tells the first one.
fn one_leaves(rank: i32, comm: u64) {
    let s = stream();
    let at = upload(&[1f32]);
    ok(ncclAllReduce(at, at, 1, F32, SUM, comm, s));
    ok(cuStreamSynchronize(s));
    if rank >= 2 {
        std::process::exit(LEFT);
    }
    ok(ncclAllReduce(at, at, 1, F32, SUM, comm, s));
    let started = Instant::now();
    while get(|e| ncclCommGetAsyncError(comm, e)) != REMOTE_ERROR {
        assert_ne!(cuStreamQuery(s), 0);
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    ok(ncclCommAbort(comm));
    ok(cuStreamSynchronize(s));
}

#[test]
fn sums_over_processes() {
    two("sums_over_processes", sums);
}

#[test]
fn a_process_that_leaves_is_told() {
    two("a_process_that_leaves_is_told", one_leaves);
}
