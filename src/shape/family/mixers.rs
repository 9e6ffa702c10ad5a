//! How each layer mixes tokens, by the keys of a configuration.

use serde_json::Value;

use super::blocks::blocks;
use super::compressed::compressed;
use super::heads::{of_all, of_some};
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

/// Kinds of layers that carry a state, as `layer_types` has them.
const RECURRENT: [&str; 5] = [
    "linear_attention",
    "mamba",
    "recurrent",
    "conv",
    "short_conv",
];

/// How a layer mixes tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mixers {
    /// Of its attention; `Kv::Nothing`: it has none.
    pub kv: Kv,
    /// Heads of the queries.
    pub queries: usize,
    /// Its attention reads what an earlier layer keeps.
    pub shares: bool,
    pub recurrent: Option<Recurrent>,
}

impl Mixers {
    /// What it keeps itself of a token.
    pub fn kept(self) -> Kv {
        match self.shares {
            true => Kv::Nothing,
            false => self.kv,
        }
    }
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
    let blocks = blocks(keys, sizes)?;
    let named = with_attention(keys)?;
    let shared = keys.count(&["num_kv_shared_layers"])?.unwrap_or(0);
    let first_shared = match shared < sizes.layers {
        true => sizes.layers - shared,
        // Somebody must keep something.
        false => sizes.layers,
    };
    let of_block = |layer: usize| blocks.as_ref().map(|blocks| blocks[layer].kv_heads);
    let attention = |layer: usize| {
        let own = of_block(layer).flatten();
        let heads = own.unwrap_or(sizes.kv_heads);
        kv(keys, family, sizes, (&types, heads), layer)
    };
    let is_recurrent = |layer: usize| match (&pattern, types.get(layer)) {
        (Some(pattern), _) => pattern[layer] == b'M',
        (None, Some(kind)) => RECURRENT.contains(kind),
        (None, None) => {
            let full = listed.and_then(|list| list.get(layer)?.as_u64());
            match (full, &named, period, interval) {
                (Some(full), ..) => full == 0,
                (None, Some(named), ..) => !named.contains(&(layer as u64)),
                (None, None, Some(period), _) => layer % period.max(1) != offset,
                (None, None, None, Some(interval)) => !(layer + 1).is_multiple_of(interval.max(1)),
                (None, None, None, None) => false,
            }
        }
    };
    let mixer = |layer: usize| {
        let own = is_recurrent(layer) || family.both;
        let attends = match (&pattern, of_block(layer)) {
            (Some(pattern), _) => pattern[layer] == b'*',
            (None, Some(heads)) => heads.is_some(),
            (None, None) => !is_recurrent(layer) || family.both,
        };
        if own && recurrent.is_none() {
            return Err(ShapeError::Missing {
                file: keys.file.to_owned(),
                key: "mamba_d_state".to_owned(),
            });
        }
        let (kv, queries) = match attends {
            true => attention(layer)?,
            false => (Kv::Nothing, sizes.heads),
        };
        Ok(Mixers {
            kv,
            queries,
            shares: layer >= first_shared,
            recurrent: recurrent.filter(|_| own),
        })
    };
    (0..sizes.layers).map(mixer).collect()
}

/// Layers with attention, where a configuration names them; Kimi's counts them from 1.
fn with_attention(keys: &Keys) -> Result<Option<Vec<u64>>, ShapeError> {
    let named = |keys: &Keys, key: &str, first: u64| {
        let list = keys.list(key)?;
        let layers = |list: &[Value]| {
            let layers = list.iter().filter_map(Value::as_u64);
            layers.map(|layer| layer.saturating_sub(first)).collect()
        };
        Ok(list.map(layers))
    };
    match keys.object("linear_attn_config") {
        Some(linear) => named(&linear, "full_attn_layers", 1),
        None => match named(keys, "attn_layer_indices", 0)? {
            None => named(keys, "full_attn_idxs", 0),
            found => Ok(found),
        },
    }
}

/// What a layer with attention keeps of a token, where it has so many KV heads unless it is of another kind; and its query
/// heads.
fn kv(
    keys: &Keys,
    family: &Family,
    sizes: &Sizes,
    (types, num_heads): (&[&str], usize),
    layer: usize,
) -> Result<(Kv, usize), ShapeError> {
    if let Some(kept) = compressed(keys, sizes, layer)? {
        return Ok((Kv::Compressed(kept), sizes.heads));
    }
    if let Some(rank) = keys.count(&["kv_lora_rank"])? {
        let rotary = keys.size(&["qk_rope_head_dim"])?;
        // Later models of the kind take what an earlier layer picked.
        let picks = keys.texts("indexer_types")?.get(layer) != Some(&"shared");
        let latent = Kv::Latent {
            width: rank + rotary,
            rotary,
            index: keys
                .count(&["index_head_dim"])?
                .filter(|_| picks)
                .unwrap_or(0),
        };
        return Ok((latent, sizes.heads));
    }
    let patterned = keys.list("hybrid_layer_pattern")?;
    let limited = match (types.get(layer), patterned, family.windows) {
        (Some(kind), ..) => ["sliding_attention", "chunked_attention"].contains(kind),
        (None, Some(pattern), _) => pattern.get(layer).and_then(Value::as_u64) == Some(1),
        (None, None, Windows::Never) => false,
        (None, None, Windows::All) => true,
        (None, None, Windows::Switched) => {
            let first = keys.count(&["max_window_layers"])?;
            layer >= first.unwrap_or(QWEN_MAX_WINDOW_LAYERS)
        }
        (None, None, Windows::AllBut(usual)) => {
            let names = ["sliding_window_pattern", "_sliding_window_pattern"];
            let period = keys.count(&names).unwrap_or(None).unwrap_or(usual).max(1);
            !(layer + 1).is_multiple_of(period)
        }
    };
    let switched_off =
        family.windows == Windows::Switched && !keys.flag("use_sliding_window", false);
    // MiMo-V2's says the same as its window.
    let chunk = keys.length(&[CHUNK])?.filter(|_| patterned.is_none());
    let window = keys.length(&[WINDOW])?;
    let limit = chunk.or(window).filter(|_| limited && !switched_off);
    let Some(limit) = limit else {
        let all = of_all(keys, sizes, num_heads)?;
        return Ok((Kv::Full(all.kept), all.queries));
    };
    let some = of_some(keys, sizes, num_heads)?;
    let heads = some.kept;
    let kv = match chunk {
        Some(chunk) => Kv::Chunked { heads, chunk },
        None => Kv::Window {
            heads,
            window: limit,
        },
    };
    Ok((kv, some.queries))
}
