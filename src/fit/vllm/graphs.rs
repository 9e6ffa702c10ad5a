//! CUDA graphs: what vLLM reserves for them inside of its budget, or what capturing takes on top of it.

use super::super::releases::Release;
use super::super::terms::{Item, Stage};

/// What the trial of some captures says beforehand: 0.52 to 1.92 GiB for 24 to 80 layers, logged by 0.19 (fit2-073 to
/// fit2-121, a report of 49 starts), which did not deduct it yet.
const ESTIMATE_GIB: f64 = 0.12;
const ESTIMATE_GIB_PER_LAYER: f64 = 0.02;
/// What capturing takes: 0.51 to 1.85 GiB of the same report.
const CAPTURE_GIB: f64 = 0.38;
const CAPTURE_GIB_PER_LAYER: f64 = 0.0165;
/// The older engine captures decode steps alone: 0.15 (fit2-006, 64 layers), 0.27 (fit2-151, 40), 0.42 (fit2-004, 28),
/// 0.48 (fit2-003, 80), 0.76 (fit2-007, 28).
const OLD_CAPTURE_GIB: f64 = 0.3;
const OLD_CAPTURE_GIB_PER_LAYER: f64 = 0.003;
/// Experts, captured piece by piece for each of 67 batch sizes, in the releases before `PIECES_UNTIL`: 3.45 GiB for 94
/// layers (fit-08), and before `SMALLER_SINCE` more than the 2.2 that four A10 had left for 48 (vllm#17327).
const PIECES: usize = 67;
const PIECE_GIB: f64 = 0.56 / 1024.0;
const OLD_PIECE_GIB: f64 = 0.75 / 1024.0;
const SMALLER_SINCE: [u32; 3] = [0, 9, 0];
const PIECES_UNTIL: [u32; 3] = [0, 11, 0];

pub(super) fn item(release: &Release, stage: &Stage, in_budget: bool) -> Item {
    if stage.ask.eager {
        return Item::from_gib(0.0, "none: eager");
    }
    let layers = stage.layers.len();
    let linear = |fixed: f64, each: f64| fixed + each * layers as f64;
    if in_budget {
        let gib = linear(ESTIMATE_GIB, ESTIMATE_GIB_PER_LAYER);
        return Item::from_gib(
            gib,
            format!("reserved in the budget after a trial, for {layers} layers"),
        );
    }
    let experts = stage.ask.shape.experts().is_some();
    let gib = match release.v1 {
        true if experts && release.since < SMALLER_SINCE => {
            OLD_PIECE_GIB * (PIECES * layers) as f64
        }
        true if experts && release.since < PIECES_UNTIL => PIECE_GIB * (PIECES * layers) as f64,
        true => linear(CAPTURE_GIB, CAPTURE_GIB_PER_LAYER),
        false => linear(OLD_CAPTURE_GIB, OLD_CAPTURE_GIB_PER_LAYER),
    };
    Item::from_gib(gib, format!("on top of the budget, for {layers} layers"))
}
