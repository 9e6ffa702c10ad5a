//! `profile` on GPUs, timed by CUPTI's records of kernels, as a virtual GPU writes them: also within graphs.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use candlepower::ops::cuda::Gpu;
use serde_json::Value;

use crate::profile::{kernels, profile, row, rows, steps, sum};

/// Whether records are the virtual GPU's: what a card's CUPTI does, and where it lies, is not known here.
fn is_virtual() -> bool {
    let is_virtual = Gpu::is_virtual(0).unwrap();
    if !is_virtual {
        eprintln!("SKIPPED: records here are a card's");
    }
    is_virtual
}

/// With what the virtual GPU counted.
fn counted(flags: &[&str]) -> (Value, Value) {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let profile = steps(flags, &[("VGPU_REPORT", report.to_str().unwrap())]).json();
    let report = std::fs::read_to_string(&report).unwrap();
    (profile, serde_json::from_str(&report).unwrap())
}

/// Launches of a step by kernel.
fn launches(profile: &Value) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let kernels = rows(profile).iter().map(|row| row["kernels"].as_array());
    for kernel in kernels.flatten().flatten() {
        let name = kernel["name"].as_str().unwrap().to_owned();
        *all.entry(name).or_default() += kernel["launches"].as_u64().unwrap();
    }
    all
}

/// Name, grid and launches of each kernel, below its operation.
type LaidOut = BTreeMap<String, Vec<[Value; 3]>>;

fn laid_out(profile: &Value) -> LaidOut {
    let of = |row: &Value| {
        let kernels = row["kernels"].as_array().unwrap().iter();
        let kernels = kernels.map(|k| ["name", "grid", "launches"].map(|key| k[key].clone()));
        (row["name"].as_str().unwrap().to_owned(), kernels.collect())
    };
    rows(profile).iter().map(of).collect()
}

/// Times of kernels lie within their operation's, and all of them within the step.
fn check(profile: &Value) {
    assert_eq!(profile["timed_by"], "cupti", "{profile}");
    let mut all = 0.0;
    for row in rows(profile) {
        let name = row["name"].as_str().unwrap();
        let (own, us) = (sum(profile, name, "us"), row["us"].as_f64().unwrap());
        assert!(own > 0.0 && own <= us + 1e-6, "{own} of {row}");
        all += own;
    }
    let told = profile["totals"]["kernels_us"].as_f64().unwrap();
    assert!((told - all).abs() < 1e-6 * all, "{told} of {all}");
    assert!(profile["not_observed"]["totals.kernels_us"].is_null());
}

/// The step runs in a graph, whose kernels are those that it launches without one.
#[test]
fn kernels_in_a_graph_land_on_their_operation() {
    if !is_virtual() {
        return;
    }
    for batch in ["2", "4"] {
        let flags = ["--json", "--steps", "3", "--batch", batch];
        let (profile, report) = counted(&flags);
        check(&profile);
        // The one to capture in, and three.
        let replays = report["calls"]["cuGraphLaunch"].as_u64().unwrap();
        assert!(replays >= 4, "{replays}");
        let by_events = steps(&[&flags[..], &["--timed-by", "events"]].concat(), &[]).json();
        assert_eq!(by_events["timed_by"], "events");
        let (mut within, mut alone) = (laid_out(&profile), laid_out(&by_events));
        // A graph has blocks for the longest sequence that there may be.
        let blocks = |all: &mut LaidOut| all.get_mut("attend").unwrap()[0][1].take();
        let (more, few) = (blocks(&mut within), blocks(&mut alone));
        assert!(more[0].as_u64() > few[0].as_u64(), "{more} and {few}");
        assert_eq!(within, alone);
    }
}

/// A step of three rows runs in the graph for four.
#[test]
fn a_graph_with_more_rows_than_the_step_is_timed_as_it_runs() {
    if !is_virtual() {
        return;
    }
    let of = |batch| {
        let profile = steps(&["--json", "--steps", "2", "--batch", batch], &[]).json();
        check(&profile);
        laid_out(&profile)
    };
    assert_eq!(of("3"), of("4"));
}

/// Two steps more are twice the step's kernels more.
#[test]
fn kernels_are_those_that_ran() {
    if !is_virtual() {
        return;
    }
    for phase in ["decode", "prefill"] {
        let of = |steps| counted(&["--json", "--batch", "2", "--phase", phase, "--steps", steps]);
        let ((profile, few), (_, many)) = (of("2"), of("4"));
        check(&profile);
        let ran = |report: &Value| {
            let kernels = report["kernels"].as_array().unwrap().iter();
            let kernels = kernels.map(|k| (k["name"].as_str(), k["launches"].as_u64()));
            let kernels = kernels.map(|(name, count)| (name.unwrap().to_owned(), count.unwrap()));
            kernels.collect::<BTreeMap<_, _>>()
        };
        let (few, many) = (ran(&few), ran(&many));
        // Roofs are measured as often as the machine has time for: their kernels are others.
        for (name, count) in launches(&profile) {
            if !name.starts_with("virtual_gemm") {
                assert_eq!(many[&name] - few[&name], 2 * count, "{name}");
            }
        }
    }
}

