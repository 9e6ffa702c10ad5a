//! What ran, on what, and whose numbers these are.

use crate::ground::results::{Kind, Results, Scenario, WeightSource};
use crate::reference::short_name;
use crate::report::columns;

pub(super) const CUT_SHORT: &str =
    "PARTIAL: cut short; these figures cover what was done until then";

/// Two lines; a third where the run was cut short.
pub(super) fn title(results: &Results) -> Vec<String> {
    let mut lines = vec![
        format!("{} on {}", model(results), machine(results)),
        format!("{}{}", kind(results), work(results)),
    ];
    if results.partial {
        lines.push(CUT_SHORT.to_owned());
    }
    lines
}

pub(super) fn model(results: &Results) -> String {
    let model = &results.model;
    let format = model.quantization.as_ref().unwrap_or(&model.dtype);
    let slice = match model.num_hidden_layers == model.model_layers {
        true => String::new(),
        false => format!(
            ", first {} of {} layers",
            model.num_hidden_layers, model.model_layers
        ),
    };
    // A prediction needs no weights at all.
    let dummy = model.weights == WeightSource::Dummy && results.kind != Kind::Predicted;
    let dummy = if dummy { ", dummy weights" } else { "" };
    format!("{} in {format}{slice}{dummy}", short_name(&model.name))
}

pub(super) fn machine(results: &Results) -> String {
    let (hardware, engine) = (&results.hardware, &results.engine);
    let devices = match hardware.count {
        0 | 1 => hardware.name.clone(),
        count => format!("{count} x {}", hardware.name),
    };
    let threads = match engine.threads {
        0 => String::new(),
        1 => ", 1 thread".to_owned(),
        threads => format!(", {threads} threads"),
    };
    let split = match (engine.tp, engine.expert_parallel) {
        (0 | 1, _) => String::new(),
        (tp, false) => format!(", tp {tp}"),
        (tp, true) => format!(", tp {tp} with whole experts"),
    };
    format!("{devices}{threads}{split}")
}

pub(super) fn kind(results: &Results) -> String {
    match (results.kind, &results.engine.server) {
        (Kind::Predicted, None) => "PREDICTED, not measured: raw capacity, no server".to_owned(),
        (Kind::Predicted, Some(server)) => {
            format!("PREDICTED, not measured: {}", columns::behind(server))
        }
        (Kind::Virtual, _) => "VIRTUAL GPU: no time here is a measurement".to_owned(),
        (kind, _) => columns::kind(kind).to_owned(),
    }
}

/// Tokens of a request, where all runs share them.
pub(super) fn work(results: &Results) -> String {
    let Some(first) = results.runs.first().map(|run| &run.scenario) else {
        return String::new();
    };
    let lengths = |scenario: &Scenario| (scenario.input_words(), scenario.output_words());
    let shared = results
        .runs
        .iter()
        .all(|run| lengths(&run.scenario) == lengths(first));
    let most = if first.stop_at_eos { "at most " } else { "" };
    let dataset = first.dataset.as_deref().map(short_name);
    match (lengths(first), dataset) {
        ((Some(input), Some(output)), None) if shared => {
            format!("; {input} tokens in, {most}{output} out")
        }
        (_, Some(file)) => format!("; requests of {file}"),
        _ => String::new(),
    }
}
