//! The 35 metrics of the source report.

use candlepower::ground::{RequestRecord, TelemetrySample};
use candlepower::metrics::quantile::{Sample, fewest_for};

use super::fixture::{Raw, assert_entries, measured, raw, request, scenario, timed_out};

/// Names and order of the contract.
const NAMES: &str = "total_requests successful_requests failed_requests success_rate \
    requests_per_sec avg_latency min_latency max_latency p90_latency p95_latency p99_latency \
    avg_first_token_latency avg_tpot p95_tpot min_tpot max_tpot total_tokens_generated \
    max_throughput min_throughput avg_throughput overall_total_throughput input_tokens_per_sec \
    output_tokens_per_sec total_duration model prompt timestamp avg_gpu_mem_percent \
    avg_gpu_power_watts avg_gpu_temp_C avg_gpu_clock_gr_mhz avg_gpu_clock_mem_mhz cpu_percent \
    ram_percent gpu_index";

#[test]
fn every_metric_equals_the_figure_worked_out_by_hand() {
    let run = measured(&raw(), scenario());
    let entries = run.metrics.entries();
    let names: Vec<&str> = entries.keys().map(String::as_str).collect();
    assert_eq!(names, NAMES.split_whitespace().collect::<Vec<_>>());
    assert_entries(
        &entries,
        &[
            ("total_requests", 4.0),
            ("successful_requests", 3.0),
            ("failed_requests", 1.0),
            ("success_rate", 75.0),
            ("requests_per_sec", 0.75),
            ("avg_latency", 6.1 / 3.0),
            ("min_latency", 1.1),
            ("max_latency", 3.0),
            // Ranks 1.8, 1.9 and 1.98 between 2 s and 3 s.
            ("p90_latency", 2.8),
            ("p95_latency", 2.9),
            ("p99_latency", 2.98),
            ("avg_first_token_latency", 1.5),
            // 0.2 s and 1 s; the single token has none.
            ("avg_tpot", 0.6),
            ("p95_tpot", 0.96),
            ("min_tpot", 0.2),
            ("max_tpot", 1.0),
            // The tokens of the failed request stand apart.
            ("total_tokens_generated", 7.0),
            ("max_throughput", 4.0 / 1.1),
            ("min_throughput", 1.0 / 3.0),
            ("avg_throughput", (4.0 / 1.1 + 1.0 + 1.0 / 3.0) / 3.0),
            ("overall_total_throughput", 1.75),
            ("input_tokens_per_sec", 15.0),
            ("output_tokens_per_sec", 1.75),
            ("total_duration", 4.0),
            // The two samples inside the window.
            ("cpu_percent", 150.0),
            ("ram_percent", 55.0),
        ],
    );
    assert_eq!(entries["model"], "tiny");
    assert_eq!(entries["prompt"], "synthetic");
    assert_eq!(entries["timestamp"], "2026-01-01T00:00:00Z");
    for name in names.iter().filter(|name| name.contains("gpu")) {
        assert!(entries[*name].is_null(), "{name}");
        assert_eq!(run.not_observed[*name], "no GPU took part");
    }
}

#[test]
fn a_run_without_success_has_no_latency_and_no_zero_in_its_place() {
    let failed = timed_out(request(0, 5, [0.0, 0.0, 0.5], &[1.0]));
    let raw = Raw {
        requests: vec![failed],
        ..Raw::default()
    };
    let run = measured(&raw, scenario());
    let metrics = run.metrics;
    assert_eq!(metrics.success_rate, Some(0.0));
    assert_eq!(metrics.requests_per_sec, Some(0.0));
    assert_eq!(metrics.total_tokens_generated, Some(0));
    assert_eq!((metrics.avg_latency, metrics.p99_latency), (None, None));
    assert_eq!((metrics.avg_tpot, metrics.max_throughput), (None, None));
    assert_eq!(run.not_observed["avg_latency"], "no request succeeded");
    assert_eq!(run.failures.len(), 1);
    assert_eq!(run.failures[0].reason, "timed out after 2 s");
    assert_eq!(run.extended.failed_output_tokens, 1);
}

