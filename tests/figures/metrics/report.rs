//! What is written: the JSON Schema, the files, the table.

use std::fs;
use std::path::Path;

use candlepower::ground::results::Results;
use candlepower::reference::named;
use candlepower::report::{self, prepare, table, write_all};
use serde_json::{Value, json};

use super::fixture::{measured, raw, results, scenario};

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn read_json(dir: &Path, name: &str) -> Value {
    serde_json::from_str(&read(dir, name)).unwrap()
}

/// The hand-worked run at the load of the references of the 14B model at concurrency 50.
fn beside_references() -> Results {
    let mut results = results();
    results.model.name = "DeepSeek-R1-Distill-Qwen-14B".to_owned();
    let run = &mut results.runs[0];
    run.scenario.concurrency = Some(50);
    (run.scenario.input_len, run.scenario.output_len) = (Some(100), Some(601));
    for name in ["rtx4090-48g-x2", "a100-80g-x1"] {
        let name = format!("{name}/DeepSeek-R1-Distill-Qwen-14B/c50");
        results.references.extend(named(&name).unwrap());
    }
    results
}

#[test]
fn results_obey_their_schema_and_read_back() {
    let schema = Results::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let results = beside_references();
    let text = report::json(&results).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);

    for (pointer, wrong) in [
        ("/kind", json!("guessed")),
        ("/runs/0/metrics/avg_latency", json!("fast")),
        ("/runs/0/extended/p99_ttft_ms", json!("slow")),
        ("/runs/0/scenario/requests", json!(-1)),
    ] {
        let mut broken = value.clone();
        *broken.pointer_mut(pointer).unwrap() = wrong;
        assert!(!validator.is_valid(&broken), "{pointer}");
    }
    for (name, entries) in [
        ("Metrics", results.runs[0].metrics.entries()),
        ("Extended", results.runs[0].extended.entries()),
    ] {
        let known = &schema["$defs"][name]["properties"];
        let unknown = entries.keys().find(|key| known.get(*key).is_none());
        assert_eq!(unknown, None, "{name}");
    }
}

#[test]
fn the_contract_s_keys_are_there() {
    let value = serde_json::to_value(results()).unwrap();
    for pointer in [
        "/schema",
        "/environment/ram_gib",
        "/engine/ranks",
        "/engine/communication_share",
        "/hardware/device",
        "/runs/0/scenario/input_len",
        "/runs/0/metrics/avg_gpu_temp_C",
        "/runs/0/extended/mean_ttft_ms",
        "/runs/0/not_observed/gpu_index",
        "/runs/0/failures/0/reason",
        "/references",
    ] {
        assert!(value.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn one_run_s_files_hold_its_records() {
    let (results, raw) = (results(), raw());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new/deeper");
    prepare(&out, false).unwrap();
    write_all(&out, false, &results, &[raw.logs()], &[]).unwrap();
    let mut names: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    let expected = "experts.jsonl manifest.json report.html requests.jsonl results.json steps.jsonl summary.csv summary.md \
        telemetry.csv vllm.json";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());

    let lines = read(&out, "requests.jsonl");
    let requests: Vec<_> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(raw.requests, requests);
    assert!(lines.lines().all(|line| line.starts_with("{\"run\":0,")));
    let lines = read(&out, "steps.jsonl");
    let steps: Vec<_> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(raw.steps, steps);
    let lines = read(&out, "experts.jsonl");
    let experts: Vec<_> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(raw.experts, experts);
    let telemetry = read(&out, "telemetry.csv");
    assert!(telemetry.starts_with("run,time,cpu_percent,ram_percent,rss_bytes\n0,-1,900,90,1\n"));
    let summary = read(&out, "summary.csv");
    assert!(summary.contains("\n0,by hand,4,0,metrics,avg_first_token_latency,s,1.5,\n"));
    assert!(summary.contains("\n0,by hand,4,0,metrics,gpu_index,,,no GPU took part\n"));
    let markdown = read(&out, "summary.md");
    assert!(
        markdown.contains("| avg_first_token_latency | s | 1.500 |"),
        "{markdown}"
    );
    let read_back: Results = serde_json::from_value(read_json(&out, "results.json")).unwrap();
    assert_eq!(read_back, results);
}

#[test]
fn vllm_s_keys_hold_vllm_s_definitions() {
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), false, &results(), &[raw().logs()], &[]).unwrap();
    let vllm = read_json(dir.path(), "vllm.json");
    for (key, expected) in [
        ("duration", json!(4.0)),
        ("completed", json!(3)),
        ("failed", json!(1)),
        ("total_input_tokens", json!(60)),
        ("total_output_tokens", json!(7)),
        ("request_throughput", json!(0.75)),
        ("request_goodput", json!(0.5)),
        ("output_throughput", json!(1.75)),
        ("total_token_throughput", json!(16.75)),
        ("input_lens", json!([10, 20, 30, 40])),
        ("output_lens", json!([4, 2, 1, 0])),
        ("start_times", json!([0.0, 0.5, 1.0, 1.5])),
        // A client sends at arrival; that the engine was busy then is in the latencies.
        ("queue_times", json!([0.0, 0.0, 0.0, 0.0])),
        ("errors", json!(["", "", "", "timed out after 2 s"])),
        ("max_output_tokens_per_s", json!(3)),
        // Second 1 sees the first to its end, the second and the third.
        ("max_concurrent_requests", json!(3)),
        ("max_concurrency", json!(4)),
        ("request_rate", json!("inf")),
        ("mean_tpot_ms", json!(600.0)),
    ] {
        assert_eq!(vllm[key], expected, "{key}");
    }
    // From hand-over: 500, 900 and 3000 ms; a percentile for any count.
    let close = |key: &str, ms: f64| {
        let value = vllm[key].as_f64().unwrap();
        assert!((value - ms).abs() < 1e-9, "{key}: {value}");
    };
    close("mean_ttft_ms", 4500.0 / 3.0);
    close("p99_ttft_ms", 1000.0 + 2000.0 * 0.98);
    close("median_e2el_ms", 2000.0);
    for key in [
        "itls",
        "latencies",
        "queue_times",
        "std_itl_ms",
        "p90_e2el_ms",
    ] {
        assert!(!vllm[key].is_null(), "{key}");
    }
}

