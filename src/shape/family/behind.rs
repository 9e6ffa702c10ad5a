//! What stands behind the mixers of each layer: one MLP, or experts.

use super::blocks::blocks;
use super::sizes::{Sizes, pattern};
use crate::shape::Experts;
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;

/// What stands behind the mixers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    Nothing,
    Dense(usize),
    /// Experts, and features of those that every token takes.
    Experts(Experts, usize),
}

/// One for each layer.
pub(super) fn behind(keys: &Keys, sizes: &Sizes) -> Result<Vec<Behind>, ShapeError> {
    let experts = experts(keys, sizes)?;
    let dense = keys
        .count(&["intermediate_size_mlp"])?
        .filter(|_| experts.is_some());
    let dense = dense.unwrap_or(match experts.is_none() {
        // A dense Granite of the mixtures' kind has its width under another name.
        true => keys
            .count(&["shared_intermediate_size"])?
            .unwrap_or(sizes.width),
        false => sizes.width,
    });
    let first = keys
        .count(&[
            "first_k_dense_replace",
            "moe_layer_start_index",
            "num_dense_layers",
        ])?
        .unwrap_or(0);
    // A list of it names each layer.
    let frequency = keys
        .count(&["moe_layer_freq", "moe_layer_interval"])
        .unwrap_or(None);
    let step = keys.count(&["decoder_sparse_step", "interleave_moe_layer_step"])?;
    let (step, frequency) = (step.unwrap_or(1).max(1), frequency.unwrap_or(1).max(1));
    let period = keys.count(&["expert_layer_period"])?;
    let offset = keys.count(&["expert_layer_offset"])?.unwrap_or(0);
    let listed = keys.list("moe_layer_freq").unwrap_or(None);
    let kinds = keys.texts("mlp_layer_types")?;
    let enumerated: Option<Vec<usize>> = keys.text("moe_layers_enum").map(|text| {
        text.split(',')
            .filter_map(|n| n.trim().parse().ok())
            .collect()
    });
    let dense_only: Vec<u64> = match keys.list("mlp_only_layers")? {
        Some(list) => list.iter().filter_map(|layer| layer.as_u64()).collect(),
        None => Vec::new(),
    };
    let pattern = pattern(keys, sizes)?;
    let blocks = blocks(keys, sizes)?;
    // Gemma 4's layers that read what others keep have more room for features.
    let shared = keys.count(&["num_kv_shared_layers"])?.unwrap_or(0);
    let wide = keys.flag("use_double_wide_mlp", false);
    let dense = |layer: usize| match &blocks {
        Some(blocks) => blocks[layer].width,
        None if wide && layer + shared >= sizes.layers => 2 * dense,
        None => sizes.widths.get(layer).copied().unwrap_or(dense),
    };
    let is_sparse = |layer: usize| match (kinds.get(layer), listed, &enumerated) {
        (Some(kind), ..) => *kind == "sparse",
        (None, Some(list), _) => list.get(layer).and_then(|one| one.as_u64()) == Some(1),
        (None, None, Some(layers)) => layers.contains(&layer),
        (None, None, None) => match period {
            Some(period) => layer % period.max(1) == offset,
            None => {
                layer >= first
                    && layer.is_multiple_of(frequency)
                    && (layer + 1).is_multiple_of(step)
                    && !dense_only.contains(&(layer as u64))
            }
        },
    };
    let one = |layer: usize| match (pattern.map(|pattern| pattern[layer]), experts) {
        (Some(b'-'), _) => Behind::Dense(dense(layer)),
        (Some(b'E'), Some((experts, shared))) => Behind::Experts(experts, shared),
        (Some(_), _) => Behind::Nothing,
        (None, Some((experts, shared))) if is_sparse(layer) => Behind::Experts(experts, shared),
        (None, _) => Behind::Dense(dense(layer)),
    };
    Ok((0..sizes.layers).map(one).collect())
}

/// And the features of the experts that every token takes.
fn experts(keys: &Keys, sizes: &Sizes) -> Result<Option<(Experts, usize)>, ShapeError> {
    let names = [
        "num_local_experts",
        "num_experts",
        "n_routed_experts",
        "moe_num_experts",
    ];
    let Some(count) = keys.count(&names)?.filter(|&count| count > 0) else {
        return Ok(None);
    };
    let names = [
        "num_experts_per_tok",
        "num_experts_per_token",
        "moe_topk",
        "moe_top_k",
        "moe_k",
        "top_k_experts",
    ];
    let per_token = keys.of_each_layer(&names)?.unwrap_or(0);
    let width = keys
        .of_each_layer(&["moe_intermediate_size"])?
        .unwrap_or(sizes.width);
    if width == 0 || per_token == 0 || per_token > count {
        return Err(ShapeError::invalid(
            keys.file,
            "num_experts",
            count,
            format!("each token takes {per_token} of them, of {width} features"),
        ));
    }
    let stated = keys.count(&[
        "shared_expert_intermediate_size",
        "shared_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "share_expert_dim",
    ])?;
    let shared_count = keys.of_each_layer(&[
        "n_shared_experts",
        "num_shared_experts",
        "num_shared_expert",
        "moe_num_shared_experts",
    ])?;
    let shared = match (stated, shared_count, keys.text("model_type")) {
        (Some(width), _, _) => width,
        (None, Some(count), _) => count * width,
        (None, None, Some("llama4_text" | "llama4")) => width,
        // Each layer has its MLP beside the experts.
        (None, None, Some("gemma4_text" | "gemma4")) => sizes.width,
        (None, None, _) => 0,
    };
    let experts = Experts {
        count,
        per_token,
        width,
    };
    Ok(Some((experts, shared)))
}
