//! Which layers keep latents of several tokens in one (DeepSeek-V4).

use super::sizes::Sizes;
use crate::shape::Compressed;
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;

const RATIOS: &str = "compress_ratios";
/// Compressed latents of so few tokens are picked by an indexer, and made of twice as many.
pub(super) const PICKED: usize = 4;

/// What a layer keeps; `None`: the model has no such layers.
pub(super) fn compressed(
    keys: &Keys,
    sizes: &Sizes,
    layer: usize,
) -> Result<Option<Compressed>, ShapeError> {
    let Some(ratios) = keys.list(RATIOS)? else {
        return Ok(None);
    };
    let ratio = ratios.get(layer).and_then(|ratio| ratio.as_u64());
    let Some(ratio) = ratio.filter(|&ratio| ratio <= 1 << 20) else {
        let rule = format!("it must have a number for each of {} layers", sizes.layers);
        let found = format!("a list of {}", ratios.len());
        return Err(ShapeError::invalid(keys.file, RATIOS, found, rule));
    };
    let rotary = keys.size(&["qk_rope_head_dim"])?;
    if rotary > sizes.head_dim {
        let rule = format!("it must be at most the head dimension, {}", sizes.head_dim);
        return Err(ShapeError::invalid(
            keys.file,
            "qk_rope_head_dim",
            rotary,
            rule,
        ));
    }
    Ok(Some(Compressed {
        width: sizes.head_dim,
        rotary,
        window: keys.size(&["sliding_window"])?,
        // Of one token there is nothing to compress.
        ratio: if ratio > 1 { ratio as usize } else { 0 },
        index: match ratio as usize {
            PICKED => keys.size(&["index_head_dim"])?,
            _ => 0,
        },
    }))
}
