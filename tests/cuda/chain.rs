//! Kernels of a decode step that begin before the ones in front have ended, as a GPU of 9.0 lets them.

use std::ops::RangeFrom;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candle_core::DType;
use candlepower::ops::cuda::{Cuda, Gpu};
use candlepower::parallel::AllReduce;
use serde_json::Value;

use crate::common::golden::Golden;
use crate::common::{Model, Session, fixture};
use crate::exchange::Machine;
use crate::model::{greedy_is_golden, load_with, setup};
use crate::profile::steps;
use crate::report::{kernels, reported};

/// With biases, and with norms of heads.
const MODELS: [&str; 2] = ["qwen2-tiny", "qwen3-tiny"];
const CHAINED: [&str; 4] = ["gemv_", "add_norm_", "write_kv_", "attention_"];
/// Compute capabilities without and with kernels that overlap.
const OLDER: u32 = 80;
const NEWER: u32 = 90;

fn machine(device: &str) -> Machine {
    Machine::new(1, false).configured(&format!("[[device]]\ncompute = {NEWER}\n{device}"))
}

fn count_of(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap()
}

fn overlapping(report: &Value, begin: &str) -> u64 {
    let rows = kernels(report, begin).into_iter();
    rows.map(|row| count_of(row, "overlapping")).sum()
}

/// Also from graphs, where nobody found a kernel that touches what one in front is at.
#[test]
fn kernels_of_a_decode_step_overlap_and_change_no_token() {
    let test = "chain::kernels_of_a_decode_step_overlap_and_change_no_token";
    let report = reported(machine(""), test, || {
        for (name, graphs) in MODELS.into_iter().zip([false, true]) {
            greedy_is_golden(name, &setup(1, graphs));
        }
    });
    let Some(report) = report else { return };
    for begin in CHAINED {
        assert!(overlapping(&report, begin) > 0, "{begin}: {report}");
    }
    let of_all = overlapping(&report, "");
    let of_chained: u64 = CHAINED
        .map(|begin| overlapping(&report, begin))
        .iter()
        .sum();
    assert_eq!(of_all, of_chained, "{report}");
    // In front of it the cache was written, whatever the step.
    for row in kernels(&report, "attention_") {
        assert_eq!(row["overlapping"], row["launches"], "{row}");
    }
}

#[test]
fn a_driver_may_refuse_and_so_may_a_user() {
    let test = "chain::a_driver_may_refuse_and_so_may_a_user";
    for machine in [
        machine("overlaps = false\n"),
        machine("").with("CANDLEPOWER_KERNEL_OVERLAP", 0),
    ] {
        let report = reported(machine, test, || {
            greedy_is_golden(MODELS[0], &setup(1, true));
        });
        let Some(report) = report else { return };
        assert_eq!(overlapping(&report, ""), 0, "{report}");
        assert!(!kernels(&report, "gemv_").is_empty());
    }
}

/// Their times are to add up.
#[test]
fn kernels_that_are_timed_run_one_behind_the_other() {
    if !Gpu::is_virtual(0).unwrap() {
        eprintln!("SKIPPED: only a virtual GPU tells");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [config, report] = ["vgpu.toml", "report.json"].map(|name| dir.path().join(name));
    std::fs::write(&config, format!("[[device]]\ncompute = {NEWER}\n")).unwrap();
    let [config_file, report_file] = [&config, &report].map(|path| path.to_str().unwrap());
    for timed_by in ["auto", "events"] {
        // What comes before the steps that are timed is the same.
        let told = ["1", "4"].map(|count| {
            let flags = ["--batch", "2", "--timed-by", timed_by, "--steps", count];
            let machine = [("VGPU_CONFIG", config_file), ("VGPU_REPORT", report_file)];
            steps(&flags, &machine);
            let report = std::fs::read_to_string(&report).unwrap();
            let report: Value = serde_json::from_str(&report).unwrap();
            let rows = kernels(&report, "").into_iter();
            let launches: u64 = rows.map(|row| count_of(row, "launches")).sum();
            (overlapping(&report, ""), launches)
        });
        let [(few, launches_of_few), (many, launches_of_many)] = told;
        assert!(launches_of_few < launches_of_many, "{told:?}");
        assert_eq!(few, many, "{timed_by}: {told:?}");
    }
}

/// PTX that the build made of `kernels/<file>.cu`.
fn built(file: &str, arch: u32) -> String {
    let path = Path::new(env!("OUT_DIR")).join(format!("{file}.{arch}.ptx"));
    std::fs::read_to_string(path).unwrap()
}

const WAIT: &str = "griddepcontrol.wait;";
const LOAD: &str = "ld.global.v4.f32";

/// What a file's kernels are without: nothing, their wait, or loads that see what has changed since they began.
const LEFT_OUT: [(&str, u32, &str, &str); 7] = [
    ("gemv", NEWER, WAIT, WAIT),
    // It does not wait, so that it is launched behind what is in front.
    ("gemv", OLDER, LOAD, LOAD),
    ("gemv", NEWER, WAIT, ""),
    ("gemv", NEWER, LOAD, "ld.global.nc.v4.f32"),
    ("norm", NEWER, WAIT, ""),
    ("kv_write", NEWER, WAIT, ""),
    ("attention_64_f32", NEWER, WAIT, ""),
];
/// Of these.
const WRONG: RangeFrom<usize> = 2..;

/// Whether a model gives its tokens with `other` in place of `part`.
fn plays((file, arch, part, other): (&'static str, u32, &str, &str)) -> bool {
    let ptx = built(file, arch);
    assert!(ptx.contains(part), "{file} has no {part}");
    let changed = ptx.replace(part, other);
    let (model, golden) = (Model::open(&fixture(MODELS[0])), Golden::read(MODELS[0]));
    let played = catch_unwind(AssertUnwindSafe(|| {
        let setup = setup(1, true);
        let kernels = move |gpu| Cuda::replaced(gpu, DType::F32, file, changed.clone());
        let ranks = load_with(
            kernels,
            AllReduce::Nccl,
            &model,
            setup.split(),
            setup.limits(),
        );
        Session::around(ranks, &setup).together(&golden.prompts, golden.max_tokens())
    }));
    played.is_ok_and(|tokens| tokens == golden.greedy)
}

/// The virtual GPU runs one kernel behind the other: without a wait its results are right, and it tells what may not be.
#[test]
fn every_wait_is_needed() {
    let watched = (0..LEFT_OUT.len()).map(|part| (part, 1));
    for (part, races) in watched.chain([(WRONG.start, 0)]) {
        let machine = machine("")
            .with("VGPU_STRICT", 1)
            .with("VGPU_RACES", races)
            .with("CANDLEPOWER_TEST_PART", part);
        if !machine.is_inside("chain::every_wait_is_needed") {
            continue;
        }
        let set = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
        let (part, races) = (set("CANDLEPOWER_TEST_PART"), set("VGPU_RACES"));
        let is_right = !WRONG.contains(&part) || races == 0;
        assert_eq!(plays(LEFT_OUT[part]), is_right, "{:?}", LEFT_OUT[part]);
        return;
    }
}
