//! Results of this program -> reference runs, so that ours and theirs are read by one code.

use serde_json::Value;

use super::{ReferenceError, short_name};
use crate::ground::results::{
    ClientMode, ReferenceHardware, ReferenceRun, Results, Run, ThroughputDefinition,
};

const BACKEND: &str = "candlepower";

/// Whether a file carries this program's schema, of any version.
pub(crate) fn is_own(file: &Value) -> bool {
    file.get("schema").is_some()
}

/// # Errors
/// `Parse`: another version of the schema, or not of its shape.
pub(crate) fn parse(file: Value, path: &str) -> Result<Vec<ReferenceRun>, ReferenceError> {
    let results = Results::of(file).map_err(|reason| ReferenceError::Parse {
        path: path.to_owned(),
        reason,
    })?;
    Ok(from_results(&results, path))
}

/// One a run, in order. `source` is where they came from.
pub fn from_results(results: &Results, source: &str) -> Vec<ReferenceRun> {
    let runs = results.runs.iter();
    runs.map(|run| from_run(results, run, source)).collect()
}

pub(crate) fn from_run(results: &Results, run: &Run, source: &str) -> ReferenceRun {
    let hardware = &results.hardware;
    let environment = &results.environment;
    let on_gpu = !environment.gpus.is_empty() || hardware.device != "cpu";
    let metrics = &run.metrics;
    let load = run.scenario.concurrency;
    let load = load.map_or_else(|| run.scenario.name.clone(), |c| format!("c{c}"));
    ReferenceRun {
        name: format!(
            "{}/{}/{load}",
            hardware.device,
            short_name(&results.model.name)
        ),
        kind: results.kind,
        source: source.to_owned(),
        hardware: ReferenceHardware {
            name: hardware.device.clone(),
            gpu: on_gpu.then(|| hardware.name.clone()),
            gpus: if on_gpu { hardware.count } else { 0 },
            gpu_memory_gb: on_gpu.then_some(hardware.memory_gib),
            cpu: Some(environment.cpu.clone()),
            ram_gib: Some(environment.ram_gib),
            cuda: environment.cuda.clone(),
            driver: environment.driver.clone(),
            os: Some(environment.os.clone()),
        },
        model: results.model.label(),
        backend: BACKEND.to_owned(),
        concurrency: run.scenario.concurrency,
        requests: metrics.total_requests,
        input_len: run.scenario.input_len,
        output_len: run.scenario.output_len,
        tokens_per_request: metrics
            .successful_requests
            .zip(metrics.total_tokens_generated)
            .filter(|(requests, _)| *requests > 0)
            .map(|(requests, tokens)| tokens as f64 / requests as f64),
        client_mode: ClientMode::Streaming,
        throughput_definition: Some(ThroughputDefinition::Output),
        metrics: metrics.clone(),
        extended: Some(run.extended.clone()),
        not_observed: run.not_observed.clone(),
        request_rate: run.scenario.request_rate,
        ..ReferenceRun::default()
    }
}
