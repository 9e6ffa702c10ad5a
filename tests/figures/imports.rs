//! Results of other tools are read by their shape: what means the same as ours under our names, all else beside it,
//! and what does not add up is said. The files are of our own making.

use std::path::{Path, PathBuf};

use candlepower::ground::results::ReferenceRun;
use candlepower::reference::{Reason, comparable, definition, load, rules, value};

pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/imports")
        .join(name)
}

pub fn runs(name: &str) -> Vec<ReferenceRun> {
    load(&file(name)).unwrap_or_else(|error| panic!("{error}"))
}

pub fn run(name: &str) -> ReferenceRun {
    let mut runs = runs(name);
    assert_eq!(runs.len(), 1, "{name}");
    runs.remove(0)
}

/// That the run has these figures, and of the four latencies' means and rates no other.
pub fn holds(run: &ReferenceRun, figures: &[(&str, f64)]) {
    for (name, expected) in figures {
        let found = value(name, run).unwrap_or_else(|| panic!("{}: no {name}", run.name));
        assert!(
            (found - expected).abs() <= 1e-9 * expected.abs(),
            "{}: {name} is {found}, not {expected}",
            run.name
        );
    }
    for name in SEEN {
        let stated = figures.iter().any(|(known, _)| known == name);
        assert_eq!(
            run.figures.contains_key(*name),
            stated,
            "{}: {name}",
            run.name
        );
    }
}

/// Figures that [`holds`] knows of.
const SEEN: &[&str] = &[
    "completed",
    "failed",
    "duration",
    "total_input_tokens",
    "total_output_tokens",
    "request_throughput",
    "output_throughput",
    "total_token_throughput",
    "mean_ttft_ms",
    "mean_tpot_ms",
    "mean_itl_ms",
    "mean_e2el_ms",
];

pub const COUNTS: [(&str, f64); 5] = [
    ("completed", 40.0),
    ("failed", 0.0),
    ("duration", 20.0),
    ("total_input_tokens", 4000.0),
    ("total_output_tokens", 2400.0),
];
pub const RATES: [(&str, f64); 3] = [
    ("request_throughput", 2.0),
    ("output_throughput", 120.0),
    ("total_token_throughput", 320.0),
];
pub const LATENCIES: [(&str, f64); 4] = [
    ("mean_ttft_ms", 100.0),
    ("mean_tpot_ms", 50.0),
    ("mean_itl_ms", 50.0),
    ("mean_e2el_ms", 3050.0),
];

pub fn broken(run: &ReferenceRun) -> usize {
    let said = run.notes.iter();
    said.filter(|note| note.starts_with("does not add up"))
        .count()
}

#[test]
fn vllm_serve() {
    let run = run("vllm-serve.json");
    holds(&run, &[&COUNTS[..], &RATES, &LATENCIES].concat());
    holds_all(
        &run,
        &[
            ("median_ttft_ms", 95.0),
            ("p99_itl_ms", 90.0),
            ("std_tpot_ms", 1.5),
        ],
    );
    // In the report's terms too.
    holds_all(
        &run,
        &[
            ("avg_latency", 3.05),
            ("output_tokens_per_sec", 120.0),
            ("success_rate", 100.0),
        ],
    );
    assert_eq!((run.concurrency, run.request_rate), (Some(8), None));
    assert_eq!((run.input_len, run.output_len), (Some(100), Some(60)));
    assert_eq!((&*run.model, &*run.backend), ("example/Small-1B", "vLLM"));
    assert_eq!(run.tool.as_deref(), Some("vLLM bench serve"));
    // Each chunk is a token: the gaps are those of tokens.
    assert_eq!(run.figures["mean_itl_ms"].definition, rules::TOKEN_GAP);
    // Chunks a second are no tokens a second.
    assert!(run.beside.contains_key("max_output_tokens_per_s"));
    assert_eq!(broken(&run), 0, "{:?}", run.notes);
    assert!(run.checks.len() >= 3 && run.checks.iter().all(|check| check.ok));
}

pub fn holds_all(run: &ReferenceRun, figures: &[(&str, f64)]) {
    for (name, expected) in figures {
        let found = value(name, run);
        let close = found.is_some_and(|found| (found - expected).abs() <= 1e-9 * expected.abs());
        assert!(close, "{}: {name} is {found:?}, not {expected}", run.name);
    }
}

