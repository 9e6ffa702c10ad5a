//! What our own engine takes: an arena whose size is known before it is allocated.

use super::ask::{Ask, GIB};
use super::scratch;
use super::terms::{Item, Settings, Stage, Terms};
use crate::model::{StepLimits, workspace_bytes};

const MIB: f64 = (1u64 << 20) as f64;

/// Defaults of the command line.
const MAX_NUM_SEQS: usize = 256;
const MAX_NUM_BATCHED_TOKENS: usize = 2048;
const UTILIZATION: f64 = 0.9;

/// Outside of the arena: the CUDA context and cuBLAS, with two ranks and more NCCL's buffers. Allowances
/// after vLLM's logs (0.08 to 0.39 GiB alone, up to 0.74 with peers), until measured on a machine.
const ALONE_GIB: f64 = 0.3;
const WITH_PEERS_GIB: f64 = 0.75;
/// CUDA graphs: an allowance after vLLM's logs (0.11 to 0.96 GiB), until measured: one for the pool they
/// share, and one for every eight batch sizes.
const GRAPH_POOL_GIB: f64 = 0.3;
const GRAPHS_GIB: f64 = 0.1 / 8.0;

pub(super) fn settings(ask: &Ask) -> Settings {
    let limits = ask.limits;
    Settings {
        max_model_len: limits.max_model_len.unwrap_or(ask.shape.positions),
        utilization: limits.utilization.unwrap_or(UTILIZATION),
        max_num_seqs: limits.max_num_seqs.unwrap_or(MAX_NUM_SEQS),
        max_num_batched_tokens: limits
            .max_num_batched_tokens
            .unwrap_or(MAX_NUM_BATCHED_TOKENS),
    }
}

pub(super) fn terms(stage: &Stage) -> Terms {
    let ask = stage.ask;
    let overhead = match ask.ranks() {
        1 => Item::from_gib(ALONE_GIB, "CUDA context and cuBLAS: an allowance"),
        _ => Item::from_gib(
            WITH_PEERS_GIB,
            "CUDA context, cuBLAS and NCCL: an allowance",
        ),
    };
    Terms {
        weights: Item {
            bytes: stage.weights,
            how: format!("{:.2} of the plan", stage.weights as f64 / GIB),
        },
        activations: activations(stage),
        overhead,
        graphs: graphs(stage),
        while_loading: 0,
        graphs_in_budget: true,
        beyond_graphs: 0,
        before_start: 0,
    }
}

fn activations(stage: &Stage) -> Item {
    let limits = StepLimits {
        rows: stage.settings.max_num_batched_tokens,
        logit_rows: stage
            .settings
            .max_num_seqs
            .min(stage.settings.max_num_batched_tokens),
    };
    let element = stage.ask.dtype().bytes();
    let arena = workspace_bytes(stage.plan, 0, limits, element);
    let (kernels, exchange) = (scratch::kernels(stage), scratch::exchange(stage));
    let mib = |bytes: u64| bytes as f64 / MIB;
    let beside = match exchange {
        0 => format!("{:.0} MiB of kernels' scratch", mib(kernels)),
        _ => format!(
            "{:.0} MiB of kernels' scratch and {:.0} for exchange between ranks",
            mib(kernels),
            mib(exchange)
        ),
    };
    Item {
        bytes: arena.saturating_add(kernels).saturating_add(exchange),
        how: format!(
            "the arena of a step of {} tokens at {element} B a value, {} rows of logits in f32, {beside}",
            limits.rows, limits.logit_rows
        ),
    }
}

/// One graph for each power of two up to the sequences that may run.
fn graphs(stage: &Stage) -> Item {
    if stage.ask.eager {
        return Item::from_gib(0.0, "none: eager");
    }
    let sizes = stage.settings.max_num_seqs.next_power_of_two().ilog2() + 1;
    Item::from_gib(
        GRAPH_POOL_GIB + GRAPHS_GIB * f64::from(sizes),
        format!("a pool and {sizes} batch sizes: an allowance"),
    )
}
