//! One decoder layer, packed.

use super::mlp::Mlp;
use crate::ops::{AttentionShape, HeadNorms, Linear, Norm};

pub(super) struct Layer {
    pub input_norm: Norm,
    /// q, k and v stacked.
    pub qkv: Linear,
    pub head_norms: Option<HeadNorms>,
    pub o: Linear,
    pub post_attention_norm: Norm,
    pub mlp: Mlp,
    pub shape: AttentionShape,
}
