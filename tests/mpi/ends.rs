//! How a job ends when something is wrong: soon, with one reason, whichever rank it is.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::job::{Job, launcher, mpirun, run, signal};
use crate::cli_support::{Copy, Outcome, fixture};

/// "Within seconds", on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// For ranks that do not answer, instead of the default of 15 s.
const PATIENCE: &str = "2";

/// A load that lasts longer than any test waits.
fn endless(ranks: usize) -> Command {
    let tp = ranks.to_string();
    let model = fixture("llama-tiny");
    let args = [
        "bench",
        "--model",
        &model,
        "--tp",
        &tp,
        "--verbose",
        "--json",
    ];
    let load = ["--concurrency", "4", "--requests", "1000000"];
    let mut command = mpirun(ranks, &[&args[..], &load].concat());
    command.env("CANDLEPOWER_MPI_TIMEOUT", PATIENCE);
    command
}

/// Has taken steps for a while.
fn under_way(command: Command) -> Job {
    let mut job = Job::start(command);
    job.wait_for("loaded in");
    std::thread::sleep(Duration::from_millis(500));
    job
}

/// One line of this program's on stderr, whatever the launcher says beside it.
fn said(outcome: &Outcome) -> &str {
    let mut lines = outcome.stderr.lines().filter(|l| l.starts_with("error: "));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no reason: {outcome:?}"));
    assert_eq!(lines.next(), None, "{outcome:?}");
    line
}

fn refused(ranks: usize, args: &[&str], parts: &[&str]) {
    let outcome = run(mpirun(ranks, args));
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    let line = said(&outcome);
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
}

#[test]
fn wrong_flags_are_told_once() {
    let model = fixture("qwen2-tiny");
    let generate = ["generate", "--model", &model, "--prompt-ids", "1"];
    refused(3, &generate, &["--tp 1", "3 processes", "use --tp 3"]);
    let tp = [&generate[..], &["--tp", "3"]].concat();
    refused(3, &tp, &["--tp 3", "8 attention heads"]);
    let tp = [&generate[..], &["--tp", "2"]].concat();
    refused(
        2,
        &[&tp[..], &["--layers", "99"]].concat(),
        &["--layers 99"],
    );
    refused(
        2,
        &[&tp[..], &["--max-tokens", "600"]].concat(),
        &["600 output tokens"],
    );
    refused(
        2,
        &[&tp[..], &["--block-size", "0"]].concat(),
        &["--block-size"],
    );
    refused(
        2,
        &[&tp[..], &["--kv-cache-memory", "900G"]].concat(),
        &["--kv-cache-memory"],
    );
    refused(
        2,
        &[
            "generate",
            "--model",
            "./none",
            "--tp",
            "2",
            "--prompt-ids",
            "1",
        ],
        &["./none"],
    );
}

#[test]
fn patience_is_a_number_of_seconds() {
    let model = fixture("qwen2-tiny");
    let args = [
        "generate",
        "--model",
        &model,
        "--prompt-ids",
        "1",
        "--tp",
        "2",
    ];
    let mut command = mpirun(2, &args);
    command.env("CANDLEPOWER_MPI_TIMEOUT", "soon");
    let outcome = run(command);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(said(&outcome).contains("CANDLEPOWER_MPI_TIMEOUT=soon"));
}

/// `candlepower generate` over two ranks, each with a model and a seed of its own.
fn unequal(ranks: [(&Copy, &str); 2]) -> Outcome {
    let mut command = launcher(&[]);
    for (model, seed) in ranks {
        let args = ["generate", "--tp", "2", "--prompt-ids", "1"];
        let own = ["--model", model.path(), "--seed", seed];
        command.args(["-n", "1", env!("CARGO_BIN_EXE_candlepower")]);
        command.args(args).args(own).arg(":");
    }
    run(command)
}

#[test]
fn a_rank_that_cannot_load_is_named_with_its_reason() {
    const MISSING: &str = "model-00002-of-00002.safetensors";
    let (model, broken) = (Copy::of("qwen2-tiny"), Copy::of("qwen2-tiny"));
    broken.remove(MISSING);
    let whole = (&model, "0");
    for (other, reason) in [
        ((&broken, "0"), MISSING),
        ((&model, "1"), "another program, model or flags"),
    ] {
        let outcome = unequal([whole, other]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
        let line = said(&outcome);
        assert!(line.contains("rank 1 failed: "), "{line}");
        assert!(line.contains(reason), "{line}");
    }
    let outcome = unequal([(&broken, "0"), whole]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(said(&outcome).contains(MISSING), "{outcome:?}");
}

/// Every rank fails in the same step, and the user is told once.
#[test]
fn a_failing_step_is_told_once() {
    let model = Copy::of("qwen2-tiny");
    for file in ["model-00001-of-00002", "model-00002-of-00002"] {
        spoil(
            &model.file(&format!("{file}.safetensors")),
            "model.norm.weight",
        );
    }
    let args = [
        "generate",
        "--model",
        model.path(),
        "--tp",
        "2",
        "--prompt-ids",
        "1",
    ];
    let outcome = run(mpirun(2, &args));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(said(&outcome).contains("a step failed"), "{outcome:?}");
}

/// Makes the numbers of a tensor NaN, where the file has it.
fn spoil(file: &Path, tensor: &str) {
    let mut bytes = fs::read(file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    if let Some(offsets) = tensors[tensor]["data_offsets"].as_array() {
        let at = |i: usize| 8 + header + offsets[i].as_u64().unwrap() as usize;
        bytes[at(0)..at(1)].fill(0xff);
        fs::write(file, bytes).unwrap();
    }
}

#[test]
fn a_killed_rank_ends_the_job() {
    for rank in [0, 2] {
        let job = under_way(endless(4));
        signal(&job.pid(rank), "-KILL");
        let outcome = job.end_within(SOON);
        assert_ne!(outcome.code, Some(0), "{outcome:?}");
        // The launcher sees it first, and names it.
        let told = format!("process rank {rank} ");
        assert!(outcome.stderr.contains(&told), "{outcome:?}");
        assert!(outcome.stderr.contains("signal 9"), "{outcome:?}");
    }
}

#[test]
fn a_rank_that_stands_still_ends_the_job() {
    let job = under_way(endless(4));
    let pid = job.pid(1);
    signal(&pid, "-STOP");
    let outcome = job.end_within(SOON);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let line = said(&outcome);
    assert!(line.starts_with("error: rank 0 on "), "{line}");
    assert!(
        line.contains("no answer from rank 1 on ") && line.contains(" for 2 s"),
        "{line}"
    );
}

/// As Ctrl-C at mpirun does: every process gets the signal, and rank 0 has a second to show what it has.
#[test]
fn an_interrupted_job_shows_partial_results() {
    let job = under_way(endless(2));
    signal(&job.launcher.id().to_string(), "-INT");
    let outcome = job.end_within(SOON);
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("\"partial\": true"), "{outcome:?}");
}
