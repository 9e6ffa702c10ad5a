//! The same figures in the other forms that tools give them: what they print, their tables, logs around them, what they
//! make of several runs. And what looks like a result and is none.

use candlepower::reference::{load, rules};

use crate::imports::{COUNTS, LATENCIES, RATES, broken, file, holds, holds_all, run, runs};

#[test]
fn what_vllm_prints() {
    let runs = runs("vllm-serve.txt");
    assert_eq!(runs.len(), 2);
    holds(&runs[0], &[&COUNTS[..], &RATES, &LATENCIES].concat());
    holds_all(
        &runs[0],
        &[
            ("p99.9_ttft_ms", 190.0),
            ("p99_itl_ms", 90.0),
            ("request_goodput", 1.5),
        ],
    );
    assert_eq!(runs[0].tool.as_deref(), Some("vLLM bench serve"));
    assert_eq!((runs[0].concurrency, runs[0].request_rate), (Some(8), None));
    assert_eq!(runs[0].model, "example/Small-1B");
    assert_eq!(
        runs[0].figures["p99.9_ttft_ms"].definition,
        rules::FIRST_TOKEN
    );
    assert_eq!(runs[0].beside["spec_decode_acceptance_length"].value, 2.24);
    // Ten over thirty is 0.33 where two decimals are printed.
    holds_all(
        &runs[1],
        &[("request_throughput", 0.33), ("mean_ttft_ms", 90.0)],
    );
    assert_eq!(
        (runs[1].concurrency, runs[1].request_rate),
        (Some(8), Some(0.5))
    );
    for run in &runs {
        assert_eq!(broken(run), 0, "{:?}", run.notes);
        assert!(run.checks.len() >= 3);
    }
    let offline = run("vllm-throughput.txt");
    holds(
        &offline,
        &[
            ("total_output_tokens", 3000.0),
            ("request_throughput", 5.0),
            ("output_throughput", 300.0),
            ("total_token_throughput", 800.0),
        ],
    );
    let latency = run("vllm-latency.txt");
    holds(&latency, &[]);
    assert_eq!(latency.beside["avg_latency"].value, 1.25);
    assert_eq!(latency.beside["p99_latency"].value, 1.299);
}

#[test]
fn what_sglang_prints_and_writes_of_batches() {
    let served = run("sglang-serving.txt");
    let all = [&COUNTS[..1], &COUNTS[2..], &RATES, &LATENCIES].concat();
    holds(&served, &all);
    holds_all(&served, &[("p95_itl_ms", 70.0), ("mean_in_flight", 6.1)]);
    assert_eq!((&*served.backend, served.concurrency), ("SGLang", Some(8)));
    assert_eq!(
        served.figures["mean_itl_ms"].definition,
        rules::CHUNK_GAP_SHARED
    );
    assert_eq!(broken(&served), 0, "{:?}", served.notes);
    let offline = run("sglang-offline.jsonl");
    holds(&offline, &[&COUNTS[..1], &COUNTS[2..], &RATES].concat());
    assert_eq!(
        offline.tool.as_deref(),
        Some("SGLang bench_offline_throughput")
    );
    let batches = runs("sglang-one-batch.jsonl");
    assert_eq!(batches.len(), 3);
    for batch in &batches {
        // Rates of a half of a batch are no rates of a run.
        assert!(batch.figures.is_empty(), "{:?}", batch.figures);
        assert_eq!(broken(batch), 0, "{:?}", batch.notes);
        assert_eq!(batch.checks.len(), 1);
        assert_eq!(batch.input_len, Some(100));
    }
    assert_eq!(batches[0].beside["median_decode_latency"].value, 0.05);
    assert!(!batches[1].beside.contains_key("median_decode_latency"));
    assert_eq!(batches[2].concurrency, Some(8));
    let rate = &batches[2].beside["output_throughput"].definition;
    assert!(rate.contains("after its first token"), "{rate}");
}

#[test]
fn a_ramp_is_no_load_and_drafts_are_beside() {
    let ramp = run("vllm-serve-ramp.json");
    let said = ramp.notes.join("; ");
    assert!(said.contains("from 1 to 5 a second (linear)"), "{said}");
    assert_eq!(ramp.beside["spec_decode_acceptance_rate"].value, 62.0);
    assert!(!ramp.beside.contains_key("spec_decode_num_drafts"));
    assert_eq!(ramp.figures["mean_itl_ms"].definition, rules::CHUNK_GAP);
    holds_all(&ramp, &[("p99.9_ttft_ms", 190.0)]);
    // Another server's.
    assert_eq!(ramp.backend, "tensorrt-llm");
}

#[test]
fn llama_bench_with_a_log_around_it() {
    for name in [
        "llama-bench-mixed.jsonl",
        "llama-bench-mixed.json",
        "llama-bench-mixed.csv",
    ] {
        let runs = runs(name);
        let found = [0, 1].map(|at: usize| runs[at].beside["avg_ts"].value);
        assert_eq!((runs.len(), found), (2, [2000.0, 100.0]), "{name}");
    }
    let said = |name: &str| load(&file(name)).unwrap_err().to_string();
    let unfinished = said("llama-bench-unfinished.md");
    assert!(unfinished.contains("without a row"), "{unfinished}");
    // It does not say at which depth, by the name that llama-bench has for it.
    let derived = said("llama-bench-derived.csv");
    assert!(derived.contains("holds no result"), "{derived}");
}