#[test]
fn without_requests_nothing_is_observed_but_counts() {
    let run = measured(&Raw::default(), scenario());
    assert_eq!(run.metrics.total_requests, Some(0));
    assert_eq!(run.metrics.success_rate, None);
    assert_eq!(run.metrics.total_duration, None);
    assert_eq!(
        run.not_observed["success_rate"],
        "no request completed or failed"
    );
}

#[test]
fn single_tokens_have_no_time_between_tokens() {
    let raw = Raw {
        requests: vec![request(0, 5, [0.0, 0.0, 0.5], &[2.0])],
        telemetry: vec![TelemetrySample {
            time: 2.5,
            cpu_percent: 1.0,
            ram_percent: 1.0,
            rss_bytes: 1,
            gpus: Vec::new(),
            others: Vec::new(),
        }],
        ..Raw::default()
    };
    let run = measured(&raw, scenario());
    assert_eq!(run.metrics.avg_tpot, None);
    assert_eq!(run.metrics.avg_throughput, Some(0.5));
    assert_eq!(run.metrics.p99_latency, Some(2.0));
    assert!(run.not_observed["avg_tpot"].contains("two output tokens"));
    // The only sample came after the last token.
    assert!(run.not_observed["cpu_percent"].contains("no telemetry sample"));
}

#[test]
fn a_request_in_flight_at_the_end_counts_as_failed() {
    let in_flight = RequestRecord {
        finish: None,
        ..request(7, 5, [0.0, 0.0, 0.5], &[1.0])
    };
    let raw = Raw {
        requests: vec![in_flight],
        ..Raw::default()
    };
    let run = measured(&raw, scenario());
    assert_eq!(run.metrics.failed_requests, Some(1));
    assert_eq!(run.failures[0].id, 7);
    assert!(run.failures[0].reason.contains("ended before"));
}

/// Rows of the report, recomputed from its own figures: 10 requests of 100 + 601 tokens, one at a
/// time on two GPUs, took 115.46 s.
#[test]
fn the_definitions_give_the_rows_that_the_report_prints() {
    let latency = 115.46 / 10.0;
    let requests = (0..10)
        .map(|i| {
            let start = latency * i as f64;
            let mut tokens = vec![start + latency / 2.0; 601];
            tokens[600] = start + latency;
            request(i, 100, [start; 3], &tokens)
        })
        .collect();
    let raw = Raw {
        requests,
        ..Raw::default()
    };
    let metrics = measured(&raw, scenario()).metrics;
    let rounded = |value: Option<f64>, unit: f64| (value.unwrap() / unit).round() * unit;
    assert!((rounded(metrics.requests_per_sec, 1e-5) - 0.08661).abs() < 1e-9);
    assert!((rounded(metrics.output_tokens_per_sec, 0.01) - 52.05).abs() < 1e-9);
    assert!((rounded(metrics.input_tokens_per_sec, 0.01) - 8.66).abs() < 1e-9);
    assert_eq!(metrics.total_tokens_generated, Some(6010));
    assert_eq!(
        metrics.overall_total_throughput,
        metrics.output_tokens_per_sec
    );
}

/// Expected figures from numpy.percentile and numpy.std.
#[test]
fn percentiles_are_numpys() {
    let sample = Sample::new(vec![15.0, 20.0, 35.0, 40.0, 50.0]).unwrap();
    assert_eq!(sample.percentile(0), 15.0);
    assert!((sample.percentile(40) - 29.0).abs() < 1e-12);
    assert_eq!(sample.percentile(50), 35.0);
    assert!((sample.percentile(90) - 46.0).abs() < 1e-12);
    assert_eq!(sample.percentile(100), 50.0);
    assert!((sample.std() - 12.884_098_726_725_126).abs() < 1e-12);
    assert!(Sample::new(vec![f64::NAN, f64::INFINITY]).is_none());
    assert_eq!([50, 90, 95, 99].map(fewest_for), [2, 10, 20, 100]);
}
