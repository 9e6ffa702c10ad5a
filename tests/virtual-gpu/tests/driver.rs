//! The driver's rules: streams, events, capture, pools, limits, libraries. Each test is a process of its own
//! (the driver is one a process, configured by the environment), so this binary calls itself.

mod api;
#[path = "driver/libraries.rs"]
mod libraries;

use std::ffi::CString;

use api::*;
use libraries::{collectives, products, telemetry};

fn waits() {
    begin(0);
    let f = function(ADD, "add");
    let at = upload(&[1u32]);
    let (a, b) = (stream(), stream());
    let done = event();
    // b works on what a left, by an event.
    ok(add(f, at, 10, a));
    ok(cuEventRecord(done, a));
    assert_eq!(cuEventQuery(done), 600);
    ok(cuStreamWaitEvent(b, done, 0));
    ok(cuMemsetD32Async(at, 5, 1, b));
    ok(add(f, at, 2, b));
    ok(cuStreamSynchronize(b));
    assert_eq!(download::<u32>(at, 1), [7]);
    ok(cuEventQuery(done));
    // Without a wait, a pinned buffer is read while it still holds the old bytes.
    let host = get(|p| cuMemHostAlloc(p, 4, 0));
    let host_word = |v: Option<u32>| unsafe {
        let p = host as *mut u32;
        if let Some(v) = v {
            p.write(v)
        }
        p.read()
    };
    host_word(Some(77));
    ok(cuMemcpyHtoDAsync_v2(at, host, 4, a));
    host_word(Some(78)); // too early: the copy has not run
    ok(cuStreamSynchronize(a));
    assert_eq!(download::<u32>(at, 1), [78]);
    ok(cuMemcpyDtoHAsync_v2(host, at, 4, a));
    ok(cuMemsetD32Async(at, 9, 1, a));
    host_word(Some(0));
    ok(cuStreamSynchronize(a));
    assert_eq!(host_word(None), 78);
    // The legacy stream waits for streams that block.
    let blocking = get(|s| cuStreamCreate(s, LEGACY_WAIT));
    ok(add(f, at, 1, blocking));
    assert_eq!(download::<u32>(at, 1), [10]);
    let (start, end) = (event(), event());
    ok(cuEventRecord(start, a));
    ok(add(f, at, 1, a));
    ok(cuEventRecord(end, a));
    ok(cuEventSynchronize(end));
    assert!(get(|ms| cuEventElapsedTime_v2(ms, start, end)) > 0f32);
    while cuStreamQuery(blocking) != 0 {}
}

/// The same without the wait: whoever forgets it must meet an order that shows it.
fn forgotten_wait() {
    begin(0);
    let f = function(ADD, "add");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let at = upload(&[1u32]);
        let (a, b) = (stream(), stream());
        ok(add(f, at, 10, a));
        ok(cuMemsetD32Async(at, 5, 1, b));
        ok(cuStreamSynchronize(b));
        ok(cuStreamSynchronize(a));
        seen.extend(download::<u32>(at, 1));
    }
    assert_eq!(Vec::from_iter(seen), [5, 15]);
}

/// Nothing is computed or copied, and a card runs out as ever.
fn unbacked() {
    begin(0);
    let at = upload(&[1u32]);
    let s = stream();
    ok(add(function(ADD, "add"), at, 10, s));
    ok(cuStreamSynchronize(s));
    assert_eq!(download::<u32>(at, 1), [0x8080_8080]);
    const GIB: usize = 1 << 30;
    let most = get(|p| cuMemAllocAsync(p, 40 * GIB, s));
    ok(cuMemsetD32Async(most, 1, 10 * GIB, s));
    ok(cuStreamSynchronize(s));
    assert_eq!(cuMemAllocAsync(&mut 0, 8 * GIB, s), 2);
    ok(cuMemFreeAsync(most, s));
    get(|p| cuMemAllocAsync(p, 46 * GIB, s));
}