#[test]
fn gaps_between_chunks_are_no_gaps_between_tokens() {
    let run = run("vllm-serve-chunks.json");
    holds_all(
        &run,
        &[
            ("mean_itl_ms", 118.0),
            ("mean_tpot_ms", 12.0),
            ("mean_e2el_ms", 808.0),
        ],
    );
    assert_eq!(run.figures["mean_itl_ms"].definition, rules::CHUNK_GAP);
    assert!(!run.figures.contains_key("total_token_throughput"));
    let error = comparable("mean_itl_ms", &run, &self::run("vllm-serve.json"));
    let said = error.unwrap_err().to_string();
    assert!(said.contains("chunks of the stream"), "{said}");
}

#[test]
fn what_does_not_add_up_is_said_and_not_mended() {
    let run = run("vllm-serve-merged.json");
    holds_all(
        &run,
        &[
            ("request_throughput", 2.00002),
            ("duration", 20.0),
            ("completed", 40.0),
        ],
    );
    // The rate, the lost requests, and more at once than the limit.
    assert_eq!(broken(&run), 3, "{:?}", run.notes);
}

#[test]
fn what_is_missing_is_null_and_zeros_of_nothing_are_too() {
    let bare = run("vllm-serve-bare.json");
    holds(&bare, &LATENCIES[..3]);
    assert_eq!(bare.metrics.output_tokens_per_sec, None);
    assert_eq!(bare.request_rate, Some(2.0));
    let failed = run("vllm-serve-failed.json");
    holds(
        &failed,
        &[("completed", 0.0), ("failed", 40.0), ("duration", 0.01)],
    );
    assert_eq!(failed.failure.as_deref(), Some("no request succeeded"));
    assert_eq!(failed.metrics.avg_first_token_latency, None);
    assert_eq!(failed.beside["mean_ttft_ms"].value, 0.0);
    for run in [bare, failed] {
        let entries = run.metrics.entries().into_iter();
        let nulls: Vec<String> = entries
            .filter(|(_, v)| v.is_null())
            .map(|(k, _)| k)
            .collect();
        assert!(nulls.iter().all(|name| run.not_observed.contains_key(name)));
    }
}

#[test]
fn several_results_in_a_file() {
    for (name, second) in [("vllm-serve-appended.json", 16), ("vllm-sweep.json", 4)] {
        let runs = runs(name);
        assert_eq!(runs.len(), 2, "{name}");
        assert_eq!(runs[1].concurrency, Some(second));
    }
}

#[test]
fn vllm_offline() {
    let run = run("vllm-throughput.json");
    holds(
        &run,
        &[
            ("completed", 50.0),
            ("duration", 10.0),
            ("request_throughput", 5.0),
            // Input and output, and no output alone.
            ("total_token_throughput", 800.0),
        ],
    );
    assert_eq!(run.metrics.output_tokens_per_sec, None);
    let run = self::run("vllm-latency.json");
    holds(&run, &[]);
    assert_eq!(run.beside["avg_latency"].value, 1.25);
    assert_eq!(run.beside["p99_latency"].value, 1.299);
    assert!(run.beside["avg_latency"].definition.contains("batch"));
}

#[test]
fn sglang() {
    let runs = runs("sglang.jsonl");
    let all = [&COUNTS[..1], &COUNTS[2..], &RATES, &LATENCIES].concat();
    for run in &runs {
        holds(run, &all);
        assert_eq!(run.tool.as_deref(), Some("SGLang bench_serving"));
        // Its texts tokenised again have fewer tokens.
        assert_eq!(broken(run), 1, "{:?}", run.notes);
    }
    assert_eq!((&*runs[0].backend, &*runs[1].backend), ("SGLang", "vllm"));
    let definitions = [0, 1].map(|at: usize| runs[at].figures["mean_itl_ms"].definition.clone());
    assert_eq!(definitions, [rules::CHUNK_GAP_SHARED, rules::CHUNK_GAP]);
    let old = self::runs("sglang-2024.jsonl");
    assert_eq!(old[1].request_rate, Some(2.0));
    holds_all(
        &old[0],
        &[("median_ttft_ms", 95.0), ("mean_e2el_ms", 3050.0)],
    );
    assert!(!old[0].figures.contains_key("mean_ttft_ms"));
}

