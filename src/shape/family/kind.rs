//! In what families differ.

/// A switch of a family's layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Flag {
    Never,
    Always,
    /// A key of the configuration; what holds where it is left out.
    Key(&'static str, bool),
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum QkNorm {
    Never,
    /// Of one head each, shared by all.
    Head,
    /// Of all heads together.
    Whole,
    /// Of all heads together, where a key of the configuration says so.
    WholeIf(&'static str),
    /// Of one head each, where a key of the configuration says so.
    HeadIf(&'static str),
}

/// Which layers see a part of the tokens, where `layer_types` does not list them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Windows {
    Never,
    /// All, by `sliding_window`.
    All,
    /// From `max_window_layers` on, where `use_sliding_window` switches them on.
    Switched,
    /// All but each so-many-th.
    AllBut(usize),
}

pub(super) struct Family {
    /// `model_type`, in all its spellings.
    pub names: &'static [&'static str],
    pub qkv_bias: Flag,
    pub o_bias: Flag,
    pub mlp_bias: Flag,
    /// The MLP has a gate beside its input projection.
    pub gated: bool,
    pub qk_norm: QkNorm,
    /// Of the hidden size, in each layer.
    pub norms: usize,
    /// Norms have biases.
    pub norm_bias: bool,
    /// `tie_word_embeddings` where it is left out.
    pub tied: bool,
    pub windows: Windows,
    /// Attention's output is gated by what comes with its queries.
    pub gated_attention: bool,
    /// Each layer has a recurrent branch beside its attention.
    pub both: bool,
    /// Rows of learned positions beyond `max_position_embeddings`; `None`: positions are rotated.
    pub learned_positions: Option<usize>,
    /// Sizes that configurations of the family may leave out.
    pub defaults: &'static [(&'static str, usize)],
}
