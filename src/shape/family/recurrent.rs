//! Layers that carry a state from token to token.

use super::sizes::Sizes;
use crate::shape::State;
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;

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

/// The one kind of recurrence that the configuration has sizes for.
pub(super) fn recurrent(keys: &Keys, sizes: &Sizes) -> Result<Option<Recurrent>, ShapeError> {
    let in_f32 = ["mamba_ssm_dtype", "mamba_ssm_cache_dtype"]
        .iter()
        .any(|key| keys.text(key) == Some("float32"));
    let minimax = keys.text("model_type") == Some("minimax");
    if minimax || keys.value("attn_type_list").is_some() {
        return Ok(Some(lightning(sizes)));
    }
    if keys.count(&["linear_num_value_heads"])?.is_some() {
        return Ok(Some(gated_delta(keys, in_f32)?));
    }
    if let Some(linear) = keys.object("linear_attn_config") {
        return Ok(Some(kimi_delta(&linear)?));
    }
    if let Some(taps) = keys.count(&["conv_L_cache"])? {
        return Ok(Some(short_convolution(sizes.hidden, taps.max(1))));
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

/// Kimi's delta attention: a convolution each for queries, keys and values, and two gates that are products of two
/// matrices with the features of a head between them; that of the output may be whole.
fn kimi_delta(keys: &Keys) -> Result<Recurrent, ShapeError> {
    let heads = keys.size(&["num_heads"])?;
    let head_dim = keys.size(&["head_dim"])?;
    let taps = keys.size(&["short_conv_kernel_size"])?;
    let inner = heads * head_dim;
    // That of the output may be whole; what is forgotten goes by a product.
    let (gates, unpacked) = match keys.flag("use_full_rank_gate", false) {
        true => (inner + head_dim, head_dim * inner),
        false => (2 * head_dim, 2 * head_dim * inner),
    };
    Ok(Recurrent {
        inputs: 3 * inner + gates + heads,
        conv: [3 * inner, taps],
        within: unpacked + heads + inner + head_dim,
        output: inner,
        state: State {
            conv: 3 * inner * (taps - 1),
            temporal: inner * head_dim,
            in_f32: true,
        },
    })
}

/// A gated convolution over the last few tokens (LFM2).
fn short_convolution(hidden: usize, taps: usize) -> Recurrent {
    Recurrent {
        inputs: 3 * hidden,
        conv: [hidden, taps],
        within: 0,
        output: hidden,
        state: State {
            conv: hidden * (taps - 1),
            temporal: 0,
            in_f32: false,
        },
    }
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
