//! Runs with figures set by hand, and how to read the screen that shows them.

use candlepower::ground::results::{GpuMetrics, Kind, Results, Run};
use candlepower::metrics::summarize;
use candlepower::reference::named;

use super::fixture::{measured, raw, results, scenario};

/// Every figure of the screen, on a CPU.
pub fn run(concurrency: usize, output: f64) -> Run {
    let mut run = measured(&raw(), scenario());
    run.scenario.concurrency = Some(concurrency);
    run.scenario.requests = Some(64);
    (run.scenario.input_len, run.scenario.output_len) = (Some(100), Some(601));
    run.scenario.goodput = None;
    run.failures.clear();
    run.metrics.total_requests = Some(64);
    run.extended.failed = 0;
    run.metrics.output_tokens_per_sec = Some(output);
    let extended = &mut run.extended;
    extended.output_throughput = Some(output);
    (extended.ttft.p50_ttft_ms, extended.ttft.p95_ttft_ms) = (Some(81.25), Some(245.0));
    (extended.tpot.p50_tpot_ms, extended.tpot.p95_tpot_ms) = (Some(20.5), Some(33.125));
    extended.bandwidth_utilization_percent = Some(83.9);
    extended.flop_utilization_percent = Some(0.6);
    extended.low_confidence.clear();
    run.not_observed.clear();
    run
}

pub fn of(runs: Vec<Run>) -> Results {
    let mut results = results();
    results.engine.threads = 2;
    results.repeats = summarize(&runs);
    results.runs = runs;
    results
}

/// Eight cards that told their power and energy.
pub fn on_gpus(mut runs: Vec<Run>) -> Results {
    for run in &mut runs {
        let watched = |index| GpuMetrics {
            index,
            name: "NVIDIA GeForce RTX 4090".to_owned(),
            mean_power_watts: Some(310.0),
            energy_j: Some(12_000.0),
            ..GpuMetrics::default()
        };
        run.gpus = (0..8).map(watched).collect();
        run.metrics.avg_gpu_power_watts = Some(310.0);
        run.extended.achieved_bytes_per_s_per_gpu = Some(845.7e9);
        run.extended.achieved_flop_per_s_per_gpu = Some(1.5e12);
        run.extended.energy_j = Some(96_000.0);
        run.extended.energy_per_output_token_j = Some(4.25);
        run.extended.output_throughput_per_gpu = run.extended.output_throughput.map(|o| o / 8.0);
    }
    let mut results = of(runs);
    (results.engine.threads, results.engine.tp) = (0, 8);
    results.hardware.device = "cuda".to_owned();
    results.hardware.name = "NVIDIA GeForce RTX 4090".to_owned();
    results.hardware.count = 8;
    results
}

pub fn predicted(server: Option<&str>) -> Results {
    let mut runs = vec![run(1, 26.4), run(50, 765.2)];
    for run in &mut runs {
        run.extended.output_throughput_per_gpu = run.extended.output_throughput.map(|o| o / 2.0);
    }
    let mut results = of(runs);
    results.kind = Kind::Predicted;
    (results.engine.threads, results.engine.tp) = (0, 2);
    results.engine.server = server.map(str::to_owned);
    results.hardware.device = "sim:rtx4090-48g".to_owned();
    results.hardware.count = 2;
    results
}

pub fn refer(results: &mut Results, model: &str, names: &[&str]) {
    results.model.name = format!("org/{model}");
    for name in names {
        results.references.extend(named(name).unwrap());
    }
}

/// The line of a screen that starts with `start`.
pub fn line<'a>(screen: &'a str, start: &str) -> &'a str {
    let found = screen.lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line {start:?} in\n{screen}"))
}

/// The words of all lines, however they are broken.
pub fn words(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn fits(screen: &str, width: usize) {
    for line in screen.lines() {
        assert!(line.chars().count() <= width, "{line:?} in\n{screen}");
    }
}
