//! Flags that no profile can have.

use tempfile::TempDir;

use crate::cli_support::{bad_value, fixture, refused, run};

#[test]
fn counts_are_whole_and_positive() {
    for flag in ["--batch", "--context", "--steps"] {
        for value in ["0", "-1", "1.5", "many", ""] {
            bad_value(&["profile"], flag, value);
        }
    }
    let outcome = run(&["profile", "--batch", "1,0"]);
    assert_eq!(outcome.code, Some(2));
    let outcome = run(&["profile", "--phase", "idle"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("prefill") && outcome.stderr.contains("decode"));
}

#[test]
fn a_step_is_within_the_engines_limits() {
    let model = fixture("llama-tiny");
    let refuse = |more: &[&str], parts: &[&str]| {
        refused(&[&["profile", "--model", &model], more].concat(), parts);
    };
    refuse(&["--batch", "300"], &["--batch 300", "--max-num-seqs 256"]);
    refuse(
        &["--phase", "prefill", "--batch", "8,64", "--context", "40"],
        &[
            "prefill of 64 x 40",
            "2560 tokens",
            "--max-num-batched-tokens 2048",
        ],
    );
    refuse(&["--context", "999999"], &["999999", "positions"]);
    refuse(
        &["--context", "100", "--max-model-len", "50"],
        &["--context 100", "--max-model-len 50"],
    );
    refuse(
        &[
            "--batch",
            "8",
            "--context",
            "64",
            "--kv-cache-memory",
            "100K",
        ],
        &["33 KV blocks", "--kv-cache-memory", "--batch"],
    );
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_run() {
    let model = fixture("llama-tiny");
    for flag in ["--trace", "--csv", "--plot"] {
        let path = "/nowhere/at/all.svg";
        refused(
            &["profile", "--model", &model, flag, path],
            &[flag, path, "cannot be written"],
        );
    }
    let dir = TempDir::new().unwrap();
    let png = dir.path().join("plot.png");
    refused(
        &[
            "profile",
            "--model",
            &model,
            "--plot",
            png.to_str().unwrap(),
        ],
        &["--plot", "plot.png", ".svg", ".html"],
    );
    let refuse = |more: &[&str], parts: &[&str]| {
        let outcome = run(&[&["bench", "--model", &model], more].concat());
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        for part in parts {
            assert!(outcome.stderr.contains(part), "{outcome:?}");
        }
    };
    refuse(&["--trace-steps", "1..3"], &["--trace <FILE.json>"]);
    refuse(
        &["--trace", "/nowhere/x.json"],
        &["--trace /nowhere/x.json", "cannot be written"],
    );
    for value in ["3", "3..3", "5..2", "a..b"] {
        bad_value(&["bench", "--trace", "x.json"], "--trace-steps", value);
    }
}

#[test]
fn help_shows_examples() {
    let help = run(&["profile", "--help"]).succeeded().stdout;
    for part in [
        "Examples:",
        "--phase prefill",
        "ui.perfetto.dev",
        "--batch <B[,B...]>",
    ] {
        assert!(help.contains(part), "{part} is not in {help}");
    }
}
