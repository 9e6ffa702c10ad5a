//! What the devices of a run can do at best: by their data sheet, and by what was measured.

use crate::exec::simulated::{self, Kernels};
use crate::ground::StepRecord;
use crate::ground::results::{Kind, Results, Roofs};
use crate::hardware::{self, Gpu};
use crate::shape::WeightType;

const SIMULATED: &str = "sim:";
const FP8: &str = "fp8";
/// Activations stay as they are.
const WEIGHT_ONLY: &str = "weight-only";

/// Of all devices together.
///
/// # Errors
/// Nobody's sheet is known.
pub fn data_sheet(results: &Results) -> Result<Roofs, String> {
    let found = card(results).and_then(|gpu| {
        let one = simulated::sheet(&gpu, dtype(results), computes_in_fp8(results));
        let one = one.ok_or("its data sheet has no f32 rate")?;
        Ok(of_all(results, one))
    });
    match (found, results.kind, results.hardware.roofs) {
        // The roofs of a simulated card are its data sheet's.
        (Err(_), Kind::Predicted, Some(roofs)) => Ok(roofs),
        (found, ..) => found,
    }
}

/// Of all devices together.
///
/// # Errors
/// They were not measured, or the simulated card is not known.
pub fn roof(results: &Results) -> Result<Roofs, String> {
    if results.kind != Kind::Predicted {
        let not = || "the roofs of this device were not measured".to_owned();
        return results.hardware.roofs.ok_or_else(not);
    }
    let gpu = card(results)?;
    let kernels = match results.engine.server {
        Some(_) => Kernels::ENGINES,
        None => Kernels::OWN,
    };
    let one = simulated::reach(&gpu, &kernels, dtype(results), computes_in_fp8(results));
    Ok(of_all(results, one))
}

/// Of all devices, what one reaches.
fn of_all(results: &Results, one: Roofs) -> Roofs {
    Roofs {
        read_bytes_per_s: one.read_bytes_per_s * count(results),
        flop_per_s: one.flop_per_s * count(results),
    }
}

/// Seconds of a step at these rates.
pub fn seconds(roofs: &Roofs, step: &StepRecord) -> f64 {
    work_seconds(roofs, step.bytes as f64, step.flops as f64)
}

/// Of bytes and FLOPs of all devices together, which lie over each other.
pub fn work_seconds(roofs: &Roofs, bytes: f64, flops: f64) -> f64 {
    (bytes / roofs.read_bytes_per_s).max(flops / roofs.flop_per_s)
}

/// The card of the run as `candlepower gpus` knows it.
pub fn card(results: &Results) -> Result<Gpu, String> {
    let hardware = &results.hardware;
    let unknown = || format!("no data sheet of {} is known by name", hardware.name);
    if hardware.device == "cpu" {
        return Err("there is no table of processors' data sheets".to_owned());
    }
    let Some(name) = hardware.device.strip_prefix(SIMULATED) else {
        return hardware::of_device(&hardware.name, hardware.memory_gib).ok_or_else(unknown);
    };
    // A card of a file is not looked up: the file may be another one now.
    let known = hardware::known().unwrap_or_default().iter();
    let mut same = known.filter(|gpu| gpu.name.eq_ignore_ascii_case(name));
    same.next().cloned().ok_or_else(unknown)
}

fn count(results: &Results) -> f64 {
    results.hardware.count.max(1) as f64
}

fn dtype(results: &Results) -> WeightType {
    match &*results.engine.dtype {
        "f32" => WeightType::F32,
        "f16" => WeightType::F16,
        _ => WeightType::Bf16,
    }
}

fn computes_in_fp8(results: &Results) -> bool {
    let is_fp8 = |method: &String| method.to_lowercase().contains(FP8);
    let scheme = results.engine.activation_scheme.as_deref();
    results.model.quantization.as_ref().is_some_and(is_fp8) && scheme != Some(WEIGHT_ONLY)
}
