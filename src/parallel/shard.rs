//! Which slice of which tensor each rank holds, as data: read by the loader, and by whoever must
//! know a rank's bytes and shapes before anything is loaded.
//!
//! The split is Megatron's (Shoeybi et al. 2019): q, k, v, gate and up by output features, o and
//! down by input features with a sum over ranks behind them, embedding and head by vocabulary.

use std::collections::HashMap;
use std::ops::Range;

use crate::model::spec::ModelSpec;
use crate::model::tensors::{Role, TensorSpec, expected};

/// The vocabulary is filled up to a multiple of this before it is split, as vLLM does
/// (`DEFAULT_VOCAB_PADDING_SIZE`).
pub const VOCAB_MULTIPLE: usize = 64;

/// A number of ranks that this model cannot be split over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--tp {tp}: {rule}; for this model --tp may be {}", listed(legal))]
pub struct ShardError {
    pub tp: usize,
    /// The rule that does not hold, with its numbers.
    pub rule: String,
    pub legal: Vec<usize>,
}

/// How ranks share one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Every rank holds all of it.
    Whole,
    /// Rank 0 alone holds it: added once to a sum over ranks.
    First,
    /// `parts` equal runs along `axis`; neighbouring ranks hold the same one where ranks are more.
    Even { axis: usize, parts: usize },
    /// Runs of `rows` rows along axis 0, the last ones filled up with zeros.
    Padded { rows: usize },
}

/// What one rank holds of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// 0: rows (output features), 1: columns (input features).
    pub axis: usize,
    pub range: Range<usize>,
    /// Rows of zeros after them.
    pub padding: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlan {
    pub tensor: TensorSpec,
    pub cut: Cut,
    tp: usize,
}

/// A model split over `tp` ranks.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    spec: ModelSpec,
    tp: usize,
    tensors: Vec<TensorPlan>,
    by_name: HashMap<String, usize>,
}

/// The sizes that one rank computes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankShape {
    pub num_heads: usize,
    /// At least 1: with more ranks than KV heads, neighbours hold the same one.
    pub num_kv_heads: usize,
    pub intermediate_size: usize,
    /// Tokens whose embedding and head rows are here.
    pub vocab: Range<usize>,
    /// Rows held for them, zeros included.
    pub vocab_rows: usize,
}

impl ShardPlan {
    /// # Errors
    /// A size of the model is not divisible by `tp`.
    pub fn new(spec: &ModelSpec, tp: usize) -> Result<Self, ShardError> {
        if let Some(rule) = broken_rule(spec, tp) {
            let possible = 1..=spec.num_attention_heads;
            return Err(ShardError {
                tp,
                rule,
                legal: possible
                    .filter(|&tp| broken_rule(spec, tp).is_none())
                    .collect(),
            });
        }
        let tensors = expected(spec).into_iter().map(|tensor| TensorPlan {
            cut: cut(&tensor, spec, tp),
            tensor,
            tp,
        });
        let tensors: Vec<TensorPlan> = tensors.collect();
        let names = tensors.iter().map(|plan| plan.tensor.name.clone());
        Ok(Self {
            spec: spec.clone(),
            tp,
            by_name: names.zip(0..).collect(),
            tensors,
        })
    }

    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Ranks.
    pub fn tp(&self) -> usize {
        self.tp
    }

