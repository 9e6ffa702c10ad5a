//! What `scripts/vllm-reference` adds to the keys of `vllm bench serve`: the side, the release, the settings and the machine.

use serde_json::Value;

use super::draft::Draft;
use super::value::{at, count, number, object, text};
use crate::ground::results::ReferenceHardware;

const TOOL: &str = "vllm-reference";
const UNKNOWN_RELEASE: &str = "of an unknown release";

/// Nothing where the file is another's.
pub fn describe(draft: &mut Draft, value: &Value) {
    if text(value, &["tool"]).as_deref() != Some(TOOL) {
        return;
    }
    let said = |key| text(value, &[key]);
    let side = said("side").unwrap_or_default();
    let release = said("vllm_version").unwrap_or_else(|| UNKNOWN_RELEASE.to_owned());
    draft.run.backend = format!("vLLM {release}, {side}");
    draft.run.tool = Some(format!("vLLM {side}"));
    if let Some(hardware) = at(value, "hardware") {
        draft.run.hardware = machine(hardware);
    }
    let settings = at(value, "settings").and_then(object);
    let settings = settings.into_iter().flatten().map(|(name, value)| {
        let value = value.as_str().map_or(value.to_string(), str::to_owned);
        (name.clone(), value)
    });
    draft.run.settings = settings.collect();
    let shown = draft.run.settings.iter();
    let shown: Vec<String> = shown
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if !shown.is_empty() {
        draft.note(format!("settings: {}", shown.join(", ")));
    }
}

fn machine(value: &Value) -> ReferenceHardware {
    let said = |key| text(value, &[key]);
    ReferenceHardware {
        name: said("name").unwrap_or_default(),
        gpu: said("gpu"),
        gpus: number(value, "gpus").and_then(count).unwrap_or(0) as usize,
        gpu_memory_gb: number(value, "gpu_memory_gb"),
        cpu: said("cpu"),
        ram_gib: number(value, "ram_gib"),
        cuda: said("cuda"),
        driver: said("driver"),
        os: said("os"),
    }
}