/// What a library launches has its own name and shape.
#[test]
fn kernels_of_libraries_are_told() {
    if !is_virtual() {
        return;
    }
    let profile = profile(&["--phase", "prefill"], &[]);
    check(&profile);
    let [product] = kernels(&profile, "qkv").as_slice() else {
        panic!("{}", row(&profile, "qkv"));
    };
    let name = product["name"].as_str().unwrap();
    assert!(name.starts_with("virtual_gemm_"), "{name}");
    assert_eq!(product["launches"], row(&profile, "qkv")["calls"]);
    assert_eq!(
        (&product["block"], &product["registers"]),
        (&128.into(), &128.into())
    );
    // Four warps in each part of the registers, of twelve that there is room for.
    let occupancy = product["occupancy"].as_f64().unwrap();
    assert!((occupancy - 16.0 / 48.0).abs() < 1e-9, "{occupancy}");
    assert!(profile["not_observed"]["kernels.grid"].is_null());
}

#[test]
fn ranks_are_timed_beside_each_other() {
    if !is_virtual() || Gpu::count().unwrap() < 2 {
        eprintln!("SKIPPED: no two virtual GPUs");
        return;
    }
    for (how, kernel) in [("host", "one_shot"), ("nccl", "ncclDevKernel")] {
        if how == "nccl" && !cfg!(feature = "nccl") {
            continue;
        }
        let profile = profile(&["--tp", "2", "--all-reduce", how], &[]);
        check(&profile);
        let names = launches(&profile);
        assert!(names.keys().any(|n| n.starts_with(kernel)), "{names:?}");
        let by_events = ["--tp", "2", "--all-reduce", how, "--timed-by", "events"];
        let by_events = self::profile(&by_events, &[]);
        let count = |profile: &Value| {
            let rows = rows(profile).iter();
            rows.map(|row| {
                (
                    row["name"].as_str().unwrap().to_owned(),
                    row["calls"].as_u64(),
                )
            })
            .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(count(&profile), count(&by_events));
        for row in rows(&profile) {
            let range = row["ranks_us"].as_array().unwrap();
            assert!(range[0].as_f64().unwrap() > 0.0, "{row}");
        }
    }
}

#[test]
fn buffers_of_one_record_tell_the_same() {
    if !is_virtual() {
        return;
    }
    let of = |variables| {
        let profile = profile(&[], variables);
        check(&profile);
        (laid_out(&profile), profile["totals"]["kernels_us"].clone())
    };
    assert_eq!(of(&[]), of(&[("VGPU_CUPTI", "tiny")]));
}

#[test]
fn without_graphs_kernels_are_traced_all_the_same() {
    if !is_virtual() {
        return;
    }
    let (profile, report) =
        counted(&["--json", "--batch", "2", "--steps", "2", "--no-cuda-graphs"]);
    check(&profile);
    assert!(report["calls"]["cuGraphLaunch"].is_null());
}

/// Each is a sentence, and events do it.
#[test]
fn whatever_is_wrong_with_the_records_events_take_their_place() {
    if !is_virtual() {
        return;
    }
    for (mode, reason) in [
        ("old", "has version 12"),
        ("new", "has version 990000"),
        (
            "busy",
            "MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED: another profiler",
        ),
        ("unprivileged", "INSUFFICIENT_PRIVILEGES: root"),
        ("drops", "had no room for"),
        ("silent", "does not tell of"),
        ("stranger", "tells of stranger where"),
        ("timeless", "without their times"),
    ] {
        let variables = [("VGPU_CUPTI", mode)];
        let profile = steps(&["--json", "--batch", "2", "--steps", "1"], &variables).json();
        assert_eq!(profile["timed_by"], "events", "{mode}");
        assert!(profile["totals"]["kernels_us"].is_null());
        let said = profile["not_observed"]["totals.kernels_us"].as_str();
        let said = said.unwrap();
        assert!(said.contains(reason), "{mode}: {said}");
    }
}

#[test]
fn the_table_says_what_told_the_times() {
    if !is_virtual() {
        return;
    }
    for (mode, said) in [
        ("well", "as CUPTI tells of each"),
        ("busy", "CUDA graphs off (cuptiSubscribe of CUPTI answers"),
    ] {
        let table = steps(&["--batch", "2", "--steps", "1"], &[("VGPU_CUPTI", mode)]).stdout;
        let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(table.contains(said), "{table}");
    }
}

#[test]
fn a_library_that_is_not_there_is_named() {
    if !is_virtual() {
        return;
    }
    let named = profile(&[], &[("CANDLEPOWER_CUPTI", "/nowhere/libcupti.so")]);
    // All others beside it.
    let dir = tempfile::tempdir().unwrap();
    let folders = std::env::var("LD_LIBRARY_PATH").unwrap();
    let folders: Vec<&Path> = folders.split(':').map(Path::new).collect();
    let files = folders.iter().filter_map(|f| f.read_dir().ok()).flatten();
    for file in files.flatten() {
        if !file.file_name().to_string_lossy().starts_with("libcupti") {
            let _ = symlink(file.path(), dir.path().join(file.file_name()));
        }
    }
    let dir = dir.path().to_str().unwrap();
    let absent = [
        ("LD_LIBRARY_PATH", dir),
        ("CUDA_HOME", "/nowhere"),
        ("CUDA_PATH", ""),
    ];
    let absent = profile(&[], &absent);
    for (profile, reason) in [(named, "/nowhere/libcupti.so"), (absent, "libcupti.so.13")] {
        assert_eq!(profile["timed_by"], "events");
        let said = profile["not_observed"]["totals.kernels_us"].as_str();
        assert!(said.unwrap().contains(reason), "{said:?}");
    }
}
