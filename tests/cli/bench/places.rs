//! A result on a disk that has no room for it, and one where another lies.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::recompute::recompute;
use crate::cli_support::{Outcome, command, fixture, run};

const LOAD: [&str; 10] = [
    "--concurrency",
    "8",
    "--requests",
    "400",
    "--input-len",
    "8",
    "--output-len",
    "24",
    "--json",
    "--quiet",
];

fn bench(out: &Path) -> Command {
    let model = fixture("llama-tied-tiny");
    let args = ["bench", "--model", &model, "--out", out.to_str().unwrap()];
    command(&[&args[..], &LOAD].concat())
}

#[test]
fn several_runs_have_a_file_each_of_vllm_s_format() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    let model = fixture("llama-tied-tiny");
    let args = "--concurrency 1,2,4 --requests 3,4,8 --input-len 8 --output-len 4 --json";
    let args: Vec<&str> = args.split(' ').collect();
    run(&[&["bench", "--model", &model, "--out", out][..], &args].concat()).succeeded();
    recompute(out);
    for (index, requests) in [3, 4, 8].into_iter().enumerate() {
        let name = format!("{out}/vllm-{}.json", index + 1);
        let file: Value = serde_json::from_str(&fs::read_to_string(name).unwrap()).unwrap();
        assert_eq!(file["completed"], requests);
    }
}

#[test]
fn a_second_run_into_the_same_place_is_refused_before_it_plays() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    Outcome::of(bench(&out).output().unwrap()).succeeded();
    let before = fs::read(out.join("requests.jsonl")).unwrap();
    let again = Outcome::of(bench(&out).output().unwrap());
    assert_eq!((again.code, again.stdout.as_str()), (Some(2), ""));
    assert!(again.stderr.contains("holds a result"), "{again:?}");
    assert_eq!(fs::read(out.join("requests.jsonl")).unwrap(), before);
    recompute(out.to_str().unwrap());
}

/// On a disk of 256 KiB, where the machine lets a test mount one.
#[test]
fn a_full_disk_costs_raw_records_and_no_summary() {
    let dir = TempDir::new().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let out = disk.join("out");
    let plain = bench(&out);
    let mount = format!("mount -t tmpfs -o size=256k none {}", disk.display());
    // The disk is gone with its process: what lies on it is shown before.
    let look = format!(
        "find {} -type f; cat {}/*partial*/results.json",
        disk.display(),
        disk.display()
    );
    let script = format!(
        "{mount} || exit 77; \"$@\" > {0}/shown; echo code $?; {look}",
        dir.path().display()
    );
    let mut inside = Command::new("unshare");
    inside.args(["-rm", "sh", "-c", &script, "sh"]);
    inside.arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs().filter_map(|(n, v)| Some((n, v?))) {
        inside.env(name, value);
    }
    let outcome = match inside.output() {
        Ok(output) => Outcome::of(output),
        Err(error) => return println!("left out: no unshare here ({error})"),
    };
    if outcome.code == Some(77) || outcome.stderr.contains("unshare:") {
        return println!("left out: no disk can be mounted here: {}", outcome.stderr);
    }
    assert!(outcome.stdout.starts_with("code 1\n"), "{outcome:?}");
    let error = outcome.stderr.lines().last().unwrap();
    for part in [
        "jsonl: could not be written",
        "No space left",
        "out.partial-",
    ] {
        assert!(error.contains(part), "{error}");
    }
    // What was shown is what is written.
    let shown: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("shown")).unwrap()).unwrap();
    let (files, results) = outcome.stdout.split_once("\n{").unwrap();
    let results: Value = serde_json::from_str(&format!("{{{results}")).unwrap();
    assert_eq!(results, shown);
    assert_eq!(results["runs"][0]["metrics"]["successful_requests"], 400);
    for name in [
        "summary.csv",
        "summary.md",
        "telemetry.csv",
        "manifest.json",
    ] {
        assert!(files.contains(name), "{name} is not among {files}");
    }
    // The file that the error names has not been left by half.
    let failed = error.split(": could not").next().unwrap();
    let failed = failed.rsplit('/').next().unwrap();
    assert!(!files.contains(failed), "{failed} is among {files}");
}
