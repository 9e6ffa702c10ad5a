//! How each layer mixes tokens, by the keys of a configuration.

use super::kind::{Family, Windows};
use super::recurrent::{Recurrent, recurrent};
use super::sizes::{Sizes, pattern};
use crate::shape::Kv;
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;

const CHUNK: &str = "attention_chunk_size";
const WINDOW: &str = "sliding_window";
/// `max_window_layers` of Qwen configurations that do not state it.
const QWEN_MAX_WINDOW_LAYERS: usize = 28;

/// How a layer mixes tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mixers {
    /// `Kv::Nothing`: it has no attention.
    pub kv: Kv,
    pub recurrent: Option<Recurrent>,
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

/// What a layer with attention keeps of a token.
fn kv(
    keys: &Keys,
    family: &Family,
    sizes: &Sizes,
    types: &[&str],
    layer: usize,
) -> Result<Kv, ShapeError> {
    if let Some(rank) = keys.count(&["kv_lora_rank"])? {
        let rotary = keys.size(&["qk_rope_head_dim"])?;
        return Ok(Kv::Latent {
            width: rank + rotary,
            rotary,
        });
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
