//! CUDA graphs: what vLLM reserves for them inside of its budget, or what capturing takes on top of it.

use super::super::ask::GIB;
use super::super::releases::Release;
use super::super::terms::{Item, Stage};
use super::activations::experts_in_mxfp4;
use crate::hardware::Link;

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
/// The newer engine captures layers piece by piece, for each of 67 batch sizes: before `SMALLER_SINCE` of any model, 1.77
/// GiB for 28 layers (fit2-005) and more than the 2.2 that four A10 had left for 48 (vllm#17327); then, in the releases
/// before `PIECES_UNTIL`, of experts alone, 3.45 GiB for 94 (fit-08).
const PIECES: usize = 67;
const PIECE_GIB: f64 = 0.56 / 1024.0;
const OLD_PIECE_GIB: f64 = 0.97 / 1024.0;
const SMALLER_SINCE: [u32; 3] = [0, 9, 0];
const PIECES_UNTIL: [u32; 3] = [0, 11, 0];
/// Over PCIe ranks reduce through NCCL, which before `SMALLER_SINCE` (NCCL 2.21 and drivers of its time, vllm#5517) keeps
/// memory for every reduction that is captured, the more the more ranks: 2.41 GiB for 60 layers and four ranks, where
/// graphs alone are 0.48 (fit2-169; a little less, for it ran with 2.37 beside its budget).
const REDUCTION_GIB_PER_RANK: f64 = 0.113 / 1024.0;
/// Of a layer: behind attention and behind the MLP.
const REDUCTIONS: usize = 2;
/// The older engine captures 1, 2, 4 and from there on every eighth batch size.
const OLD_LARGEST: usize = 256;
const OLD_STEP: usize = 8;
const OLD_SMALLEST: usize = 3;
/// Experts in MXFP4: 1.55 (fit2-121) and 1.84 (fit2-122) for 24 layers.
const MXFP4_CAPTURE_GIB_PER_LAYER: f64 = 0.055;
/// On Hopper they run in Triton's kernels, for which vLLM takes memory that it has not seen in its trial run by the time
/// it tries the sampler behind the graphs: more than the 2.0 that fit2-122 had left, less than the 4.7 of fit2-121.
const TRITON_EXPERTS_GIB: f64 = 2.5;
const HOPPER: u32 = 9;

pub(super) fn item(release: &Release, stage: &Stage, in_budget: bool) -> Item {
    if stage.ask.eager {
        return Item::from_gib(0.0, "none: eager");
    }
    if in_budget {
        return Item::from_gib(
            estimate(stage),
            format!(
                "reserved in the budget after a trial, for {} layers",
                stage.layers.len()
            ),
        );
    }
    let (gib, how) = captured(release, stage);
    Item::from_gib(gib, how)
}

fn estimate(stage: &Stage) -> f64 {
    ESTIMATE_GIB + ESTIMATE_GIB_PER_LAYER * stage.layers.len() as f64
}

/// Bytes that capturing takes beyond the estimate that the budget has room for: its trial runs with a small cache and
/// sees less (vllm#57475).
pub(super) fn beyond_estimate(release: &Release, stage: &Stage) -> u64 {
    let over = captured(release, stage).0 - estimate(stage);
    match stage.ask.eager {
        true => 0,
        false => (over.max(0.0) * GIB) as u64,
    }
}

/// GiB that capturing takes, and words for it.
fn captured(release: &Release, stage: &Stage) -> (f64, String) {
    let layers = stage.layers.len();
    let linear = |fixed: f64, each: f64| fixed + each * layers as f64;
    let experts = stage.ask.shape.experts().is_some();
    let old = release.since < SMALLER_SINCE;
    let mut gib = match release.v1 {
        true if old => OLD_PIECE_GIB * (PIECES * layers) as f64,
        true if experts && release.since < PIECES_UNTIL => PIECE_GIB * (PIECES * layers) as f64,
        true if experts_in_mxfp4(stage) => linear(CAPTURE_GIB, MXFP4_CAPTURE_GIB_PER_LAYER),
        true => linear(CAPTURE_GIB, CAPTURE_GIB_PER_LAYER),
        false => linear(OLD_CAPTURE_GIB, OLD_CAPTURE_GIB_PER_LAYER),
    };
    let mut how = format!("on top of the budget, {gib:.2} for {layers} layers");
    if old && over_pcie(stage) {
        let reduced = reductions(release, stage);
        gib += reduced;
        how += &format!(" + {reduced:.2} that NCCL keeps for what it reduces in them");
    }
    if experts_in_triton(stage) {
        gib += TRITON_EXPERTS_GIB;
        how += &format!(" + {TRITON_EXPERTS_GIB:.2} behind experts in Triton's kernels");
    }
    (gib, how)
}

fn over_pcie(stage: &Stage) -> bool {
    let link = stage.ask.card.link;
    stage.ask.split.tp > 1 && matches!(link, Link::PcieHost | Link::PcieP2p)
}

/// GiB that NCCL keeps for the reductions in all graphs.
fn reductions(release: &Release, stage: &Stage) -> f64 {
    let graphs = match release.v1 {
        true => PIECES,
        false => OLD_SMALLEST + stage.settings.max_num_seqs.min(OLD_LARGEST) / OLD_STEP,
    };
    let captured = REDUCTIONS * stage.layers.len() * graphs;
    REDUCTION_GIB_PER_RANK * (captured * stage.ask.split.tp) as f64
}

fn experts_in_triton(stage: &Stage) -> bool {
    stage.ask.card.capability.major == HOPPER && experts_in_mxfp4(stage)
}
