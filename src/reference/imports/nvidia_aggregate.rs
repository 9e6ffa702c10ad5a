//! What AIPerf makes of several of its runs: a sweep, one result a combination of parameters, or means over repetitions.

use serde_json::{Map, Value, json};

use super::nvidia;
use super::value::{MOST, at, number, object, text};
use crate::ground::results::ReferenceRun;

/// Statistics over requests. Others that such a file has (`std`, `min`, `max`, `ci_low`) are over runs.
const OVER_REQUESTS: [&str; 6] = ["avg", "p50", "p90", "p95", "p99", "p75"];

pub fn is(value: &Value) -> bool {
    value.get("per_combination_metrics").is_some()
        || text(value, &["metadata.aggregation_type"]).is_some() && value.get("metrics").is_some()
}

pub fn read(value: &Value, source: &str) -> Vec<ReferenceRun> {
    match value
        .get("per_combination_metrics")
        .and_then(Value::as_array)
    {
        Some(list) => {
            let list = list.iter().take(MOST + 1);
            list.map(|one| combination(value, one, source)).collect()
        }
        None => vec![repetitions(value, source)],
    }
}

fn combination(value: &Value, one: &Value, source: &str) -> ReferenceRun {
    let parameters = one.get("parameters").cloned().unwrap_or_default();
    let metrics = one.get("metrics").and_then(object);
    let metrics = metrics.into_iter().flatten().map(|(name, metric)| {
        let kept = object(metric).into_iter().flatten();
        let kept = kept.filter(|(name, _)| *name == "unit" || OVER_REQUESTS.contains(&&***name));
        let mut kept: Map<String, Value> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
        if let (false, Some(mean)) = (kept.contains_key("avg"), metric.get("mean")) {
            kept.insert("avg".to_owned(), mean.clone());
        }
        (name.clone(), Value::Object(kept))
    });
    aggregated(value, parameters, metrics.collect(), source)
}

/// `time_to_first_token_p99: { mean, std, … }`: the mean over runs of each run's statistic.
fn repetitions(value: &Value, source: &str) -> ReferenceRun {
    let mut metrics = Map::new();
    let all = value.get("metrics").and_then(object);
    for (name, metric) in all.into_iter().flatten() {
        let (tag, statistic) = match name.rsplit_once('_') {
            Some((tag, statistic)) if OVER_REQUESTS.contains(&statistic) => (tag, statistic),
            // A statistic over runs of a statistic over requests would be neither.
            Some((_, "std" | "min" | "max")) => continue,
            _ => (&**name, "avg"),
        };
        let Some(mean) = metric.get("mean") else {
            continue;
        };
        let entry = metrics.entry(tag).or_insert_with(|| json!({}));
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(statistic.to_owned(), mean.clone());
            let unit = metric.get("unit").cloned().unwrap_or_default();
            entry.insert("unit".to_owned(), unit);
        }
    }
    aggregated(value, Value::Null, metrics, source)
}

fn aggregated(
    value: &Value,
    parameters: Value,
    metrics: Map<String, Value>,
    source: &str,
) -> ReferenceRun {
    let mut result = Map::from_iter([("records".to_owned(), Value::Object(metrics))]);
    let config = value.get("input_config").and_then(object).cloned();
    let mut config = config.unwrap_or_default();
    for name in ["concurrency", "request_rate"] {
        if let Some(value) = find(&parameters, name) {
            config.insert(name.to_owned(), value.clone());
        }
    }
    result.insert("input_config".to_owned(), Value::Object(config));
    let mut run = nvidia::read(&Value::Object(result), source);
    let runs = [
        "metadata.num_trials_per_value",
        "num_profile_runs",
        "metadata.num_profile_runs",
    ];
    let runs = match at(value, "per_combination_metrics") {
        Some(_) => number(value, runs[0]),
        None => number(value, runs[1]).or_else(|| number(value, runs[2])),
    };
    if let Some(runs) = runs.filter(|runs| *runs > 1.0) {
        // Figures that follow from each other in a run do not in means over runs.
        run.checks.clear();
        run.notes = vec![format!("each figure is a mean over {runs} runs")];
    }
    run
}

/// A parameter by its name, or by a path that ends in it.
fn find<'a>(parameters: &'a Value, name: &str) -> Option<&'a Value> {
    let mut all = object(parameters)?.iter();
    let found = all.find(|(key, _)| key.rsplit('.').next() == Some(name));
    found.map(|(_, value)| value)
}
