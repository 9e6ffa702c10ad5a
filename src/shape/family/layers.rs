//! What each layer is made of, by the keys of a configuration.

use super::table::{Family, Windows};
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;
use crate::shape::{Experts, Kv, State};

const CHUNK: &str = "attention_chunk_size";
const WINDOW: &str = "sliding_window";
/// `max_window_layers` of Qwen configurations that do not state it.
const QWEN_MAX_WINDOW_LAYERS: usize = 28;
/// Layers above this are a damaged file.
const MOST_LAYERS: usize = 1 << 12;

/// Sizes that all layers share.
pub(super) struct Sizes {
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub layers: usize,
    /// Of a dense MLP.
    pub width: usize,
}

/// How a layer mixes tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mixers {
    /// `Kv::Nothing`: it has no attention.
    pub kv: Kv,
    pub recurrent: Option<Recurrent>,
}

/// The weights of a recurrence, and its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recurrent {
    /// Features of all input projections together.
    pub inputs: usize,
    /// Channels of the convolution, and its taps.
    pub conv: [usize; 2],
    /// Elements of the weights within, between convolution and output.
    pub within: usize,
    /// Features that the output projection takes.
    pub output: usize,
    pub state: State,
}

/// What stands behind the mixers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    Nothing,
    Dense(usize),
    /// Experts, and features of those that every token takes.
    Experts(Experts, usize),
}

impl Sizes {
    pub fn read(keys: &Keys) -> Result<Self, ShapeError> {
        let hidden = keys.size(&["hidden_size", "n_embd", "d_model", "dim"])?;
        let heads = keys.size(&["num_attention_heads", "n_head", "n_heads", "num_heads"])?;
        let layers = keys.size(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"])?;
        let kv_heads = match multi_query(keys) {
            Some(heads) => heads,
            None => keys
                .count(&[
                    "num_key_value_heads",
                    "num_kv_heads",
                    "multi_query_group_num",
                ])?
                .unwrap_or(heads),
        };
        let head_dim = keys.count(&["head_dim", "attention_head_dim", "kv_channels"])?;
        let names = ["intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner"];
        let width = match (keys.count(&names)?, keys.text("model_type")) {
            (Some(width), _) => width,
            (None, Some("falcon" | "RefinedWeb" | "RefinedWebModel")) => 4 * hidden,
            (None, _) => keys.count(&["moe_intermediate_size"])?.unwrap_or(0),
        };
        let sizes = Self {
            hidden,
            heads,
            kv_heads,
            head_dim: head_dim.unwrap_or(hidden / heads),
            layers,
            width,
        };
        let invalid = |key: &str, value: usize, rule: &str| {
            Err(ShapeError::invalid(keys.file, key, value, rule))
        };
        if layers > MOST_LAYERS {
            return invalid("num_hidden_layers", layers, "no model has so many layers");
        }
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let rule = format!("{heads} attention heads cannot share them evenly");
            return invalid("num_key_value_heads", kv_heads, &rule);
        }
        match sizes.head_dim {
            0 => invalid("head_dim", 0, "it must be a positive size"),
            _ => Ok(sizes),
        }
    }
}

/// KV heads of Falcon's first models, which say it with a switch.
fn multi_query(keys: &Keys) -> Option<usize> {
    let all_one = keys.flag("multi_query", false) && !keys.flag("new_decoder_architecture", false);
    all_one.then_some(1)
}

/// One for each layer.
pub(super) fn mixers(
    keys: &Keys,
    family: &Family,
    sizes: &Sizes,
) -> Result<Vec<Mixers>, ShapeError> {
    let types = keys.texts("layer_types")?;
    let pattern = pattern(keys, sizes)?;
    let listed = keys.list("attn_type_list")?;
    let period = keys.count(&["attn_layer_period"])?;
    let offset = keys.count(&["attn_layer_offset"])?.unwrap_or(0);
    let interval = match types.is_empty() {
        true => keys.count(&["full_attention_interval"])?,
        false => None,
    };
    let recurrent = recurrent(keys, sizes)?;
    let kept = |layer: usize| kv(keys, family, sizes, &types, layer);
    let is_recurrent = |layer: usize| match (&pattern, types.get(layer)) {
        (Some(pattern), _) => pattern[layer] == b'M',
        (None, Some(kind)) => ["linear_attention", "mamba", "recurrent"].contains(kind),
        (None, None) => {
            let full = listed.and_then(|list| list.get(layer)?.as_u64());
            match (full, period, interval) {
                (Some(full), _, _) => full == 0,
                (None, Some(period), _) => layer % period.max(1) != offset,
                (None, None, Some(interval)) => !(layer + 1).is_multiple_of(interval.max(1)),
                (None, None, None) => false,
            }
        }
    };
    let mixer = |layer: usize| {
        let own = is_recurrent(layer) || family.both;
        let attends = match &pattern {
            Some(pattern) => pattern[layer] == b'*',
            None => !is_recurrent(layer) || family.both,
        };
        if own && recurrent.is_none() {
            return Err(ShapeError::Missing {
                file: keys.file.to_owned(),
                key: "mamba_d_state".to_owned(),
            });
        }
        Ok(Mixers {
            kv: match attends {
                true => kept(layer)?,
                false => Kv::Nothing,
            },
            recurrent: recurrent.filter(|_| own),
        })
    };
    (0..sizes.layers).map(mixer).collect()
}