fn graphs() {
    begin(0);
    let f = function(ADD, "add");
    let at = upload(&[0u32]);
    let (a, b) = (stream(), stream());
    ok(cuStreamBeginCapture_v2(a, 0));
    ok(add(f, at, 1, a));
    let (fork, join) = (event(), event());
    ok(cuEventRecord(fork, a));
    ok(cuStreamWaitEvent(b, fork, 0));
    ok(add(f, at, 10, b));
    assert_eq!(get(|s| cuStreamIsCapturing(b, s)), 1);
    ok(cuEventRecord(join, b));
    ok(cuStreamWaitEvent(a, join, 0));
    let graph = get(|g| cuStreamEndCapture(a, g));
    assert_eq!(
        download::<u32>(at, 1),
        [0],
        "a captured launch does not run"
    );
    let executable = get(|e| cuGraphInstantiateWithFlags(e, graph, 0));
    for _ in 0..3 {
        ok(cuGraphLaunch(executable, a));
    }
    ok(cuStreamSynchronize(a));
    assert_eq!(download::<u32>(at, 1), [33]);
    ok(cuGraphDestroy(graph));
    ok(cuGraphExecDestroy(executable));
    // What a real driver refuses.
    let fails = |what: &str, expect: i32, end: i32, call: &dyn Fn() -> i32| {
        let s = stream();
        ok(cuStreamBeginCapture_v2(s, 0));
        ok(add(f, at, 1, s));
        let code = if what == "synchronise" {
            cuStreamSynchronize(s)
        } else {
            call()
        };
        assert_eq!(code, expect, "{what}");
        let mut graph = 0;
        assert_eq!(cuStreamEndCapture(s, &mut graph), end, "{what}");
    };
    fails("synchronise", 900, 901, &|| 0);
    fails("allocate at once", 900, 901, &|| {
        let mut p = 0;
        cuMemAlloc_v2(&mut p, 64)
    });
    fails("synchronise the context", 900, 901, &|| cuCtxSynchronize());
    // A wait for work outside the capture.
    let outside = event();
    ok(cuEventRecord(outside, b));
    let s = stream();
    ok(cuStreamBeginCapture_v2(s, 2));
    assert_eq!(cuStreamWaitEvent(s, outside, 0), 905);
    assert_eq!(cuStreamEndCapture(s, &mut 0), 901);
    // A fork that never comes back.
    let s = stream();
    ok(cuStreamBeginCapture_v2(s, 2));
    ok(cuEventRecord(fork, s));
    let t = stream();
    ok(cuStreamWaitEvent(t, fork, 0));
    ok(add(f, at, 1, t));
    assert_eq!(cuStreamEndCapture(s, &mut 0), 904);
    assert_eq!(cuStreamBeginCapture_v2(0, 0), 900, "the legacy stream");
    // Memory of a graph.
    let s = stream();
    ok(cuStreamBeginCapture_v2(s, 1));
    let inner = get(|p| cuMemAllocAsync(p, 256, s));
    ok(cuMemsetD32Async(inner, 3, 1, s));
    ok(add(f, inner, 4, s));
    ok(cuMemFreeAsync(inner, s));
    let graph = get(|g| cuStreamEndCapture(s, g));
    let executable = get(|e| cuGraphInstantiateWithFlags(e, graph, 0));
    ok(cuGraphLaunch(executable, s));
    ok(cuStreamSynchronize(s));
    assert_eq!(download::<u32>(inner, 1), [7]);
}

