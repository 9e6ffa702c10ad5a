//! Every aggregate of a result, computed again from its records.

use serde_json::Value;

use super::files::unlike;
use super::{Evidence, all_steps, held, name_of};
use crate::ground::results::{Check, Kind, Run};
use crate::ground::{GpuIdentity, WatchedGpu};
use crate::metrics::{self, MeasureInput};
use crate::reference;

/// What only the run itself saw.
const UNREPEATED: &str = "clocks";

pub fn checks(evidence: &Evidence) -> Vec<Check> {
    let results = &evidence.results;
    let mut checks = Vec::new();
    for (at, run) in results.runs.iter().enumerate() {
        let again = again(evidence, at);
        for (part, found, expected) in [
            ("metrics", value(&run.metrics), value(&again.metrics)),
            ("extended", value(&run.extended), value(&again.extended)),
            ("failures", value(&run.failures), value(&again.failures)),
            ("GPUs", gpus(run), gpus(&again)),
            ("laws", laws(run), laws(&again)),
        ] {
            let place = unlike(&found, &expected, "");
            let outcome =
                place.map_or_else(|| Ok("computed again from the records".to_owned()), Err);
            checks.push(held(name_of(evidence, at, part), outcome));
        }
        checks.push(held(name_of(evidence, at, "nulls"), nulls(run)));
        let broken = run.checks.iter().find(|check| !check.ok);
        let outcome = match broken {
            None => Ok(format!("{} laws hold", run.checks.len())),
            Some(check) => Err(format!("{}: {}", check.name, check.detail)),
        };
        checks.push(held(name_of(evidence, at, "laws of the run"), outcome));
    }
    let repeats = metrics::summarize(&results.runs);
    let outcome = unlike(&value(&results.repeats), &value(&repeats), "repeats");
    let outcome = outcome.map_or_else(|| Ok("computed again".to_owned()), Err);
    checks.push(held("repeats", outcome));
    let share = all_steps(evidence).communication_share();
    let stated = value(&results.engine.communication_share);
    let outcome = unlike(&stated, &value(&share), "engine.communication_share");
    let outcome = outcome.map_or_else(|| Ok("computed again".to_owned()), Err);
    checks.push(held("communication share", outcome));
    checks.push(held("references", references(evidence)));
    checks
}

fn value(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

/// The run as its records make it.
fn again(evidence: &Evidence, at: usize) -> Run {
    let (results, raw) = (&evidence.results, &evidence.raw[at]);
    let run = &results.runs[at];
    let watched: Vec<WatchedGpu> = run
        .gpus
        .iter()
        .map(|gpu| WatchedGpu {
            gpu: GpuIdentity {
                index: gpu.index,
                name: gpu.name.clone(),
                pci_bus_id: gpu.pci_bus_id.clone(),
                ..GpuIdentity::default()
            },
            host: gpu.host.clone(),
            ..WatchedGpu::default()
        })
        .collect();
    let took_part = match results.kind {
        Kind::Predicted => (0..results.hardware.count).collect(),
        _ => watched
            .iter()
            .map(|watched| watched.gpu.index)
            .collect::<Vec<_>>(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut again = metrics::measure(&MeasureInput {
        requests: &raw.requests,
        steps: &raw.steps,
        telemetry: &raw.telemetry,
        experts: &raw.experts,
        scenario: run.scenario.clone(),
        model: &results.model.name,
        prompt: &text(&run.metrics.prompt),
        timestamp: &text(&run.metrics.timestamp),
        capacity: metrics::capacity(&results.engine, &run.scenario, &raw.requests),
        gpus: &took_part,
        watched: &watched,
        roofs: results.hardware.roofs,
        clocks: None,
    });
    if results.kind == Kind::Predicted {
        metrics::mark_predicted(&mut again, results.engine.server.is_some());
    }
    again
}

/// Without the reasons of nulls, which the driver gave.
fn gpus(run: &Run) -> Value {
    let without = |gpu| match value(gpu) {
        Value::Object(mut map) => {
            map.remove("not_observed");
            Value::Object(map)
        }
        other => other,
    };
    Value::Array(run.gpus.iter().map(without).collect())
}

/// By name; one whose evidence is not in the records is left out.
fn laws(run: &Run) -> Value {
    let laws = run.checks.iter().filter(|check| check.name != UNREPEATED);
    value(&laws.collect::<Vec<_>>())
}

/// Each null has a reason, and nothing else has.
fn nulls(run: &Run) -> Result<String, String> {
    let mut count = 0;
    for (name, value) in run.metrics.entries().iter().chain(&run.extended.entries()) {
        let reason = run.not_observed.contains_key(name);
        match (value.is_null(), reason) {
            (true, false) => return Err(format!("{name} is null without a reason")),
            (false, true) => return Err(format!("{name} has a value, and a reason for none")),
            (is_null, _) => count += usize::from(is_null),
        }
    }
    Ok(format!("{count} nulls, each with its reason"))
}

/// Those that come with the program say what the program says.
fn references(evidence: &Evidence) -> Result<String, String> {
    let library = reference::library().map_err(|error| error.to_string())?;
    let mut known = 0;
    for run in &evidence.results.references {
        let own = library
            .iter()
            .find(|own| own.name == run.name && own.source == run.source);
        let Some(own) = own else {
            continue;
        };
        known += 1;
        if let Some(place) = unlike(&value(run), &value(own), &run.name) {
            return Err(place.replace("the records make it", "this program has it as"));
        }
    }
    Ok(format!("{known} of the program's own, as it has them"))
}
