//! The trace: slices within slices, and the same sums as the table.

use std::collections::BTreeMap;

use serde_json::Value;
use tempfile::TempDir;

use super::command::profile;
use crate::cli_support::{fixture, run};

/// Nanoseconds, exactly: the file has microseconds with three decimals.
fn nanos(value: &Value) -> u64 {
    (value.as_f64().unwrap() * 1e3).round() as u64
}

#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    pub name: String,
    pub kind: String,
    pub pid: u64,
    pub start: u64,
    pub end: u64,
}

pub struct Trace(Vec<Value>);

impl Trace {
    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert!(json["otherData"]["title"].as_str().unwrap().contains("on "));
        Self(json["traceEvents"].as_array().unwrap().clone())
    }

    pub fn slices(&self) -> Vec<Slice> {
        let slices = self.0.iter().filter(|event| event["ph"] == "X");
        let slice = |event: &Value| Slice {
            name: event["name"].as_str().unwrap().to_owned(),
            kind: event["cat"].as_str().unwrap().to_owned(),
            pid: event["pid"].as_u64().unwrap(),
            start: nanos(&event["ts"]),
            end: nanos(&event["ts"]) + nanos(&event["dur"]),
        };
        slices.map(slice).collect()
    }

    /// Names of processes, and the counters of each.
    fn processes(&self) -> BTreeMap<u64, String> {
        let names = self
            .0
            .iter()
            .filter(|event| event["name"] == "process_name");
        let name = |event: &Value| {
            let name = event["args"]["name"].as_str().unwrap();
            (event["pid"].as_u64().unwrap(), name.to_owned())
        };
        names.map(name).collect()
    }

    fn counter(&self, pid: u64, name: &str) -> Vec<f64> {
        let events = self
            .0
            .iter()
            .filter(|event| event["ph"] == "C" && event["pid"] == pid && event["name"] == name);
        let value = |event: &Value| {
            let values = event["args"].as_object().unwrap();
            values.values().next().unwrap().as_f64().unwrap()
        };
        events.map(value).collect()
    }
}

/// Each slice lies in the one that was open when it began, as Perfetto's importer asks; gives each with
/// its parent's name.
fn nested(slices: &[Slice]) -> Vec<(Slice, Option<Slice>)> {
    let mut parents = Vec::new();
    let pids: std::collections::BTreeSet<u64> = slices.iter().map(|slice| slice.pid).collect();
    for pid in pids {
        let mut open: Vec<Slice> = Vec::new();
        let mut last = 0;
        for slice in slices.iter().filter(|slice| slice.pid == pid) {
            assert!(slice.start >= last, "{slice:?} is out of order");
            last = slice.start;
            while open
                .last()
                .is_some_and(|outer| outer.end <= slice.start && outer.end < slice.end)
            {
                open.pop();
            }
            if let Some(outer) = open.last() {
                assert!(slice.end <= outer.end, "{slice:?} reaches out of {outer:?}");
            }
            parents.push((slice.clone(), open.last().cloned()));
            open.push(slice.clone());
        }
    }
    parents
}

