//! Sizes that all layers share.

use serde_json::Value;

use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;

/// Of one MLP: larger ones are a damaged file.
const MOST_WIDTH: u64 = 1 << 20;
/// Layers above this are a damaged file.
const MOST_LAYERS: usize = 1 << 12;

/// Sizes that all layers share.
pub(super) struct Sizes {
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub layers: usize,
    /// Of a dense MLP, the widest where they differ.
    pub width: usize,
    /// Of the dense MLP of each layer, where a list has them; else empty.
    pub widths: Vec<usize>,
}

const WIDTH: &str = "intermediate_size";
/// Multiples that such widths are rounded up to.
const WIDTH_STEP: usize = 256;

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
                    "num_attention_groups",
                ])?
                .unwrap_or(heads),
        };
        let head_dim = keys.count(&["head_dim", "attention_head_dim", "kv_channels"])?;
        let names = [
            WIDTH,
            "ffn_hidden_size",
            "ffn_dim",
            "n_inner",
            "block_ff_dim",
        ];
        let widths = widths(keys, layers)?;
        let stated = match widths.iter().max() {
            Some(&widest) => Some(widest),
            None => keys.count(&names)?,
        };
        let width = match (stated, keys.text("model_type")) {
            (Some(width), Some("lfm2")) if keys.flag("block_auto_adjust_ff_dim", true) => {
                of_three(2.0 * width as f64)
            }
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
            widths,
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

/// Width of an MLP of three matrices that are as large as two of another would be, whose widths come to `both`.
pub(super) fn of_three(both: f64) -> usize {
    ((both / 3.0) as usize).next_multiple_of(WIDTH_STEP)
}

/// Gemma 3n's models may have as many as they have layers.
fn widths(keys: &Keys, layers: usize) -> Result<Vec<usize>, ShapeError> {
    let Some(list) = keys.value(WIDTH).and_then(Value::as_array) else {
        return Ok(Vec::new());
    };
    let widths = list.iter().map(|width| {
        let width = width.as_u64().filter(|&width| width <= MOST_WIDTH);
        width.map(|width| width as usize)
    });
    let widths: Option<Vec<usize>> = widths.collect();
    match widths.filter(|widths| widths.len() == layers) {
        Some(widths) => Ok(widths),
        None => Err(ShapeError::invalid(
            keys.file,
            WIDTH,
            format!("a list of {}", list.len()),
            format!("it must have a size for each of {layers} layers"),
        )),
    }
}

/// KV heads of Falcon's first models, which say it with a switch.
fn multi_query(keys: &Keys) -> Option<usize> {
    let all_one = keys.flag("multi_query", false) && !keys.flag("new_decoder_architecture", false);
    all_one.then_some(1)
}

/// Of `hybrid_override_pattern`: a letter for each layer.
pub(super) fn pattern<'a>(keys: &Keys<'a>, sizes: &Sizes) -> Result<Option<&'a [u8]>, ShapeError> {
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
