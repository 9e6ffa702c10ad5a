//! For any run: every null has a reason, every reason a null, and the laws hold.

use candlepower::ground::results::Scenario;
use candlepower::ground::{FinishReason, RequestRecord, StepRecord};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::fixture::{Raw, measured, scenario};

prop_compose! {
    fn record()(
        prompt_tokens in 1_usize..50,
        arrival in 0.0..5.0_f64,
        wait in option::weighted(0.9, 0.0..2.0_f64),
        gaps in vec(0.0..0.5_f64, 0..30),
        ok in any::<bool>(),
        error in any::<bool>(),
        cached_tokens in option::of(0_usize..50),
    ) -> RequestRecord {
        let admitted = wait.map(|wait| arrival + wait);
        let start = admitted.unwrap_or(arrival);
        let tokens: Vec<f64> = gaps
            .iter()
            .scan(start, |now, gap| { *now += gap; Some(*now) })
            .collect();
        RequestRecord {
            id: 0,
            prompt_tokens,
            output_tokens: tokens.len(),
            arrival,
            submitted: admitted.map(|_| arrival),
            admitted,
            finish: (ok && !tokens.is_empty()).then_some(FinishReason::Length),
            tokens,
            preemptions: 0,
            cached_tokens: cached_tokens.map(|cached| cached.min(prompt_tokens)),
            error: error.then(|| "lost".to_owned()),
        }
    }
}

prop_compose! {
    fn step()(
        start in 0.0..5.0_f64,
        length in 0.0..1.0_f64,
        running in 0_usize..8,
        kv_blocks_total in 0_usize..3,
        bytes in 0_u64..2,
    ) -> StepRecord {
        StepRecord { start, end: start + length, exec_seconds: length, running,
            scheduled: running, kv_blocks_total, bytes, ..StepRecord::default() }
    }
}

/// As they arrive.
fn in_order(mut requests: Vec<RequestRecord>) -> Vec<RequestRecord> {
    requests.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    requests
}

prop_compose! {
    fn load()(concurrency in option::of(1_usize..8), goodput in any::<bool>()) -> Scenario {
        let fixed = scenario();
        Scenario { concurrency, goodput: fixed.goodput.filter(|_| goodput), ..fixed }
    }
}

proptest! {
    #[test]
    fn nulls_and_reasons_are_the_same_names(
        requests in vec(record(), 0..12),
        steps in vec(step(), 0..5),
        scenario in load(),
    ) {
        let raw = Raw { requests: in_order(requests), steps, ..Raw::default() };
        let run = measured(&raw, scenario);
        let (metrics, extended) = (run.metrics.entries(), run.extended.entries());
        prop_assert!(!metrics.keys().any(|name| extended.contains_key(name)));
        let both = metrics.iter().chain(&extended);
        let mut nulls: Vec<&str> = both
            .filter(|(_, value)| value.is_null())
            .map(|(name, _)| name.as_str())
            .collect();
        nulls.sort_unstable();
        let reasons: Vec<&str> = run.not_observed.keys().map(String::as_str).collect();
        prop_assert_eq!(nulls, reasons);
        prop_assert!(run.not_observed.values().all(|reason| !reason.is_empty()));
    }

    #[test]
    fn littles_law_and_the_identity_hold(requests in vec(record(), 0..40)) {
        let raw = Raw { requests: in_order(requests), ..Raw::default() };
        let run = measured(&raw, scenario());
        for check in run.checks.iter().filter(|check| check.name != "concurrency_limit") {
            prop_assert!(check.ok, "{}: {}", check.name, check.detail);
        }
    }
}
