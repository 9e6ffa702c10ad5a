//! `sweep` through the program: its points, their files, and a sweep that is killed and goes on.

mod stopped;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use candlepower::capacity::Sweep;
use serde_json::Value;
use tempfile::TempDir;

use crate::cli_support::{Outcome, command, fixture, refused, run};

fn sweep(out: &Path, words: &str) -> Outcome {
    let args = ["sweep"].into_iter().chain(words.split(' '));
    let args = args.chain(["--out", out.to_str().unwrap()]);
    run(&args.collect::<Vec<_>>())
}

fn valid(outcome: &Outcome) -> Value {
    let swept = outcome.json();
    let validator = jsonschema::validator_for(&Sweep::schema()).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(&swept)
        .map(|e| e.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    swept
}

/// Name, time of writing and content of each point.
fn files(out: &Path) -> BTreeMap<String, (std::time::SystemTime, String)> {
    let entries = fs::read_dir(out.join("points"))
        .into_iter()
        .flatten()
        .flatten();
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let written = entry.metadata().unwrap().modified().unwrap();
        (name, (written, fs::read_to_string(entry.path()).unwrap()))
    };
    let finished = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|e| e == "json");
    entries.filter(finished).map(read).collect()
}

const SIM: &str = "--device sim:h100-sxm --model Qwen2.5-0.5B --output-len 16 --requests 32";

#[test]
fn every_point_is_a_row_and_no_other_beats_the_frontier() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("sweep");
    let words = format!(
        "{SIM} --grid concurrency=1..16*2 --grid tp=1,2,3 --grid prefix-cache=false,true --json"
    );
    let swept = valid(&sweep(&out, &words).succeeded());
    let points = swept["points"].as_array().unwrap();
    assert_eq!(points.len(), 30);
    let first = &points[0]["settings"];
    assert_eq!(
        first.to_string(),
        r#"{"concurrency":1,"tp":1,"prefix-cache":false}"#
    );
    let failed: Vec<&Value> = points
        .iter()
        .filter(|point| !point["error"].is_null())
        .collect();
    assert_eq!(failed.len(), 10);
    for point in failed {
        assert_eq!(point["settings"]["tp"], 3, "14 heads are no multiple");
        assert!(
            point["metrics"].is_null() && point["error"].as_str().unwrap().contains("--tp 3"),
            "{point}"
        );
    }
    let speeds = |point: &Value| {
        let speed = |key: &str| point[key].as_f64();
        Some((
            speed("tokens_per_s_per_user")?,
            speed("tokens_per_s_per_gpu")?,
        ))
    };
    let frontier: Vec<usize> = swept["frontier"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i.as_u64().unwrap() as usize)
        .collect();
    assert!(!frontier.is_empty());
    for (index, point) in points.iter().enumerate() {
        let Some((user, gpu)) = speeds(point) else {
            assert!(!frontier.contains(&index));
            continue;
        };
        let beats = |other: &Value| {
            speeds(other).is_some_and(|(u, g)| u >= user && g >= gpu && (u > user || g > gpu))
        };
        // Of equal points one is on it.
        let is_beaten = points.iter().any(beats);
        assert!(!(is_beaten && frontier.contains(&index)), "{index}");
        let equal = |&i: &usize| speeds(&points[i]) == Some((user, gpu));
        assert!(is_beaten || frontier.iter().any(equal), "{index}");
    }
    let of_gpu = points[4]["extended"]["output_throughput_per_gpu"].as_f64();
    assert_eq!(points[4]["tokens_per_s_per_gpu"].as_f64(), of_gpu);
    for name in ["sweep.json", "sweep.md", "sweep.csv", "frontier.svg"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let kept: Value =
        serde_json::from_str(&fs::read_to_string(out.join("sweep.json")).unwrap()).unwrap();
    assert_eq!(kept, swept);
    let svg = fs::read_to_string(out.join("frontier.svg")).unwrap();
    assert_eq!(svg.matches("<circle").count(), 20);
    let csv = fs::read_to_string(out.join("sweep.csv")).unwrap();
    assert_eq!(csv.lines().count(), 31);
    let markdown = fs::read_to_string(out.join("sweep.md")).unwrap();
    assert_eq!(
        markdown.lines().filter(|l| l.starts_with('|')).count(),
        30 + 2 + frontier.len() + 2
    );
}

