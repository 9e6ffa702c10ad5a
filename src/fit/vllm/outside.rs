//! Memory outside of PyTorch, by release, ranks and what links them.

use super::super::ask::Ask;
use super::super::releases::Release;
use super::super::terms::{Item, Stage};

/// A stage that has no peers of its own layers: fit2-078, fit2-079.
const STAGE_GIB: f64 = 0.07;
/// NCCL over PCIe: 0.25 (fit-36) and 0.11 (fit2-010), and what one rank takes off.
const NCCL_GIB: f64 = 0.1;
/// NCCL over NVLink from Hopper on. From four ranks on its switches reduce by themselves, through buffers of their
/// own: what is missing in fit-07 and fit2-027 (2.0 to 3.0), four ranks each. With two: 0.74 in all on H20, which is
/// what one rank takes.
const SWITCHED_NCCL_GIB: f64 = 2.0;
const SWITCHED_FROM: usize = 4;
/// Registered buffers, where NCCL itself is not counted: 0.55 for two ranks on H100 in 0.11, 0.13 for one.
const REGISTERED_GIB: f64 = 0.4;
/// Workspace of FlashInfer's all-reduce, and bytes of it for each rank and hidden feature. Fitted to fit2-076,
/// fit2-077, fit2-087 and fit2-088 (2.07, 2.13, 2.10, 2.21 in all), one report on H100.
const WORKSPACE_GIB: f64 = 1.78;
const WORKSPACE_GIB_PER_RANK_AND_FEATURE: f64 = 4.9e-6;
pub(super) fn item(release: &Release, stage: &Stage) -> Item {
    let (ask, outside) = (stage.ask, release.outside);
    let tp = ask.split.tp;
    if tp == 1 && ask.pp > 1 {
        return Item::from_gib(
            STAGE_GIB,
            "cuBLAS and the link between stages, as logs show",
        );
    }
    let (peers, how) = match tp {
        1 => (0.0, ""),
        _ => peers(release, ask),
    };
    let context = match outside.own_gib > CONTEXT_FROM_GIB {
        true => ", and the CUDA context, which this release counts",
        false => "",
    };
    Item::from_gib(
        outside.own_gib + peers,
        format!("cuBLAS and kernels{how}{context}, as logs of the release show"),
    )
}

/// The CUDA context, which is there before vLLM looks how much is free: 0.5 (fit2-087) on the largest cards, less on others.
pub(super) const CONTEXT_GIB: f64 = 0.3;
/// And what NCCL has by then: 1.53 in all (fit2-087).
const NCCL_BEFORE_GIB: f64 = 1.2;

/// GiB of the card that are taken when vLLM looks whether its share is free; `None`: the release does not look.
pub(in super::super) fn before_start(release: &Release, ask: &Ask) -> Option<f64> {
    let nccl = match (ask.split.tp, release.outside.counts_nccl) {
        (2.., false) if ask.card.is_switched() => NCCL_BEFORE_GIB,
        _ => 0.0,
    };
    (release.since >= LOOKS_SINCE).then_some(CONTEXT_GIB + nccl)
}

/// First whose worker refuses a share that is not free (`request_memory`).
const LOOKS_SINCE: [u32; 3] = [0, 9, 1];

/// No library alone takes so much.
const CONTEXT_FROM_GIB: f64 = 0.35;

/// GiB of what ranks of a layer exchange through, and words for it.
fn peers(release: &Release, ask: &Ask) -> (f64, &'static str) {
    let tp = ask.split.tp;
    match (ask.card.is_switched(), release.outside.counts_nccl) {
        (true, true) if tp >= SWITCHED_FROM => (SWITCHED_NCCL_GIB, ", NCCL over NVLink's switches"),
        (true, false) if release.outside.all_reduce_workspace => {
            let exchanged = (tp * ask.shape.hidden_size) as f64;
            (
                WORKSPACE_GIB + WORKSPACE_GIB_PER_RANK_AND_FEATURE * exchanged,
                ", the workspace of FlashInfer's all-reduce over NVLink",
            )
        }
        (true, false) => (REGISTERED_GIB, ", buffers registered for NVLink"),
        (_, true) => (NCCL_GIB, ", NCCL"),
        (false, false) => (0.0, ""),
    }
}
