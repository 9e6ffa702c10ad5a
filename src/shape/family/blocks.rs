//! Layers that a search chose one by one (DeciLM, Nemotron-NAS): some lack attention, some an MLP, and none is like the
//! others.

use super::sizes::{Sizes, of_three};
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;

const BLOCKS: &str = "block_configs";
const KV_HEADS: &str = "num_key_value_heads_per_layer";
/// Of the hidden size, as an MLP's width may be: far beyond any.
const MOST_WIDENING: f64 = 1024.0;

/// One of such layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// `None`: it has no attention.
    pub kv_heads: Option<usize>,
    /// Features inside its MLP; 0: it has none.
    pub width: usize,
}

/// One for each layer; `None`: they are as the other keys say.
pub(super) fn blocks(keys: &Keys, sizes: &Sizes) -> Result<Option<Vec<Block>>, ShapeError> {
    let invalid =
        |key: &str, value: &str, rule: String| ShapeError::invalid(keys.file, key, value, rule);
    let as_many = |key: &str, found: usize| match found == sizes.layers {
        true => Ok(()),
        false => Err(invalid(
            key,
            &format!("a list of {found}"),
            format!("the model has {} layers", sizes.layers),
        )),
    };
    if let Some(list) = keys.list(KV_HEADS)? {
        as_many(KV_HEADS, list.len())?;
        let heads = list
            .iter()
            .map(|heads| heads.as_u64().unwrap_or(0) as usize);
        let heads: Vec<usize> = heads.collect();
        if let Some(odd) = heads
            .iter()
            .find(|&&heads| heads > 0 && !shares(sizes, heads))
        {
            let rule = format!("{} attention heads cannot share them evenly", sizes.heads);
            return Err(invalid(KV_HEADS, &odd.to_string(), rule));
        }
        let block = |heads: usize| Block {
            kv_heads: Some(heads).filter(|&heads| heads > 0),
            width: sizes.width,
        };
        return Ok(Some(heads.into_iter().map(block).collect()));
    }
    let Some(list) = keys.list(BLOCKS)? else {
        return Ok(None);
    };
    as_many(BLOCKS, list.len())?;
    let mut blocks = Vec::with_capacity(list.len());
    for block in list {
        let part = |name: &str| {
            let map = block.get(name)?.as_object()?;
            Some(Keys::new(map, keys.file))
        };
        let (Some(attention), Some(ffn)) = (part("attention"), part("ffn")) else {
            let rule = "each must have attention and ffn".to_owned();
            return Err(invalid(BLOCKS, &block.to_string(), rule));
        };
        if [attention, ffn]
            .iter()
            .any(|part| part.flag("replace_with_linear", false))
        {
            let rule = "a layer that is one matrix is not known".to_owned();
            return Err(invalid(BLOCKS, &block.to_string(), rule));
        }
        let kv_heads = match attention.flag("no_op", false) {
            true => None,
            false => {
                let group = attention.size(&["n_heads_in_group"])?;
                let heads = sizes.heads / group;
                if !shares(sizes, heads) || heads * group != sizes.heads {
                    let rule = format!("{} attention heads make no such groups", sizes.heads);
                    return Err(invalid("n_heads_in_group", &group.to_string(), rule));
                }
                Some(heads)
            }
        };
        blocks.push(Block {
            kv_heads,
            width: match ffn.flag("no_op", false) {
                true => 0,
                false => width(&ffn, sizes)?,
            },
        });
    }
    Ok(Some(blocks))
}

fn shares(sizes: &Sizes, heads: usize) -> bool {
    heads > 0 && sizes.heads.is_multiple_of(heads)
}

/// As a factor of the hidden size for an MLP of two matrices, or as it is.
fn width(ffn: &Keys, sizes: &Sizes) -> Result<usize, ShapeError> {
    match ffn.number("ffn_mult") {
        Some(factor) if (0.0..MOST_WIDENING).contains(&factor) => {
            Ok(of_three(2.0 * factor * sizes.hidden as f64))
        }
        Some(factor) => Err(ShapeError::invalid(
            ffn.file,
            "ffn_mult",
            factor,
            format!("it must be a number from 0 to {MOST_WIDENING}"),
        )),
        None => ffn.size(&["intermediate_size"]),
    }
}
