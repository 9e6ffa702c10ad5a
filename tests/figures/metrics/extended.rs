//! The modern metric set, event folding and repeats.

use std::borrow::Cow;
use std::time::Duration;

use candlepower::ground::{Event, EventKind, FinishReason, Request, Sampling, StopRule};
use candlepower::metrics::repeats::spread;
use candlepower::metrics::{Book, summarize};

use super::fixture::{Raw, assert_entries, measured, raw, request, scenario};

#[test]
fn every_formula_equals_the_figure_worked_out_by_hand() {
    let run = measured(&raw(), scenario());
    assert_entries(
        &run.extended.entries(),
        &[
            ("duration", 4.0),
            ("completed", 3.0),
            ("failed", 1.0),
            ("total_input_tokens", 60.0),
            ("total_output_tokens", 7.0),
            ("failed_output_tokens", 2.0),
            ("request_throughput", 0.75),
            ("input_throughput", 15.0),
            ("output_throughput", 1.75),
            ("total_token_throughput", 16.75),
            // 16 of 60 tokens.
            ("total_cached_tokens", 16.0),
            ("prefix_cache_hit_percent", 1600.0 / 60.0),
            ("cached_input_throughput", 4.0),
            ("computed_input_throughput", 11.0),
            ("decode_speed_per_user", 1.0 / 0.6),
            // 500, 1000 and 3000 ms.
            ("mean_ttft_ms", 1500.0),
            ("median_ttft_ms", 1000.0),
            ("std_ttft_ms", (3.5e6_f64 / 3.0).sqrt()),
            ("p50_ttft_ms", 1000.0),
            ("max_ttft_ms", 3000.0),
            ("mean_tpot_ms", 600.0),
            // Gaps of 200, 200, 200 and 1000 ms.
            ("mean_itl_ms", 400.0),
            ("median_itl_ms", 200.0),
            ("mean_e2el_ms", 6100.0 / 3.0),
            ("mean_queue_ms", 1600.0 / 3.0),
            ("mean_ttft_service_ms", 2900.0 / 3.0),
            ("mean_normalized_latency_ms", 1425.0),
            // Steps 1 and 2 run 4 of 4: from 1 s to 4 s, with the tokens at 1.1, 1.5, 2.5 and 4 s.
            ("steady_start", 1.0),
            ("steady_end", 4.0),
            ("steady_share_percent", 75.0),
            ("steady_output_throughput", 4.0 / 3.0),
            ("max_output_tokens_per_s", 3.0),
            ("mean_in_flight", 6.1 / 4.0),
            ("max_in_flight", 3.0),
            ("request_goodput", 0.5),
            ("goodput_attainment_percent", 50.0),
            ("goodput_null_misses", 1.0),
            ("preemptions", 2.0),
            ("steps", 3.0),
            ("mean_batch_size", 8.0 / 3.0),
            ("max_batch_size", 4.0),
            ("mean_tokens_per_step", 65.0 / 3.0),
            // (0.2 x 1 s + 1 x 1 s + 0.5 x 2 s) / 4 s.
            ("mean_kv_occupancy_percent", 55.0),
            ("max_kv_occupancy_percent", 100.0),
            ("achieved_bytes_per_s", 1000.0 / 3.0),
            ("achieved_flop_per_s", 10_000.0 / 3.0),
            ("bandwidth_utilization_percent", 100.0 / 12.0),
            ("flop_utilization_percent", 100.0 / 3.0),
            // 0.3 s of 3 s, and 0.03 s of the 0.75 s of the step that tells of waits.
            ("communication_share_percent", 10.0),
            ("wait_share_percent", 4.0),
            ("timed_steps", 3.0),
            ("mean_communication_bytes_per_step", 100.0 / 3.0),
            // 5 of 5 and 6 of 2.
            ("mean_expert_imbalance", 2.0),
            ("max_expert_imbalance", 3.0),
            ("mean_host_ms_per_step", 1000.0 / 3.0),
            ("host_share_percent", 25.0),
            ("mean_submit_delay_ms", 25.0),
            ("max_submit_delay_ms", 100.0),
            ("peak_rss_bytes", 9.0),
        ],
    );
}

#[test]
fn percentiles_need_values() {
    let of = |count: u64| {
        let requests = (0..count).map(|i| request(i, 1, [0.0; 3], &[1.0, 2.0 + i as f64]));
        let raw = Raw {
            requests: requests.collect(),
            ..Raw::default()
        };
        measured(&raw, scenario())
    };
    let few = of(9);
    assert_eq!(few.extended.percentile_n.e2el, 9);
    assert_eq!(few.extended.e2el.p90_e2el_ms, None);
    let why = &few.not_observed["p90_e2el_ms"];
    assert!(why.contains("10 values") && why.contains("are 9"), "{why}");
    assert!(few.extended.e2el.max_e2el_ms.is_some());

    let enough = of(10).extended;
    assert_eq!(enough.e2el.p90_e2el_ms, Some(10_100.0));
    assert!(enough.low_confidence.contains(&"p90_e2el_ms".to_owned()));
    assert_eq!(enough.e2el.p95_e2el_ms, None);
    let plenty = of(100).extended;
    assert!(!plenty.low_confidence.contains(&"p90_e2el_ms".to_owned()));
    assert!(plenty.low_confidence.contains(&"p99_e2el_ms".to_owned()));
}

