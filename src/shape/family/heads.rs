//! Heads of attention: in some models layers that see a window have others than those that see all tokens.

use super::sizes::Sizes;
use crate::shape::Heads;
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;

/// Of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attention {
    /// Query heads.
    pub queries: usize,
    pub kept: Heads,
}

/// Of a layer that sees all tokens, with so many KV heads unless such layers have a number of their own (Gemma 4).
pub(super) fn of_all(keys: &Keys, sizes: &Sizes, count: usize) -> Result<Attention, ShapeError> {
    let own = keys
        .count(&["num_global_key_value_heads"])?
        .filter(|_| keys.flag("attention_k_eq_v", false));
    let key_dim = keys.count(&["global_head_dim"])?.unwrap_or(sizes.head_dim);
    Ok(Attention {
        queries: sizes.heads,
        kept: Heads {
            count: own.unwrap_or(count),
            key_dim,
            value_dim: keys.count(&["v_head_dim"])?.unwrap_or(key_dim),
        },
    })
}

/// Of one that sees a part of them (MiMo-V2, Step 3.5).
pub(super) fn of_some(keys: &Keys, sizes: &Sizes, count: usize) -> Result<Attention, ShapeError> {
    let (own, [queries, heads, key_dim, value_dim]) = match keys.object("attention_other_setting") {
        Some(own) => (
            own,
            [
                "num_attention_heads",
                "num_attention_groups",
                "head_dim",
                "v_head_dim",
            ],
        ),
        None => (
            *keys,
            [
                "swa_num_attention_heads",
                "swa_num_key_value_heads",
                "swa_head_dim",
                "swa_v_head_dim",
            ],
        ),
    };
    let size = |name: &str, usual: usize| match own.value(name) {
        Some(_) => own.size(&[name]),
        None => Ok(usual),
    };
    let all_queries = size(queries, sizes.heads)?;
    let key_dim = size(key_dim, sizes.head_dim)?;
    let kept = Heads {
        count: size(heads, count)?,
        key_dim,
        value_dim: size(value_dim, key_dim)?,
    };
    match all_queries.is_multiple_of(kept.count) {
        true => Ok(Attention {
            queries: all_queries,
            kept,
        }),
        false => Err(ShapeError::invalid(
            keys.file,
            heads,
            kept.count,
            format!("{all_queries} attention heads cannot share them evenly"),
        )),
    }
}
