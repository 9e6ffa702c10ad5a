//! A file of published figures (`models/vllm_reference.json` and its like) -> reference runs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::artefacts::{artefacts, client_mode, throughput_definition};
use super::{ReferenceError, short_name};
use crate::ground::json::words::in_words;
use crate::ground::results::{Kind, Metrics, ReferenceHardware, ReferenceRun};

/// The source has no such figure.
const NOT_PUBLISHED: &str = "not published";

#[derive(Deserialize)]
struct Published {
    source: String,
    hardware: BTreeMap<String, Hardware>,
    workload: Workload,
    runs: Vec<PublishedRun>,
    #[serde(default)]
    failures: Vec<PublishedFailure>,
}

#[derive(Deserialize)]
struct Hardware {
    gpu: Option<String>,
    count: usize,
    gpu_memory_gb: Option<f64>,
    cpu: Option<String>,
    ram_gib: Option<f64>,
    cuda: Option<String>,
    driver: Option<String>,
    os: Option<String>,
}

#[derive(Deserialize)]
struct Workload {
    input_tokens: usize,
    output_tokens: usize,
    #[serde(default)]
    scenarios: Vec<Load>,
}

#[derive(Deserialize)]
struct Load {
    concurrency: usize,
    requests: u64,
}

#[derive(Deserialize)]
struct PublishedRun {
    hardware: String,
    model: String,
    backend: String,
    precision_bits: Option<u32>,
    concurrency: usize,
    metrics: Map<String, Value>,
}

#[derive(Deserialize)]
struct PublishedFailure {
    hardware: String,
    model: String,
    stage: String,
    concurrency: Option<usize>,
    total_requests: Option<u64>,
    observed: String,
}

/// Whether a file is of that shape.
pub(crate) fn is_published(file: &Value) -> bool {
    let has = |key| file.get(key).is_some();
    has("runs") && has("hardware")
}

/// The runs, then the failed ones, in the file's order.
///
/// # Errors
/// `Parse`: not this shape, a run on hardware that the file does not describe, or a metric that is
/// not a number of the right kind.
pub(crate) fn parse(text: &str, path: &str) -> Result<Vec<ReferenceRun>, ReferenceError> {
    let fail = |reason: String| ReferenceError::Parse {
        path: path.to_owned(),
        reason,
    };
    let file: Published = serde_json::from_str(text).map_err(|e| fail(in_words(&e.to_string())))?;
    let runs = file.runs.iter().map(|run| file.run(run));
    let failures = file.failures.iter().map(|failure| file.failure(failure));
    runs.chain(failures).collect::<Result<_, _>>().map_err(fail)
}

impl Published {
    fn run(&self, run: &PublishedRun) -> Result<ReferenceRun, String> {
        let model = short_name(&run.model);
        let name = format!("{}/{model}/c{}", run.hardware, run.concurrency);
        let raw = raw(&run.metrics).map_err(|reason| format!("{name}: {reason}"))?;
        let artefacts = artefacts(&raw);
        let mut observed = run.metrics.clone();
        observed.retain(|metric, _| !artefacts.contains_key(metric));
        let metrics: Metrics = serde_json::from_value(Value::Object(observed))
            .map_err(|error| format!("{name}: {}", in_words(&error.to_string())))?;
        let requests = metrics.total_requests;
        let tokens = metrics.total_tokens_generated;
        let tokens_per_request = requests
            .zip(tokens)
            .map(|(requests, tokens)| tokens as f64 / requests as f64);
        let mut reference = ReferenceRun {
            source: self.source.clone(),
            kind: Kind::Reference,
            hardware: self.hardware(&run.hardware)?,
            model: run.model.clone(),
            backend: run.backend.clone(),
            precision_bits: run.precision_bits,
            concurrency: Some(run.concurrency),
            requests,
            input_len: Some(self.workload.input_tokens),
            output_len: Some(self.workload.output_tokens),
            tokens_per_request,
            client_mode: client_mode(&raw),
            throughput_definition: throughput_definition(&raw),
            metrics: Metrics {
                model: Some(run.model.clone()),
                ..metrics
            },
            not_observed: artefacts,
            raw,
            name,
            ..ReferenceRun::default()
        };
        explain_nulls(&mut reference, NOT_PUBLISHED);
        reference.notes = self.notes(&reference);
        Ok(reference)
    }