/// Steps hold layers and operations, layers hold operations.
fn check_kinds(slices: &[Slice]) {
    for (slice, parent) in nested(slices) {
        let parent = parent.map(|parent| parent.kind);
        match slice.kind.as_str() {
            "step" => assert_eq!(parent, None, "{slice:?}"),
            "layer" => assert_eq!(parent.as_deref(), Some("step"), "{slice:?}"),
            "op" => assert!(
                matches!(parent.as_deref(), Some("step" | "layer")),
                "{slice:?}"
            ),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn slices_nest_and_their_sums_are_the_tables() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("trace.json");
    let path = path.to_str().unwrap();
    // Of fewer than four steps the table leaves none out.
    let args = [
        "--tp",
        "2",
        "--batch",
        "4",
        "--context",
        "24",
        "--steps",
        "3",
        "--trace",
        path,
    ];
    let profile = profile("llama-tiny", &args);
    let trace = Trace::read(path);
    let slices = trace.slices();
    check_kinds(&slices);
    let names: Vec<_> = trace.processes().into_values().collect();
    assert_eq!(names, ["engine", "rank 0 on cpu", "rank 1 on cpu"]);

    let sum = |pid, name: &str| {
        let found = slices
            .iter()
            .filter(|s| s.pid == pid && s.kind == "op" && s.name == name);
        let (count, nanos) = found.fold((0, 0), |(n, sum), s| (n + 1, sum + s.end - s.start));
        (count, nanos as f64 / 1e3 / 3.0)
    };
    for op in profile["ops"].as_array().unwrap() {
        let (count, us) = sum(1, op["name"].as_str().unwrap());
        assert_eq!(
            Some(count),
            op["calls"].as_u64().map(|calls| 3 * calls),
            "{op}"
        );
        assert!((us - op["us"].as_f64().unwrap()).abs() < 1e-3, "{us}: {op}");
    }
    let steps: Vec<_> = slices.iter().filter(|s| s.pid == 0).collect();
    assert_eq!(steps.len(), 3);
    let mean = steps.iter().map(|s| s.end - s.start).sum::<u64>() as f64 / 3e3;
    assert!((mean - profile["step_us"].as_f64().unwrap()).abs() < 1e-3);
    // Three layers a step, on each rank, within the engine's step.
    for pid in [1, 2] {
        let layers = slices.iter().filter(|s| s.pid == pid && s.kind == "layer");
        assert_eq!(layers.count(), 9);
        let steps_of_rank = slices.iter().filter(|s| s.pid == pid && s.kind == "step");
        for (own, step) in steps_of_rank.zip(&steps) {
            assert!(own.start >= step.start && own.end <= step.end);
        }
    }
    assert_eq!(trace.counter(0, "batch"), [4.0, 4.0, 4.0, 0.0]);
    assert_eq!(trace.counter(0, "KV"), [8.0; 4]);
    let bytes = trace.counter(0, "bytes");
    assert!(bytes[0] > 0.0 && bytes[0] == bytes[2] && bytes[3] == 0.0);
    let ops = slices
        .iter()
        .filter(|s| s.pid == 1 && s.kind == "op")
        .count();
    assert_eq!(trace.counter(1, "GB/s").len(), ops + 1);
}

#[test]
fn loads_of_a_sweep_follow_each_other() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("trace.json");
    let path = path.to_str().unwrap();
    profile(
        "qwen2-tiny",
        &[
            "--batch",
            "1,2",
            "--context",
            "20",
            "--steps",
            "2",
            "--trace",
            path,
        ],
    );
    let trace = Trace::read(path);
    check_kinds(&trace.slices());
    assert_eq!(trace.counter(0, "batch"), [1.0, 1.0, 2.0, 2.0, 0.0]);
}

#[test]
fn some_steps_of_a_run_are_traced() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (path, out) = (file("trace.json"), file("out"));
    let model = fixture("llama-tiny");
    let load = [
        "--concurrency",
        "3",
        "--requests",
        "6",
        "--output-len",
        "9",
        "--input-len",
        "12",
    ];
    let base = [&["bench", "--model", &model, "--trace", &path], &load[..]].concat();
    let args = [
        &base[..],
        &["--trace-steps", "4..9", "--tp", "2", "--out", &out],
    ]
    .concat();
    run(&args).succeeded();
    let trace = Trace::read(&path);
    let slices = trace.slices();
    check_kinds(&slices);
    let steps: Vec<_> = slices.iter().filter(|s| s.pid == 0).collect();
    let names: Vec<_> = steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["step 4", "step 5", "step 6", "step 7", "step 8"]);
    for pid in [1, 2] {
        let own: Vec<_> = slices
            .iter()
            .filter(|s| s.pid == pid && s.kind == "step")
            .collect();
        assert_eq!(own.len(), 5);
        for (own, step) in own.iter().zip(&steps) {
            assert!(
                own.start >= step.start && own.end <= step.end,
                "{own:?} {step:?}"
            );
        }
    }
    // The same steps as in the run's own record.
    let lines = std::fs::read_to_string(format!("{out}/steps.jsonl")).unwrap();
    let records: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let batch = |step: &Value| step["scheduled"].as_f64().unwrap();
    let expected: Vec<f64> = records[4..9].iter().map(batch).chain([0.0]).collect();
    assert_eq!(trace.counter(0, "batch"), expected);
    for (number, record) in records.iter().enumerate() {
        assert_eq!(
            record["step"], number,
            "from 0 behind the warm-up, as the trace"
        );
        assert_eq!(record["run"], 0, "of one run as of several");
    }
    for (step, record) in steps.iter().zip(&records[4..9]) {
        let seconds = record["end"].as_f64().unwrap() - record["start"].as_f64().unwrap();
        assert!(((step.end - step.start) as f64 / 1e9 - seconds).abs() < 1e-6);
    }
    // A run that ends inside the window is traced to its end; one that ends before it, not at all.
    for (window, traced) in [("10..4000", records.len() - 10), ("5000..5001", 0)] {
        let outcome = run(&[&base[..], &["--trace-steps", window]].concat()).succeeded();
        let is_told = outcome
            .stderr
            .contains(&format!("--trace-steps {window}: the first run had"));
        assert_eq!(is_told, traced == 0, "{outcome:?}");
        let slices = Trace::read(&path).slices();
        let steps = slices.iter().filter(|s| s.pid == 0).count();
        assert_eq!(steps, traced, "{window}");
    }
}

#[test]
fn a_simulated_run_is_traced_in_virtual_time() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("trace.json");
    let path = path.to_str().unwrap();
    let args = [
        "bench",
        "--device",
        "sim:rtx4090-48g",
        "--model",
        "QwQ-32B",
        "--tp",
        "2",
        "--concurrency",
        "4",
        "--requests",
        "4",
        "--output-len",
        "6",
        "--reference",
        "none",
        "--trace",
        path,
        "--trace-steps",
        "1..3",
    ];
    run(&args).succeeded();
    let slices = Trace::read(path).slices();
    check_kinds(&slices);
    let layers = slices.iter().filter(|s| s.pid == 2 && s.kind == "layer");
    assert_eq!(layers.count(), 2 * 64);
}