/// Events that are nodes of a graph are recorded anew by each launch; others only order what is captured.
fn graph_times() {
    const EXTERNAL: u32 = 1;
    begin(0);
    let f = function(ADD, "add");
    let at = upload(&[0u32]);
    let s = stream();
    let events = [event(), event(), event()];
    assert_eq!(cuEventRecordWithFlags(events[0], s, EXTERNAL), 1);
    ok(cuStreamBeginCapture_v2(s, 0));
    for node in events {
        ok(cuEventRecordWithFlags(node, s, EXTERNAL));
        ok(add(f, at, 1, s));
    }
    let graph = get(|g| cuStreamEndCapture(s, g));
    let executable = get(|e| cuGraphInstantiateWithFlags(e, graph, 0));
    let elapsed =
        |ms: &mut f32, from: usize, to: usize| cuEventElapsedTime_v2(ms, events[from], events[to]);
    assert_eq!(elapsed(&mut 0.0, 0, 1), 400, "nothing was launched yet");
    for _ in 0..2 {
        ok(cuGraphLaunch(executable, s));
        ok(cuEventSynchronize(events[2]));
        let (mut first, mut both) = (0.0, 0.0);
        ok(elapsed(&mut first, 0, 1));
        ok(elapsed(&mut both, 0, 2));
        assert!(first > 0.0 && both > first, "{first} and {both} ms");
    }
    ok(cuStreamSynchronize(s));
    assert_eq!(download::<u32>(at, 1), [6]);
    ok(cuGraphDestroy(graph));
    ok(cuGraphExecDestroy(executable));
}