#[test]
fn nvidia_calls_time_per_token_inter_token_latency() {
    for (name, total) in [
        ("aiperf-records.json", false),
        ("aiperf.json", true),
        ("aiperf-phases.json", true),
    ] {
        let run = run(name);
        let good = if total {
            &[][..]
        } else {
            &[("failed", 4.0)][..]
        };
        let more = if total { &RATES[2..] } else { &[] };
        let figures = [
            &[
                ("completed", 36.0),
                ("duration", 18.0),
                ("total_input_tokens", 3600.0),
                ("total_output_tokens", 2160.0),
                ("mean_ttft_ms", 100.0),
                ("mean_tpot_ms", 50.0),
                ("mean_itl_ms", 51.0),
                ("mean_e2el_ms", 3050.0),
            ],
            &RATES[..2],
            more,
            good,
        ];
        holds(&run, &figures.concat());
        holds_all(&run, &[("median_tpot_ms", 49.5), ("p99_itl_ms", 90.0)]);
        assert_eq!(run.concurrency, Some(8));
        assert_eq!(run.model, "example/Small-1B", "{name}");
        assert_eq!(run.figures["mean_itl_ms"].definition, rules::CHUNK_GAP);
        assert_eq!(run.tool.as_deref(), Some("AIPerf"));
        assert_eq!(broken(&run), 0, "{:?}", run.notes);
    }
    // The warm-up is no load that is measured.
    assert_eq!(run("aiperf-phases.json").request_rate, Some(4.0));
    assert_eq!(
        run("aiperf.json").hardware.gpu.as_deref(),
        Some("Example GPU")
    );
    // One by one they are not the run's figures.
    let requests = run("aiperf-requests.jsonl");
    assert!(requests.figures.is_empty() && requests.notes[0].contains("3 requests"));
    let csv = run("aiperf.csv");
    holds_all(
        &csv,
        &[
            ("mean_e2el_ms", 3050.0),
            ("duration", 0.02),
            ("output_throughput", 110_000.0),
        ],
    );
    // A duration of two digits does not bear out its rates.
    assert_eq!(broken(&csv), 2, "{:?}", csv.notes);
}

#[test]
fn genai_perf() {
    let run = run("genai-perf.json");
    holds(
        &run,
        &[&RATES[..2], &LATENCIES[..2], &LATENCIES[3..]].concat(),
    );
    assert_eq!(run.tool.as_deref(), Some("GenAI-Perf"));
    assert_eq!(
        run.figures["request_throughput"].definition,
        rules::REQUEST_RATE_ALL
    );
    let console = self::run("genai-perf.txt");
    holds_all(
        &console,
        &[
            ("mean_tpot_ms", 50.0),
            ("p99_ttft_ms", 180.0),
            ("output_throughput", 19.67),
        ],
    );
    let old = self::run("genai-perf-old.txt");
    holds(
        &old,
        &[
            ("mean_e2el_ms", 3050.0),
            ("output_throughput", 19.67),
            ("request_throughput", 0.33),
        ],
    );
    let configurations = runs("genai-perf-analyze.csv");
    assert_eq!(configurations.len(), 2);
    holds_all(
        &configurations[1],
        &[("p99_e2el_ms", 4390.0), ("output_throughput", 140.0)],
    );
    assert_eq!(configurations[1].concurrency, Some(16));
}

#[test]
fn guidellm_has_two_times_per_token_and_momentary_rates() {
    let old = run("guidellm-0.2.json");
    let stated = [&COUNTS[..], &RATES[..1], &LATENCIES[..2], &LATENCIES[3..]].concat();
    let more = [
        ("output_throughput", 121.0),
        ("total_token_throughput", 450.0),
    ];
    holds(&old, &[&stated[..], &more].concat());
    assert_eq!(old.concurrency, Some(1));
    // That rate counts prompts too often.
    assert_eq!(broken(&old), 1, "{:?}", old.notes);
    let per_token = |run: &ReferenceRun| {
        run.beside["mean_time_per_output_token_ms"]
            .definition
            .clone()
    };
    assert!(!per_token(&old).contains("first one's time in it"));
    let new = runs("guidellm.json");
    assert_eq!(new.len(), 2);
    assert_eq!(new[1].request_rate, Some(4.0));
    assert!(per_token(&new[0]).contains("first one's time in it"));
    let tpot = |run: &ReferenceRun| run.figures["p99_tpot_ms"].definition.clone();
    assert_eq!(
        tpot(&new[0]),
        format!("{}{}", rules::PER_TOKEN_WEIGHTED, rules::STEP)
    );
    // Its rate is a mean of rates; tokens over the duration compare.
    let vllm = run("vllm-serve.json");
    let mut guide = new[0].clone();
    (guide.request_rate, guide.concurrency) = (None, Some(8));
    assert!(matches!(
        comparable("output_throughput", &guide, &vllm),
        Err(Reason::Definition { .. })
    ));
    assert_eq!(comparable("output_tokens_per_sec", &guide, &vllm), Ok(()));
    holds_all(&guide, &[("output_tokens_per_sec", 120.0)]);
    assert!(matches!(
        comparable("mean_tpot_ms", &guide, &vllm),
        Err(Reason::Definition { .. })
    ));
}