/// Of `hybrid_override_pattern`: a letter for each layer.
fn pattern<'a>(keys: &Keys<'a>, sizes: &Sizes) -> Result<Option<&'a [u8]>, ShapeError> {
    let key = "hybrid_override_pattern";
    let Some(text) = keys.text(key) else {
        return Ok(None);
    };
    match text.len() == sizes.layers && text.bytes().all(|kind| b"M*-E".contains(&kind)) {
        true => Ok(Some(text.as_bytes())),
        false => Err(ShapeError::invalid(
            keys.file,
            key,
            text,
            format!(
                "it must have one of M, *, - and E for each of {} layers",
                sizes.layers
            ),
        )),
    }
}

/// What a layer with attention keeps of a token.
fn kv(
    keys: &Keys,
    family: &Family,
    sizes: &Sizes,
    types: &[&str],
    layer: usize,
) -> Result<Kv, ShapeError> {
    if let Some(rank) = keys.count(&["kv_lora_rank"])? {
        let rope = keys.size(&["qk_rope_head_dim"])?;
        return Ok(Kv::Latent { width: rank + rope });
    }
    let (num_heads, head_dim) = (sizes.kv_heads, sizes.head_dim);
    let full = Kv::Full {
        num_heads,
        head_dim,
    };
    let limited = match (types.get(layer), family.windows) {
        (Some(kind), _) => ["sliding_attention", "chunked_attention"].contains(kind),
        (None, Windows::Never) => false,
        (None, Windows::All) => true,
        (None, Windows::Switched) => {
            let first = keys.count(&["max_window_layers"])?;
            layer >= first.unwrap_or(QWEN_MAX_WINDOW_LAYERS)
        }
        (None, Windows::AllBut(usual)) => {
            let names = ["sliding_window_pattern", "_sliding_window_pattern"];
            let period = keys.count(&names).unwrap_or(None).unwrap_or(usual).max(1);
            !(layer + 1).is_multiple_of(period)
        }
    };
    let switched_off =
        family.windows == Windows::Switched && !keys.flag("use_sliding_window", false);
    if !limited || switched_off {
        return Ok(full);
    }
    let chunk = keys.length(&[CHUNK])?;
    let window = keys.length(&[WINDOW])?;
    Ok(match (chunk, window) {
        (Some(chunk), _) => Kv::Chunked {
            num_heads,
            head_dim,
            chunk,
        },
        (None, Some(window)) => Kv::Window {
            num_heads,
            head_dim,
            window,
        },
        (None, None) => full,
    })
}

