//! What results have besides their figures, by name: where two differ, their figures may differ for that.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::ground::results::{Drawing, ReferenceRun, Results, Scenario};
use crate::profile::Profile;
use crate::reference::short_name;

/// What two results differ in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub what: String,
    pub a: String,
    pub b: String,
}

const PLAYED: &str = "played";
const NOT_PLAYED: &str = "not played";
/// What a load is, for pairing: other keys may differ within a pair.
const LOAD: [&str; 7] = [
    "test",
    "requests in flight",
    "requests a second",
    "rate over time",
    "prompt tokens",
    "output tokens",
    "dataset",
];
/// Settings of the engine that are no choice of the user's, or are told elsewhere.
const NO_SETTINGS: [&str; 4] = ["ranks", "communication_share", "timed_by", "rank_cpus"];

pub type Circumstances = BTreeMap<String, String>;

impl Difference {
    fn new(what: &str, a: &str, b: &str) -> Self {
        Self {
            what: what.to_owned(),
            a: a.to_owned(),
            b: b.to_owned(),
        }
    }

    pub fn only_in_a(load: &str) -> Self {
        Self::new(&format!("load {load}"), PLAYED, NOT_PLAYED)
    }

    pub fn only_in_b(load: &str) -> Self {
        Self::new(&format!("load {load}"), NOT_PLAYED, PLAYED)
    }
}

/// What both state, and state otherwise.
pub fn between(a: &Circumstances, b: &Circumstances) -> Vec<Difference> {
    let both = a
        .iter()
        .filter_map(|(what, one)| Some((what, one, b.get(what)?)));
    let unlike = both.filter(|(_, one, other)| one != other);
    unlike
        .map(|(what, one, other)| Difference::new(what, one, other))
        .collect()
}

/// Whether two loads ask the same.
pub fn same_load(a: &Circumstances, b: &Circumstances) -> bool {
    LOAD.iter().all(|key| match (a.get(*key), b.get(*key)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    })
}

fn set(all: &mut Circumstances, what: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        all.insert(what.to_owned(), value.to_string());
    }
}

/// One text for a list of one a GPU.
fn each<T: ToString>(values: impl Iterator<Item = Option<T>>) -> Option<String> {
    let values: Option<Vec<String>> = values.map(|v| v.map(|v| v.to_string())).collect();
    let values = values.filter(|values| !values.is_empty())?;
    match values.iter().all(|value| *value == values[0]) {
        true => Some(values[0].clone()),
        false => Some(values.join(", ")),
    }
}

pub fn of_results(results: &Results) -> Circumstances {
    let mut all = Circumstances::new();
    let (environment, model) = (&results.environment, &results.model);
    set(&mut all, "model", Some(short_name(&model.label())));
    set(
        &mut all,
        "weights",
        Some(format!("{:?}", model.weights).to_lowercase()),
    );
    set(&mut all, "weights' type", Some(&model.dtype));
    set(&mut all, "quantization", model.quantization.as_ref());
    set(
        &mut all,
        "kind",
        Some(format!("{:?}", results.kind).to_lowercase()),
    );
    set(&mut all, "device", Some(&results.hardware.device));
    set(&mut all, "card", Some(&results.hardware.name));
    set(&mut all, "devices", Some(results.hardware.count));
    set(&mut all, "processor", Some(&environment.cpu));
    set(&mut all, "operating system", Some(&environment.os));
    set(&mut all, "driver", environment.driver.as_ref());
    set(&mut all, "CUDA", environment.cuda.as_ref());
    set(&mut all, "NCCL", environment.nccl.as_ref());
    let cards = &environment.gpus;
    let limits = each(cards.iter().map(|card| card.power_limit_watts));
    set(&mut all, "power limit (W)", limits);
    let clocks = each(cards.iter().map(|card| card.application_sm_clock_mhz));
    set(&mut all, "application clock (MHz)", clocks);
    let clocks = each(cards.iter().map(|card| card.application_memory_clock_mhz));
    set(&mut all, "memory clock (MHz)", clocks);
    set(&mut all, "release", Some(&environment.candlepower));
    set(&mut all, "revision", environment.git.as_ref());
    set(&mut all, "features", Some(environment.features.join(", ")));
    set(&mut all, "tool", Some("candlepower"));
    if let Ok(Value::Object(settings)) = serde_json::to_value(&results.engine) {
        let settings = settings.iter();
        for (name, value) in settings.filter(|(name, _)| !NO_SETTINGS.contains(&&***name)) {
            if !value.is_null() {
                let value = value.as_str().map_or(value.to_string(), str::to_owned);
                set(&mut all, &format!("setting {name}"), Some(value));
            }
        }
    }
    let running = each(results.runs.iter().map(|run| {
        let clock = run.gpus.first()?.mean_sm_clock_mhz?;
        // Clocks vary a little in any run.
        Some((clock / 25.0).round() * 25.0)
    }));
    set(&mut all, "mean clock (MHz, about)", running);
    all
}