#[test]
fn guidellm_in_its_tables_and_in_yaml() {
    let figures = [
        &COUNTS[..3],
        &RATES[..1],
        &LATENCIES[..2],
        &LATENCIES[3..],
        &[("output_throughput", 121.0)],
    ];
    for (name, total) in [("guidellm-0.3.csv", 450.0), ("guidellm-0.5.csv", 322.0)] {
        let run = run(name);
        let all = [&figures.concat()[..], &[("total_token_throughput", total)]].concat();
        holds(&run, &all);
        holds_all(&run, &[("p99_e2el_ms", 3400.0), ("median_e2el_ms", 3040.0)]);
        assert_eq!(
            (&*run.model, run.concurrency),
            ("example/Small-1B", Some(1)),
            "{name}"
        );
        assert_eq!(
            (run.input_len, run.output_len),
            (Some(100), Some(60)),
            "{name}"
        );
        assert_eq!(run.metrics.output_tokens_per_sec, None, "{name}");
    }
    // Both releases weigh by tokens or do not, each in its table as in its JSON.
    for (table, json) in [
        ("guidellm-0.3.csv", "guidellm-0.2.json"),
        ("guidellm-0.5.csv", "guidellm.json"),
    ] {
        let [table, json] = [table, json].map(|name| runs(name).remove(0));
        for name in ["mean_tpot_ms", "p99_ttft_ms"] {
            assert_eq!(
                table.figures[name].definition,
                json.figures[name].definition
            );
        }
        let beside = "mean_time_per_output_token_ms";
        assert_eq!(
            table.beside[beside].definition,
            json.beside[beside].definition
        );
    }
    let (yaml, json) = (run("guidellm.yaml"), run("guidellm-0.2.json"));
    assert_eq!(yaml.figures, json.figures);
    assert_eq!(yaml.model, json.model);
}

/// Requests that are longer than what the window leaves of them count whole.
#[test]
fn a_window_without_warm_up_has_no_tokens_over_duration() {
    let cut = run("guidellm-cut.json");
    assert_eq!(cut.metrics.output_tokens_per_sec, None);
    assert_eq!(cut.metrics.overall_total_throughput, None);
    assert_eq!(cut.figures["output_throughput"].value, 121.0);
    assert_ne!(cut.figures["duration"].definition, rules::DURATION);
    assert_eq!(broken(&cut), 0, "{:?}", cut.notes);
    assert!(
        cut.notes
            .iter()
            .any(|note| note.contains("measured window"))
    );
}

#[test]
fn aiperf_prints_another_table_than_genai_perf() {
    let printed = run("aiperf.txt");
    holds(
        &printed,
        &[&COUNTS[..1], &RATES[..2], &LATENCIES[..2], &LATENCIES[3..]].concat(),
    );
    holds_all(&printed, &[("p99_ttft_ms", 180.0), ("std_tpot_ms", 1.0)]);
    assert_eq!(printed.tool.as_deref(), Some("AIPerf"));
    assert_eq!(
        (printed.input_len, printed.output_len),
        (Some(100), Some(60))
    );
    assert_eq!(
        printed.beside["output_token_throughput_per_user"].value,
        20.0
    );
    assert_eq!(broken(&printed), 0, "{:?}", printed.notes);
}

#[test]
fn aiperf_over_several_runs() {
    let sweep = runs("aiperf-sweep.json");
    assert_eq!(
        [sweep[0].concurrency, sweep[1].concurrency],
        [Some(8), Some(16)]
    );
    let figures = [
        &COUNTS[..1],
        &COUNTS[2..3],
        &COUNTS[4..],
        &RATES[..2],
        &LATENCIES[..2],
        &LATENCIES[3..],
    ];
    for run in &sweep {
        holds(run, &figures.concat());
        holds_all(
            run,
            &[
                ("p99_tpot_ms", 60.0),
                ("median_ttft_ms", 95.0),
                ("request_goodput", 1.5),
            ],
        );
        // A deviation over runs is none over requests.
        assert!(!run.figures.contains_key("std_ttft_ms"));
        assert!(!run.figures.contains_key("max_e2el_ms"));
        assert_eq!(broken(run), 0, "{:?}", run.notes);
        assert!(run.checks.len() >= 2);
    }
    let means = run("aiperf-aggregate.json");
    holds(
        &means,
        &[&RATES[..2], &LATENCIES[..2], &LATENCIES[3..]].concat(),
    );
    holds_all(&means, &[("p99_ttft_ms", 180.0)]);
    assert!(!means.figures.contains_key("std_ttft_ms"));
    assert_eq!(means.notes, ["each figure is a mean over 3 runs"]);
}

#[test]
fn what_only_looks_like_a_result_is_refused() {
    let said = load(&file("latencies-in-ms.json")).unwrap_err().to_string();
    assert!(said.contains("its keys (metrics)"), "{said}");
    let dir = tempfile::tempdir().unwrap();
    let said = |text: &str| {
        let path = dir.path().join("x");
        std::fs::write(&path, text).unwrap();
        load(&path).unwrap_err().to_string()
    };
    let boxes = "┃ a ┃ b ┃\n│ Request Latency of what │ c │\n";
    assert!(said(boxes).contains("holds no result"));
    let header = "build_commit,n_prompt,n_gen,avg_ns,avg_ts\n";
    assert!(said(header).contains("without a row"));
    let page = format!("<!doctype html>\n{}", " ".repeat(2 << 20));
    assert!(said(&page).contains("give the JSON or the table"));
    assert!(said("Metric,Value\ntime to nowhere,12\n").contains("holds no result"));
    let title = "============ Serving Benchmark Result ============\nno figures\n";
    assert!(said(title).contains("holds no result"));
    assert!(said("Type,Run Id,Id\n").contains("holds no result"));
    assert!(said("Run Info,Run Info\nRun ID,Run Index\n,\n").contains("holds no result"));
}