fn memory_runs_out() {
    begin(0);
    let (mut free, mut total) = (0, 0);
    ok(cuMemGetInfo_v2(&mut free, &mut total));
    assert_eq!(total, (47.37 * (1u64 << 30) as f64) as usize);
    assert!(free < total && total - free < 1 << 30);
    // 40 GiB are promised and not touched.
    let big = get(|p| cuMemAlloc_v2(p, 40 << 30));
    assert_eq!(cuMemAlloc_v2(&mut 0, 8 << 30), 2);
    ok(cuMemFree_v2(big));
    let mut again = 0;
    ok(cuMemAlloc_v2(&mut again, 44 << 30));
    ok(cuMemFree_v2(again));
    // A pool keeps up to its threshold at a synchronisation.
    let pool = get(|p| cuDeviceGetDefaultMemPool(p, 0));
    let reserved = || get(|v| cuMemPoolGetAttribute(pool, 5, v));
    let s = stream();
    let a = get(|p| cuMemAllocAsync(p, 100 << 20, s));
    assert!(reserved() >= 100 << 20);
    ok(cuMemFreeAsync(a, s));
    ok(cuStreamSynchronize(s));
    assert_eq!(reserved(), 0);
    ok(cuMemPoolSetAttribute(pool, 4, &u64::MAX));
    let a = get(|p| cuMemAllocAsync(p, 100 << 20, s));
    ok(cuMemFreeAsync(a, s));
    ok(cuStreamSynchronize(s));
    assert!(reserved() >= 100 << 20);
    assert_eq!(get(|p| cuMemAllocAsync(p, 0, s)), 0);
    // What was freed in stream order and not yet run is found when memory is short.
    let a = get(|p| cuMemAllocAsync(p, 40 << 30, s));
    ok(cuMemFreeAsync(a, s));
    let b = get(|p| cuMemAllocAsync(p, 40 << 30, s));
    assert_ne!(b, 0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib: u64 = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(kib < 200 << 10, "{kib} KiB of host memory");
}

fn limits() {
    begin(0);
    let f = function(ADD, "add");
    let launch = |block: u32, shared: u32, gy: u32| {
        cuLaunchKernel(
            f,
            1,
            gy,
            1,
            block,
            1,
            1,
            shared,
            0,
            [0u64; 2].as_ptr(),
            std::ptr::null(),
        )
    };
    let at = upload(&[0u32]);
    let params = [&raw const at as u64, &raw const at as u64];
    let with = |block: u32, shared: u32, gy: u32| {
        cuLaunchKernel(
            f,
            1,
            gy,
            1,
            block,
            1,
            1,
            shared,
            0,
            params.as_ptr(),
            std::ptr::null(),
        )
    };
    assert_eq!(launch(32, 0, 1), 1, "no parameters");
    assert_eq!(with(1025, 0, 1), 1);
    assert_eq!(with(0, 0, 1), 1);
    assert_eq!(with(32, 0, 70000), 1);
    assert_eq!(
        with(32, 60 << 10, 1),
        1,
        "more than 48 KiB was not asked for"
    );
    ok(cuFuncSetAttribute(f, 8, 64 << 10));
    ok(with(32, 60 << 10, 1));
    assert_eq!(cuFuncSetAttribute(f, 8, 101 << 10), 1);
    let newer = CString::new(ADD.replace(
        ".visible",
        ".version 9.0\n.target sm_90\n.address_size 64\n.visible",
    ))
    .unwrap();
    assert_eq!(
        cuModuleLoadData(&mut 0, newer.as_ptr()),
        209,
        "for a newer card"
    );
}

fn failures_stay() {
    begin(0);
    let f = function(ADD, "add");
    let s = stream();
    ok(add(f, 64, 1, s)); // no such memory
    assert_eq!(cuStreamSynchronize(s), 700);
    assert_eq!(cuCtxSynchronize(), 700);
    assert_eq!(cuMemAlloc_v2(&mut 0, 64), 700);
}

fn planned_fault() {
    begin(0);
    let f = function(ADD, "add");
    let at = upload(&[0u32]);
    ok(add(f, at, 1, 0));
    assert_eq!(download::<u32>(at, 1), [1]);
    ok(add(f, at, 1, 0));
    assert_eq!(
        cuCtxSynchronize(),
        214,
        "the second launch meets an ECC error"
    );
    begin(1);
    assert_eq!(
        cuMemAlloc_v2(&mut 0, 64),
        2,
        "the first allocation of the second card"
    );
    ok(cuMemAlloc_v2(&mut 0, 64));
}

const CASES: [(&str, fn()); 12] = [
    ("unbacked_memory_is_counted", unbacked),
    ("a_forgotten_wait_shows", forgotten_wait),
    ("streams_wait_for_what_they_must", waits),
    ("captured_graphs", graphs),
    ("graphs_with_events", graph_times),
    ("a_card_runs_out", memory_runs_out),
    ("launch_limits", limits),
    ("a_failure_stays", failures_stay),
    ("faults_on_demand", planned_fault),
    ("ranks_meet", collectives),
    ("lt_products", products),
    ("scripted_telemetry", telemetry),
];

fn apart(name: &str, variables: &[(&str, &str)], seeds: u64) {
    api::apart(&CASES, name, variables, seeds);
}

#[test]
fn streams_wait_for_what_they_must() {
    apart("streams_wait_for_what_they_must", &[], 6);
}

#[test]
fn a_forgotten_wait_shows() {
    apart("a_forgotten_wait_shows", &[], 3);
}

#[test]
fn captured_graphs() {
    apart("captured_graphs", &[], 3);
}

#[test]
fn graphs_with_events() {
    apart("graphs_with_events", &[], 3);
}

#[test]
fn a_card_runs_out() {
    apart("a_card_runs_out", &[("VGPU_DEVICES", "8")], 1);
}

#[test]
fn unbacked_memory_is_counted() {
    apart("unbacked_memory_is_counted", &[("VGPU_UNBACKED", "1")], 1);
}

#[test]
fn launch_limits() {
    apart("launch_limits", &[], 1);
}

#[test]
fn a_failure_stays() {
    apart("a_failure_stays", &[], 1);
}

#[test]
fn faults_on_demand() {
    let (_kept, path) = configuration(
        "[[fault]]\nkind = 'ecc-error'\nat = 2\n[[fault]]\nkind = 'out-of-memory'\ndevice = 1\nat = 1\n[[device]]\n[[device]]\nname = 'other'\n",
    );
    apart("faults_on_demand", &[("VGPU_CONFIG", &path)], 1);
}

#[test]
fn ranks_meet() {
    apart("ranks_meet", &[("VGPU_DEVICES", "4")], 4);
}

#[test]
fn lt_products() {
    apart("lt_products", &[], 1);
}

#[test]
fn scripted_telemetry() {
    let (_kept, path) = configuration(
        "[[device]]\n[device.telemetry]\npower_watts = [100.0, 200.0]\nenergy_counter = false\n",
    );
    apart("scripted_telemetry", &[("VGPU_CONFIG", &path)], 1);
}