#[test]
fn a_second_run_plays_what_the_first_has_not() {
    let dir = TempDir::new().unwrap();
    let small = format!("{SIM} --grid concurrency=1,4");
    let said = sweep(dir.path(), &small).succeeded().stderr;
    assert!(said.contains(&format!("written to {}", dir.path().display())));
    let before = files(dir.path());
    assert_eq!(before.len(), 2);
    sweep(dir.path(), &format!("{SIM} --grid concurrency=1,2,4")).succeeded();
    let after = files(dir.path());
    assert_eq!(after.len(), 3);
    for (name, point) in &before {
        assert_eq!(after.get(name), Some(point), "{name} was played again");
    }
    // Another base is another sweep, and --overwrite begins anew.
    sweep(dir.path(), &format!("{small} --max-num-seqs 2")).succeeded();
    assert_eq!(files(dir.path()).len(), 5);
    sweep(dir.path(), &format!("{small} --overwrite")).succeeded();
    assert_eq!(files(dir.path()).len(), 2);
}

/// SIGKILL at any time: what is there is whole, is not played again, and the sweep ends with every point once.
#[test]
fn a_sweep_that_was_killed_goes_on_without_a_lost_or_repeated_point() {
    let model = fixture("qwen2-tiny");
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let words = format!(
        "sweep --model {model} --device cpu --grid concurrency=1..4+1 --grid block-size=8,16 --requests 200 --input-len 32 --output-len 32 --out {out} --json"
    );
    let words: Vec<&str> = words.split(' ').collect();
    let mut killed = 0;
    for wanted in [1, 3, 6] {
        let mut child = command(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while files(dir.path()).len() < wanted && start.elapsed() < Duration::from_secs(120) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            sleep(Duration::from_millis(1));
        }
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        for (name, (_, text)) in files(dir.path()) {
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{name}");
        }
    }
    assert!(killed > 0, "every run ended before it could be killed");
    let before = files(dir.path());
    let swept = valid(&run(&words).succeeded());
    let after = files(dir.path());
    assert_eq!(after.len(), 8);
    for (name, point) in &before {
        assert_eq!(after.get(name), Some(point), "{name} was played again");
    }
    let points = swept["points"].as_array().unwrap();
    let mut settings: Vec<String> = points.iter().map(|p| p["settings"].to_string()).collect();
    settings.sort();
    settings.dedup();
    assert_eq!((points.len(), settings.len()), (8, 8));
    assert_eq!(swept["partial"], false);
    let left: Vec<_> = fs::read_dir(dir.path().join("points")).unwrap().collect();
    assert_eq!(left.len(), 8, "nothing half-written is left: {left:?}");
}

#[test]
fn points_may_be_listed() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("points.toml");
    fs::write(
        &file,
        "[[point]]\nconcurrency = 1\noutput_len = 4\n[[point]]\nrequest_rate = 50.5\n",
    )
    .unwrap();
    let out = dir.path().join("sweep");
    let words = format!(
        "--device sim:h100-sxm --requests 8 --points {} --grid tp=1,2 --json",
        file.display()
    );
    let swept = valid(&sweep(&out, &words).succeeded());
    let points = swept["points"].as_array().unwrap();
    let settings: Vec<String> = points.iter().map(|p| p["settings"].to_string()).collect();
    assert_eq!(settings.len(), 4);
    assert_eq!(settings[3], r#"{"request-rate":50.5,"tp":2}"#);
    assert_eq!(points[0]["metrics"]["total_tokens_generated"], 8 * 4);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_played() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("sweep");
    let refuse = |words: &str, parts: &[&str]| {
        let args = ["sweep"].into_iter().chain(words.split(' '));
        let args = args.chain(["--out", out.to_str().unwrap()]);
        refused(&args.collect::<Vec<_>>(), parts);
        assert!(!out.exists());
    };
    refuse("--grid no-such=1,2", &["no-such", "bench has no flag"]);
    refuse("--grid concurency=1,2", &["the nearest is --concurrency"]);
    refuse("--grid tp=1,x", &["the point tp=x", "'x'"]);
    refuse("--grid out=a,b", &["out", "same for every point"]);
    refuse(
        "--grid tp=1,2 --concurrency 1,8",
        &["--grid concurrency=1,8"],
    );
    refuse(
        "--grid tp=1,2 --reference none",
        &["--reference", "bench alone"],
    );
    refuse(
        "--grid prefix-cache=1",
        &["prefix-cache=1", "true or false"],
    );
    refuse(
        "--grid concurrency=1 --scenario c1",
        &["--scenario", "cannot be used with"],
    );
    refuse(
        "--grid tp=1 --grid tp=2",
        &["--grid", "tp stands in two grids"],
    );
    let bare = run(&["sweep", "--grid", "tp=1"]);
    assert_eq!(bare.code, Some(2));
    assert!(bare.stderr.contains("--out"), "{bare:?}");
}

#[test]
fn a_sweep_of_which_every_point_failed_has_failed() {
    let dir = TempDir::new().unwrap();
    let outcome = sweep(dir.path(), "--device sim:h100-sxm --grid tp=3,5");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("failed: "), "{outcome:?}");
    assert!(outcome.stderr.contains("every point failed"), "{outcome:?}");
}