#[test]
fn lines_of_several_runs_carry_their_run() {
    let mut results = results();
    results.runs.push(measured(&raw(), scenario()));
    let dir = tempfile::tempdir().unwrap();
    let both = [raw().logs(), raw().logs()];
    write_all(dir.path(), false, &results, &both, &[]).unwrap();
    let last = |name| -> Value {
        let text = read(dir.path(), name);
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    };
    assert_eq!(last("requests.jsonl")["run"], 1);
    assert_eq!(last("steps.jsonl")["run"], 1);
    let telemetry = read(dir.path(), "telemetry.csv");
    assert!(telemetry.starts_with("run,time,"));
    assert!(telemetry.ends_with("1,5,900,90,7\n"));
    for name in ["vllm-1.json", "vllm-2.json"] {
        assert_eq!(read_json(dir.path(), name)["completed"], 3, "{name}");
    }
    assert!(!dir.path().join("vllm.json").exists());
}

#[test]
fn a_directory_that_cannot_be_written_is_named_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("taken");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = prepare(&path, false).unwrap_err().to_string();
        assert!(
            error.contains("taken") && error.contains("--out"),
            "{error}"
        );
        assert!(write_all(&path, false, &results(), &[raw().logs()], &[]).is_err());
    }
}

#[test]
fn the_table_shows_references_without_their_artefacts() {
    let text = table(&beside_references(), 100);
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no row {name} in\n{text}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    let ttft = row("avg_first_token_latency");
    assert_eq!(ttft[..3], ["avg_first_token_latency", "s", "1.500"]);
    assert!(ttft[3].starts_with("n/o"), "{ttft:?}");
    // No ratio between a mean and a statistic that is not stated.
    assert_eq!(ttft.len(), 5, "{ttft:?}");
    let total = row("overall_total_throughput");
    assert_eq!(total[2..5], ["1.750", "841.2", "(0.0021x)"]);
    assert!(
        total[5].starts_with("1450") && total.len() == 6,
        "{total:?}"
    );
    let output = row("output_tokens_per_sec");
    assert_eq!(output[5..], ["1134", "(0.0015x)"]);
    assert!(text.contains("not_observable_non_streaming"));
    assert!(text.contains("ended early"));
    assert!(text.contains("1 failed: timed out after 2 s"));
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn many_columns_are_laid_out_in_blocks_that_fit() {
    let mut results = beside_references();
    let run = results.runs[0].clone();
    results.runs = vec![run; 6];
    let text = table(&results, 80);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let blocks = text
        .lines()
        .filter(|line| line.starts_with("avg_latency"))
        .count();
    assert!(blocks > 1, "{text}");
}