/// The report gives its percentiles for any number of values: they are marked instead of left out.
#[test]
fn the_report_s_percentiles_of_few_values_keep_their_value_and_are_named() {
    let of = |count: u64, tokens: &[f64]| {
        let requests = (0..count).map(|i| request(i, 1, [0.0; 3], tokens));
        let raw = Raw {
            requests: requests.collect(),
            ..Raw::default()
        };
        let run = measured(&raw, scenario());
        let metrics = run.metrics.entries();
        let low = run.extended.low_confidence;
        let low = low.into_iter().filter(|name| metrics.contains_key(name));
        (run.metrics, low.collect::<Vec<_>>())
    };
    let (one, low) = of(1, &[1.0, 2.0]);
    assert_eq!((one.p90_latency, one.p95_tpot), (Some(2.0), Some(1.0)));
    assert_eq!(
        low,
        ["p90_latency", "p95_latency", "p99_latency", "p95_tpot"]
    );
    // Ten times the fewest values, percentile by percentile: 100, 200 and 1000.
    assert_eq!(of(99, &[1.0, 2.0]).1.len(), 4);
    assert_eq!(
        of(100, &[1.0, 2.0]).1,
        ["p95_latency", "p99_latency", "p95_tpot"]
    );
    assert_eq!(of(200, &[1.0, 2.0]).1, ["p99_latency"]);
    assert!(of(1000, &[1.0, 2.0]).1.is_empty());
    // What was not observed is no percentile of few.
    let (single, low) = of(3, &[1.0]);
    assert_eq!(single.p95_tpot, None);
    assert_eq!(low, ["p90_latency", "p95_latency", "p99_latency"]);
    assert!(of(0, &[]).1.is_empty());
}

#[test]
fn an_open_loop_has_no_steady_target_and_no_objective_no_goodput() {
    let mut open = scenario();
    open.concurrency = None;
    open.goodput = None;
    let run = measured(&raw(), open);
    assert_eq!(run.extended.steady_output_throughput, None);
    assert!(run.not_observed["steady_start"].contains("open loop"));
    assert_eq!(run.extended.request_goodput, None);
    assert!(run.not_observed["request_goodput"].contains("--goodput"));
}

#[test]
fn events_fold_into_records_in_request_order() {
    let at = Duration::from_millis;
    let mut book = Book::new(at(1000));
    for (id, arrival) in [(4, 990), (5, 1000)] {
        book.open(&Request {
            id,
            prompt: [1, 2, 3].into(),
            stop: StopRule {
                max_tokens: 2,
                ..StopRule::default()
            },
            sampling: Sampling::GREEDY,
            arrival: at(arrival),
        });
    }
    let event = |time, request, kind| Event {
        time: at(time),
        request,
        kind,
    };
    let token = || EventKind::Token {
        token: 1,
        logprobs: None,
    };
    let admitted = |cached| EventKind::Admitted {
        cached_tokens: Some(cached),
    };
    let events = [
        event(900, 99, EventKind::Queued),
        event(1000, 5, EventKind::Queued),
        event(1001, 4, EventKind::Queued),
        event(1010, 5, admitted(16)),
        event(1500, 5, token()),
        event(1600, 5, EventKind::Preempted),
        event(1700, 5, admitted(32)),
        event(1800, 4, EventKind::Failed("refused".to_owned())),
        event(2000, 5, token()),
        event(2000, 5, EventKind::Finished(FinishReason::Stop)),
    ];
    events.iter().for_each(|event| book.apply(event));
    book.settle().unwrap();
    let (log, kept) = book.into_log();
    kept.unwrap();
    let records: Vec<_> = log.iter().map(Cow::into_owned).collect();
    assert_eq!([records[0].id, records[1].id], [4, 5]);
    assert_eq!(records[0].error.as_deref(), Some("refused"));
    assert!((records[0].arrival + 0.01).abs() < 1e-12);
    let done = &records[1];
    assert_eq!(done.tokens, [0.5, 1.0]);
    assert_eq!((done.output_tokens, done.preemptions), (2, 1));
    assert_eq!((done.admitted, done.cached_tokens), (Some(0.01), Some(16)));
    assert_eq!(done.finish, Some(FinishReason::Stop));
}

/// Mean 12, sample deviation 2, t(2) = 4.303: half width 4.303 x 2 / sqrt 3.
#[test]
fn three_repeats_give_an_interval() {
    let found = spread(&[10.0, 12.0, 14.0]).unwrap();
    assert_eq!((found.mean, found.std), (12.0, 2.0));
    assert!((found.ci95_high - 16.968_28).abs() < 1e-4);
    assert!((found.ci95_low - 7.031_72).abs() < 1e-4);
    assert!(spread(&[10.0, 12.0]).is_none());
    // t(30) = 2.042272 by the tables: 31 values, half of them 0, half 2, one 1.
    let mut wide: Vec<f64> = [0.0, 2.0].repeat(15);
    wide.push(1.0);
    let found = spread(&wide).unwrap();
    assert!((found.ci95_high - 1.0 - 2.042_272 / 31.0_f64.sqrt()).abs() < 1e-4);
}

#[test]
fn only_scenarios_played_often_enough_are_summarised() {
    let play = |repeat, name: &str| {
        let mut scenario = scenario();
        scenario.repeat = repeat;
        scenario.repeats = 3;
        scenario.name = name.to_owned();
        measured(&raw(), scenario)
    };
    let runs = [play(0, "a"), play(0, "b"), play(1, "a"), play(2, "a")];
    let summaries = summarize(&runs);
    assert_eq!(summaries.len(), 1);
    assert_eq!(
        (summaries[0].scenario.as_str(), summaries[0].runs),
        ("a", 3)
    );
    let throughput = &summaries[0].metrics["output_throughput"];
    assert_eq!((throughput.mean, throughput.std), (1.75, 0.0));
    assert!(!summaries[0].metrics.contains_key("p99_ttft_ms"));
}