pub fn of_scenario(scenario: &Scenario) -> Circumstances {
    let mut all = Circumstances::new();
    set(&mut all, "requests in flight", scenario.concurrency);
    set(&mut all, "requests a second", scenario.request_rate);
    set(&mut all, "burstiness", scenario.burstiness);
    set(&mut all, "rate over time", scenario.rate_course.as_ref());
    set(&mut all, "requests", scenario.requests);
    set(&mut all, "requests come for (s)", scenario.duration_s);
    let at_end = scenario.at_end.map(|end| format!("{end:?}").to_lowercase());
    set(&mut all, "requests in flight then", at_end);
    set(&mut all, "cancelled", scenario.cancel);
    let drawn = scenario.sampling.map(|drawing| {
        let Drawing {
            temperature,
            top_k,
            top_p,
            seed: _,
        } = drawing;
        format!("temperature {temperature}, top-k {top_k}, top-p {top_p}")
    });
    set(&mut all, "tokens are drawn", drawn);
    set(&mut all, "prompt tokens", scenario.input_words());
    set(&mut all, "output tokens", scenario.output_words());
    set(&mut all, "groups of prompts", scenario.prefix_groups);
    set(&mut all, "think time (s)", scenario.think_time_s);
    set(&mut all, "dataset", scenario.dataset.as_ref());
    set(&mut all, "time scale", scenario.time_scale);
    set(&mut all, "warm-up requests", Some(scenario.warmup));
    set(&mut all, "request timeout (s)", scenario.request_timeout_s);
    set(&mut all, "stops at end tokens", Some(scenario.stop_at_eos));
    if scenario.concurrency.is_some() {
        set(&mut all, "loop", Some("closed"));
    } else {
        set(&mut all, "loop", Some("open"));
    }
    all
}

pub fn of_run(run: &ReferenceRun) -> Circumstances {
    let mut all = Circumstances::new();
    set(&mut all, "model", Some(short_name(&run.model)));
    set(&mut all, "card", run.hardware.gpu.as_ref());
    let count = Some(run.hardware.gpus).filter(|count| *count > 0);
    set(&mut all, "devices", count);
    set(&mut all, "processor", run.hardware.cpu.as_ref());
    set(&mut all, "driver", run.hardware.driver.as_ref());
    set(&mut all, "CUDA", run.hardware.cuda.as_ref());
    set(&mut all, "engine", Some(&run.backend));
    set(
        &mut all,
        "tool",
        Some(run.tool.as_ref().unwrap_or(&run.backend)),
    );
    set(
        &mut all,
        "kind",
        Some(format!("{:?}", run.kind).to_lowercase()),
    );
    for (name, value) in &run.settings {
        set(&mut all, &format!("setting {name}"), Some(value));
    }
    all
}

pub fn of_load(run: &ReferenceRun) -> Circumstances {
    let mut all = Circumstances::new();
    set(&mut all, "requests in flight", run.concurrency);
    set(&mut all, "requests a second", run.request_rate);
    set(&mut all, "requests", run.requests);
    set(&mut all, "prompt tokens", run.input_len);
    set(&mut all, "output tokens", run.output_len);
    if let Some(figure) = run.beside.get("avg_ts") {
        set(&mut all, "test", Some(&figure.definition));
    }
    all
}

pub fn profile_load(profile: &Profile) -> String {
    format!(
        "{} batch {} context {}",
        format!("{:?}", profile.phase).to_lowercase(),
        profile.batch,
        profile.context
    )
}

pub fn of_profile(profile: &Profile) -> Circumstances {
    let mut all = Circumstances::new();
    set(&mut all, "model", Some(short_name(&profile.model)));
    set(&mut all, "layers", Some(profile.layers));
    set(&mut all, "device", Some(&profile.device));
    set(&mut all, "card", Some(&profile.hardware));
    set(&mut all, "ranks", Some(profile.tp));
    set(&mut all, "threads", Some(profile.threads));
    set(
        &mut all,
        "kind",
        Some(format!("{:?}", profile.kind).to_lowercase()),
    );
    all
}

pub fn of_profile_load(profile: &Profile) -> Circumstances {
    let mut all = Circumstances::new();
    set(&mut all, "test", Some(profile_load(profile)));
    all
}