    /// A run without figures: each null's reason is how it failed.
    fn failure(&self, failure: &PublishedFailure) -> Result<ReferenceRun, String> {
        let model = short_name(&failure.model);
        let load = failure
            .concurrency
            .map_or_else(|| failure.stage.clone(), |c| format!("c{c}"));
        let played = failure.concurrency.is_some();
        let mut reference = ReferenceRun {
            name: format!("{}/{model}/{load}", failure.hardware),
            kind: Kind::Reference,
            source: self.source.clone(),
            hardware: self.hardware(&failure.hardware)?,
            model: failure.model.clone(),
            backend: self.backend_on(&failure.hardware),
            concurrency: failure.concurrency,
            requests: failure.total_requests,
            input_len: played.then_some(self.workload.input_tokens),
            output_len: played.then_some(self.workload.output_tokens),
            metrics: Metrics {
                model: Some(failure.model.clone()),
                ..Metrics::default()
            },
            failure: Some(failure.observed.clone()),
            ..ReferenceRun::default()
        };
        explain_nulls(&mut reference, &failure.observed);
        Ok(reference)
    }

    fn hardware(&self, name: &str) -> Result<ReferenceHardware, String> {
        let known = self.hardware.get(name);
        let hardware = known.ok_or_else(|| {
            format!("a run names the hardware `{name}`, which `hardware` does not describe")
        })?;
        Ok(ReferenceHardware {
            name: name.to_owned(),
            gpu: hardware.gpu.clone(),
            gpus: hardware.count,
            gpu_memory_gb: hardware.gpu_memory_gb,
            cpu: hardware.cpu.clone(),
            ram_gib: hardware.ram_gib,
            cuda: hardware.cuda.clone(),
            driver: hardware.driver.clone(),
            os: hardware.os.clone(),
        })
    }

    /// Failures do not say which engine failed; the runs on the same machine do.
    fn backend_on(&self, hardware: &str) -> String {
        let run = self.runs.iter().find(|run| run.hardware == hardware);
        run.map_or_else(|| NOT_PUBLISHED.to_owned(), |run| run.backend.clone())
    }

    /// Where the run differs from the workload of its file.
    fn notes(&self, run: &ReferenceRun) -> Vec<String> {
        let asked = self.workload.output_tokens;
        let early = match (run.metrics.total_tokens_generated, run.requests) {
            (Some(tokens), Some(requests)) if tokens != requests.saturating_mul(asked as u64) => {
                Some(format!(
                    "{:.1} output tokens a request, where {asked} were asked for: answers ended early",
                    tokens as f64 / requests as f64
                ))
            }
            _ => None,
        };
        let plan = self.workload.scenarios.iter();
        let planned = plan
            .filter(|load| Some(load.concurrency) == run.concurrency)
            .map(|load| load.requests)
            .next();
        let fewer = match (run.requests, planned) {
            (Some(requests), Some(planned)) if requests != planned => Some(format!(
                "{requests} requests in all, where the source's text plans {planned}"
            )),
            _ => None,
        };
        early.into_iter().chain(fewer).collect()
    }
}

/// The figures as published.
fn raw(metrics: &Map<String, Value>) -> Result<BTreeMap<String, f64>, String> {
    let known = Metrics::default().entries();
    metrics
        .iter()
        .map(|(name, value)| {
            let number = value.as_number().and_then(Number::as_f64);
            match number {
                Some(number) if known.contains_key(name) => Ok((name.clone(), number)),
                Some(_) => Err(format!("`{name}` is not a metric of the report")),
                None => Err(format!("`{name}` is {value}, not a number")),
            }
        })
        .collect()
}

/// Gives every null without a reason yet `reason`.
fn explain_nulls(run: &mut ReferenceRun, reason: &str) {
    for (name, value) in run.metrics.entries() {
        if value.is_null() {
            let reason = || reason.to_owned();
            run.not_observed.entry(name).or_insert_with(reason);
        }
    }
}