    /// Every tensor, in the order of [`expected`].
    pub fn tensors(&self) -> &[TensorPlan] {
        &self.tensors
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorPlan> {
        self.by_name.get(name).map(|&index| &self.tensors[index])
    }

    pub fn rank_shape(&self, rank: usize) -> RankShape {
        let (spec, tp) = (&self.spec, self.tp);
        let rows = vocab_rows(spec.vocab_size, tp);
        RankShape {
            num_heads: spec.num_attention_heads / tp,
            num_kv_heads: (spec.num_key_value_heads / tp).max(1),
            intermediate_size: spec.intermediate_size / tp,
            vocab: (rank * rows).min(spec.vocab_size)..((rank + 1) * rows).min(spec.vocab_size),
            vocab_rows: rows,
        }
    }

    /// Bytes of the weights of `rank`, each tensor's elements at `element_bytes` of it.
    pub fn weight_bytes(&self, rank: usize, element_bytes: impl Fn(&TensorSpec) -> usize) -> u64 {
        let bytes = |plan: &TensorPlan| plan.elements(rank) * element_bytes(&plan.tensor) as u64;
        self.tensors.iter().map(bytes).sum()
    }

    /// Elements (K and V, all layers) that one token adds to the cache of each rank.
    pub fn kv_elements_per_token(&self) -> usize {
        let heads = self.rank_shape(0).num_kv_heads;
        2 * self.spec.num_hidden_layers * heads * self.spec.head_dim
    }
}

impl TensorPlan {
    /// What `rank` holds; `None`: nothing.
    pub fn slice(&self, rank: usize) -> Option<Slice> {
        let run = |axis: usize, range: Range<usize>, padding: usize| Slice {
            axis,
            range,
            padding,
        };
        let shape = &self.tensor.shape;
        match self.cut {
            Cut::Whole => Some(run(0, 0..shape[0], 0)),
            Cut::First => (rank == 0).then(|| run(0, 0..shape[0], 0)),
            Cut::Even { axis, parts } => {
                let len = shape[axis] / parts;
                let start = rank / (self.tp / parts) * len;
                Some(run(axis, start..start + len, 0))
            }
            Cut::Padded { rows } => {
                let range = (rank * rows).min(shape[0])..((rank + 1) * rows).min(shape[0]);
                let padding = rows - range.len();
                Some(run(0, range, padding))
            }
        }
    }

    /// Ranks that hold the same slice as another one.
    pub fn replicas(&self) -> usize {
        match self.cut {
            Cut::Whole => self.tp,
            Cut::Even { parts, .. } => self.tp / parts,
            Cut::First | Cut::Padded { .. } => 1,
        }
    }

    /// Elements that `rank` holds, zeros included.
    pub fn elements(&self, rank: usize) -> u64 {
        let Some(slice) = self.slice(rank) else {
            return 0;
        };
        let shape = self.tensor.shape.iter().enumerate();
        let lengths = shape.map(|(axis, &length)| match axis == slice.axis {
            true => slice.range.len() + slice.padding,
            false => length,
        });
        lengths.map(|length| length as u64).product()
    }
}

/// Rows of embedding and head that each rank holds.
fn vocab_rows(vocab: usize, tp: usize) -> usize {
    match tp {
        1 => vocab,
        _ => vocab.next_multiple_of(VOCAB_MULTIPLE).div_ceil(tp),
    }
}

fn cut(tensor: &TensorSpec, spec: &ModelSpec, tp: usize) -> Cut {
    let even = |axis| Cut::Even { axis, parts: tp };
    match tensor.role {
        Role::Norm => Cut::Whole,
        Role::SumBias => Cut::First,
        Role::Query | Role::Up => even(0),
        Role::KeyValue => Cut::Even {
            axis: 0,
            parts: tp.min(spec.num_key_value_heads),
        },
        Role::Output | Role::Down => even(1),
        Role::Vocabulary => Cut::Padded {
            rows: vocab_rows(spec.vocab_size, tp),
        },
    }
}

/// The first rule that a split over `tp` ranks breaks, with its numbers.
fn broken_rule(spec: &ModelSpec, tp: usize) -> Option<String> {
    let divides = |what: &str, size: usize| {
        let rest = size.checked_rem(tp)?;
        (rest != 0).then(|| {
            format!("{size} {what} cannot be shared evenly by {tp} ranks ({size} % {tp} = {rest})")
        })
    };
    if tp == 0 {
        return Some("a model needs at least one rank".to_owned());
    }
    let kv = spec.num_key_value_heads;
    let kv_rule = || {
        let shared = kv.is_multiple_of(tp) || tp.is_multiple_of(kv);
        (!shared).then(|| {
            format!(
                "{kv} KV heads can neither be shared evenly by {tp} ranks ({kv} % {tp} = {}) nor held each by as many ({tp} % {kv} = {})",
                kv % tp,
                tp % kv
            )
        })
    };
    divides("attention heads", spec.num_attention_heads)
        .or_else(kv_rule)
        .or_else(|| divides("intermediate features", spec.intermediate_size))
}

fn listed(values: &[usize]) -> String {
    let values = values.iter().map(usize::to_string);
    values.collect::<Vec<_>>().join(", ")
}