#[test]
fn llama_bench_in_all_its_formats() {
    for (name, depth) in [
        ("llama-bench.jsonl", true),
        ("llama-bench.json", true),
        ("llama-bench.csv", false),
        ("llama-bench.sql", false),
        ("llama-bench.md", true),
    ] {
        let runs = runs(name);
        assert_eq!(runs.len(), 2, "{name}");
        let found = [0, 1].map(|at: usize| runs[at].beside["avg_ts"].value);
        assert_eq!(found, [2000.0, 100.0], "{name}");
        assert_eq!(runs[1].beside["stddev_ts"].value, 0.4, "{name}");
        assert!(runs[0].name.ends_with("/pp512"), "{}", runs[0].name);
        let test = if depth { "/tg128@d4096" } else { "/tg128" };
        assert!(runs[1].name.ends_with(test), "{}", runs[1].name);
        // A test of bare decode calls is no run of requests.
        assert!(runs[0].figures.is_empty());
        assert_eq!(broken(&runs[0]), 0, "{:?}", runs[0].notes);
        assert_ne!(
            definition("avg_ts", &runs[0]),
            definition("avg_ts", &runs[1])
        );
    }
}

#[test]
fn trtllm_bench() {
    let run = run("trtllm-bench.json");
    let figures = [
        &COUNTS[..1],
        &COUNTS[2..3],
        &RATES,
        &LATENCIES[..2],
        &LATENCIES[3..],
    ];
    holds(&run, &figures.concat());
    holds_all(&run, &[("p99_e2el_ms", 3660.0), ("mean_in_flight", 6.1)]);
    assert!(run.figures["p99_e2el_ms"].definition.ends_with(rules::STEP));
    assert_eq!(
        run.figures["mean_tpot_ms"].definition,
        rules::PER_TOKEN_ZEROS
    );
    // A speed that one request wrecked.
    assert_eq!(broken(&run), 1, "{:?}", run.notes);
    let printed = self::run("trtllm-bench.txt");
    holds(
        &printed,
        &[&COUNTS[..1], &COUNTS[2..3], &RATES[..2]].concat(),
    );
    assert_eq!(printed.model, "example/Small-1B");
    assert_eq!(printed.hardware.gpus, 2);
    let error = load(&file("trtllm-bench-failed.txt"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("without a report") && error.contains("worker died"),
        "{error}"
    );
}

#[test]
fn inference_perf_counts_in_seconds() {
    let run = run("inference-perf.json");
    let figures = [&COUNTS[..1], &[("failed", 4.0)], &RATES, &LATENCIES];
    holds(&run, &figures.concat());
    assert_eq!(
        run.figures["mean_itl_ms"].definition,
        rules::CHUNK_GAP_ZEROS
    );
    holds_all(&run, &[("mean_normalized_latency_ms", 3050.0 / 60.0)]);
    assert!(run.notes.iter().any(|note| note.contains("several rates")));
    let yaml = self::run("inference-perf.yaml");
    let more = [&figures.concat()[..], &[("duration", 20.0)]].concat();
    holds(&yaml, &more);
    assert_eq!(yaml.request_rate, Some(2.0));
}

#[test]
fn the_report_tool_and_its_artefacts() {
    for name in ["report-tool.json", "report-tool.csv", "report-tool.tsv"] {
        let run = run(name);
        holds_all(
            &run,
            &[
                ("avg_latency", 3.05),
                ("output_tokens_per_sec", 120.0),
                ("total_requests", 40.0),
            ],
        );
        // The client saw whole answers: a first token's time is none.
        assert_eq!(run.metrics.avg_first_token_latency, None, "{name}");
        assert_eq!(run.metrics.cpu_percent, None, "{name}");
        assert_eq!(run.raw["avg_first_token_latency"], 3.05);
        assert_eq!(run.model, "example/Small-1B");
    }
}

#[test]
fn what_is_none_of_them_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let said = |text: &str| {
        let path = dir.path().join("x.json");
        std::fs::write(&path, text).unwrap();
        load(&path).unwrap_err().to_string()
    };
    assert!(said("{\"a\": 1, \"b\": 2}").contains("its keys (a, b) are those of no result"));
    for text in ["", "{}", "hello\nworld\n", "{\"a\": 1}", "<html></html>"] {
        let said = said(text);
        // Once, whoever names the tools.
        assert_eq!(said.matches("vllm bench").count(), 1, "{said}");
        assert!(said.contains("results.json of this program"), "{said}");
    }
    assert!(said("").contains("holds no result of vllm bench"));
    assert!(said("[]").contains("holds no result of vllm bench"));
    assert!(said("{\"completed\": ").contains("ends in the middle"));
    assert!(said("{}").contains("holds no result"));
    assert!(said("hello\nworld\n").contains("holds no result"));
}
