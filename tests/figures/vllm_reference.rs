//! What `scripts/vllm-reference` writes stands beside ours with the side, the settings and the machine named.

use std::path::Path;

use candlepower::ground::results::{ReferenceRun, Scenario};
use candlepower::reference::{comparable, load, rules, select, value};

fn path(name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/imports");
    tests.join(name).display().to_string()
}

fn runs(name: &str) -> Vec<ReferenceRun> {
    load(Path::new(&path(name))).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn both_sides_of_a_file_are_told_apart() {
    let runs = runs("vllm-reference.json");
    let backends: Vec<&str> = runs.iter().map(|run| &*run.backend).collect();
    assert_eq!(backends, ["vLLM 0.32.0, in process", "vLLM 0.32.0, server"]);
    assert_eq!(runs[0].name, "vLLM-in-process/Small-1B/c8");
    assert_eq!(runs[1].name, "vLLM-server/Small-1B/c8");
    for run in &runs {
        assert_eq!(run.hardware.gpus, 2);
        assert_eq!(run.hardware.gpu.as_deref(), Some("Example GPU"));
        assert_eq!(run.settings["prefix_cache"], "false");
        assert_eq!(run.settings["graphs"], "full_and_piecewise");
        assert_eq!(run.settings["max_num_seqs"], "64");
        let said = run.notes.iter().any(|note| note.contains("dtype bfloat16"));
        assert!(said, "{:?}", run.notes);
        assert_eq!(run.figures["mean_itl_ms"].definition, rules::TOKEN_GAP);
        assert!(run.checks.len() >= 3 && run.checks.iter().all(|check| check.ok));
    }
    // One tool, one load: they are divided.
    comparable("mean_ttft_ms", &runs[0], &runs[1]).unwrap_or_else(|error| panic!("{error}"));
    // A file of vLLM's own client has no such words.
    let other = self::runs("vllm-serve.json");
    assert!(other[0].settings.is_empty() && other[0].backend == "vLLM");
}

#[test]
fn a_run_of_the_same_load_has_both_beside_it() {
    let file = path("vllm-reference.json");
    let scenario = |concurrency| Scenario {
        concurrency: Some(concurrency),
        input_len: Some(100),
        output_len: Some(60),
        ..Scenario::default()
    };
    let beside = |model: &str, load| select(Some(&file), model, (None, 0), &[scenario(load)]);
    let found = beside("other/small-1b", 8).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.len(), 2);
    assert_eq!(value("mean_ttft_ms", &found[1]), Some(200.0));
}

/// vLLM 0.32.0 for CPUs with SmolLM2-135M, as the script measured it on two quiet Zen 4 cores.
#[test]
fn a_file_that_vllm_was_measured_for() {
    let runs = runs("vllm-cpu-smollm2.json");
    let loads: Vec<_> = runs.iter().map(|run| (&*run.name, run.requests)).collect();
    let expected = [
        ("vLLM-in-process/smollm2-135m/c1", Some(4)),
        ("vLLM-in-process/smollm2-135m/c8", Some(16)),
        ("vLLM-server/smollm2-135m/c1", Some(4)),
        ("vLLM-server/smollm2-135m/c8", Some(16)),
    ];
    assert_eq!(loads, expected);
    for run in &runs {
        assert_eq!((run.input_len, run.output_len), (Some(128), Some(64)));
        assert_eq!((run.hardware.gpus, &run.hardware.gpu), (0, &None));
        assert_eq!(run.settings["device"], "cpu");
        assert_eq!(run.settings["graphs"], "none");
        assert!(run.checks.len() >= 3 && run.checks.iter().all(|check| check.ok));
        for name in ["output_throughput", "mean_ttft_ms", "mean_tpot_ms"] {
            assert!(value(name, run).is_some_and(|value| value > 0.0), "{name}");
        }
    }
}