/// The one kind of recurrence that the configuration has sizes for.
fn recurrent(keys: &Keys, sizes: &Sizes) -> Result<Option<Recurrent>, ShapeError> {
    let in_f32 = ["mamba_ssm_dtype", "mamba_ssm_cache_dtype"]
        .iter()
        .any(|key| keys.text(key) == Some("float32"));
    if keys.value("attn_type_list").is_some() {
        return Ok(Some(lightning(sizes)));
    }
    if keys.count(&["linear_num_value_heads"])?.is_some() {
        return Ok(Some(gated_delta(keys, in_f32)?));
    }
    let heads = keys.count(&["mamba_n_heads", "mamba_num_heads"])?;
    let Some(state) = keys.count(&["mamba_d_state", "ssm_state_size"])? else {
        return Ok(None);
    };
    let taps = keys
        .count(&["mamba_d_conv", "conv_kernel"])?
        .unwrap_or(4)
        .max(1);
    let expanded = keys.count(&["mamba_expand", "expand"])?.unwrap_or(2) * sizes.hidden;
    let Some(heads) = heads else {
        // Mamba, whose channels are recurrences of their own.
        let usual = sizes.hidden.div_ceil(16);
        let rank = keys
            .count(&["mamba_dt_rank"])
            .unwrap_or(None)
            .unwrap_or(usual);
        return Ok(Some(Recurrent {
            inputs: 2 * expanded,
            conv: [expanded, taps],
            within: expanded * (rank + 2 * state) + rank * expanded + expanded * (state + 2),
            output: expanded,
            state: State {
                conv: expanded * (taps - 1),
                temporal: expanded * state,
                in_f32,
            },
        }));
    };
    let given = keys
        .count(&["mamba_d_head", "mamba_head_dim"])
        .unwrap_or(None);
    let inner = match (keys.count(&["mamba_d_ssm"])?, given) {
        (Some(inner), _) => inner,
        (None, Some(head_dim)) => heads * head_dim,
        (None, None) => expanded,
    };
    let groups = keys
        .count(&["mamba_n_groups", "n_groups", "mamba_num_groups"])?
        .unwrap_or(1);
    let channels = inner + 2 * groups * state;
    Ok(Some(Recurrent {
        inputs: inner + channels + heads,
        conv: [channels, taps],
        within: inner + 3 * heads,
        output: inner,
        state: State {
            conv: channels * (taps - 1),
            temporal: inner * state,
            in_f32,
        },
    }))
}

/// Gated delta rule (Qwen3-Next).
fn gated_delta(keys: &Keys, in_f32: bool) -> Result<Recurrent, ShapeError> {
    let key_heads = keys.size(&["linear_num_key_heads"])?;
    let value_heads = keys.size(&["linear_num_value_heads"])?;
    let key_dim = keys.size(&["linear_key_head_dim"])?;
    let value_dim = keys.size(&["linear_value_head_dim"])?;
    let taps = keys.size(&["linear_conv_kernel_dim"])?;
    let (all_keys, values) = (key_heads * key_dim, value_heads * value_dim);
    let channels = 2 * all_keys + values;
    Ok(Recurrent {
        inputs: channels + values + 2 * value_heads,
        conv: [channels, taps],
        within: 2 * value_heads + value_dim,
        output: values,
        state: State {
            conv: channels * (taps - 1),
            temporal: value_heads * key_dim * value_dim,
            in_f32,
        },
    })
}

/// Lightning attention (MiniMax-01): as many heads as attention has, and a gate.
fn lightning(sizes: &Sizes) -> Recurrent {
    let inner = sizes.heads * sizes.head_dim;
    Recurrent {
        inputs: 4 * inner,
        conv: [0, 0],
        within: inner,
        output: inner,
        state: State {
            conv: 0,
            temporal: inner * sizes.head_dim,
            in_f32: true,
        },
    }
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
        .count(&["first_k_dense_replace", "moe_layer_start_index"])?
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
    let dense_only: Vec<u64> = match keys.list("mlp_only_layers")? {
        Some(list) => list.iter().filter_map(|layer| layer.as_u64()).collect(),
        None => Vec::new(),
    };
    let pattern = pattern(keys, sizes)?;
    let is_sparse = |layer: usize| match (kinds.get(layer), listed) {
        (Some(kind), _) => *kind == "sparse",
        (None, Some(list)) => list.get(layer).and_then(|one| one.as_u64()) == Some(1),
        (None, None) => match period {
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
        (Some(b'-'), _) => Behind::Dense(dense),
        (Some(b'E'), Some((experts, shared))) => Behind::Experts(experts, shared),
        (Some(_), _) => Behind::Nothing,
        (None, Some((experts, shared))) if is_sparse(layer) => Behind::Experts(experts, shared),
        (None, _) => Behind::Dense(dense),
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
        "moe_k",
    ];
    let per_token = keys.size(&names)?;
    let width = keys
        .count(&["moe_intermediate_size"])?
        .unwrap_or(sizes.width);
    if width == 0 || per_token > count {
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
    ])?;
    let shared_count = keys.count(&[
        "n_shared_experts",
        "num_shared_experts",
        "moe_num_shared_experts",
    ])?;
    let shared = match (stated, shared_count, keys.text("model_type")) {
        (Some(width), _, _) => width,
        (None, Some(count), _) => count * width,
        (None, None, Some("llama4_text" | "llama4")) => width,
        (None, None, _) => 0,
    };
    let experts = Experts {
        count,
        per_token,
        width,
    };
    Ok(Some((experts, shared)))
}
