//! Which slice of which tensor each rank holds, as data: read by the loader, and by whoever must
//! know a rank's bytes and shapes before anything is loaded.
//!
//! The split is Megatron's (Shoeybi et al. 2019): q, k, v, gate and up by output features, o and
//! down by input features with a sum over ranks behind them, embedding and head by vocabulary.
//! Experts are split like any other MLP, or held whole, each by one rank (`expert_parallel`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use super::rules::{ShardError, broken_rule, legal};
use super::split::Split;
use crate::shape::{Format, ModelShape, Role, TensorSpec};

/// The vocabulary is filled up to a multiple of this before it is split, as vLLM does
/// (`DEFAULT_VOCAB_PADDING_SIZE`).
pub const VOCAB_MULTIPLE: usize = 64;

/// How ranks share one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Every rank holds all of it.
    Whole,
    /// One rank alone holds it: an expert, or a bias that is added once to a sum over ranks.
    Only { rank: usize },
    /// `parts` equal runs along `axis`; neighbouring ranks hold the same one where ranks are more.
    Even { axis: usize, parts: usize },
    /// The scales of the blocks of `block` that one of `parts` equal runs of a weight of `length` touches
    /// along `axis`. A run need not begin with a block: neighbours then both hold the one they share.
    Blocks {
        axis: usize,
        parts: usize,
        length: usize,
        block: usize,
    },
    /// Runs of `rows` rows along axis 0, the last ones filled up with zeros.
    Padded { rows: usize },
    /// `parts` equal shares of the elements, along an axis that nobody asks for.
    Packed { parts: usize },
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorPlan<'a> {
    pub tensor: &'a TensorSpec,
    pub cut: Cut,
    tp: usize,
    /// Tensors alike of which each rank holds such a slice.
    count: usize,
}

/// A model split over `tp` ranks. What ranks hold of a tensor is worked out when it is asked for.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    shape: ModelShape,
    split: Split,
    /// Filled at the first question: whoever only counts asks none, and large models have 70,000 tensors.
    by_name: OnceLock<HashMap<String, usize>>,
}

/// The sizes that one rank computes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankShape {
    pub num_heads: usize,
    /// At least 1: with more ranks than KV heads, neighbours hold the same one.
    pub num_kv_heads: usize,
    /// Of the dense layers; 0: there are none.
    pub intermediate_size: usize,
    /// Of each expert that is here; 0: a dense model.
    pub moe_intermediate_size: usize,
    /// Experts that this rank has a part of, or all of.
    pub experts: Range<usize>,
    /// Tokens whose embedding and head rows are here.
    pub vocab: Range<usize>,
    /// Rows held for them, zeros included.
    pub vocab_rows: usize,
}

impl ShardPlan {
    /// Experts by columns, as any other weight.
    ///
    /// # Errors
    /// A size of the model is not divisible by `tp`.
    pub fn new(shape: &ModelShape, tp: usize) -> Result<Self, ShardError> {
        Self::split(shape, tp.into())
    }

    /// # Errors
    /// A size of the model is not divisible by the ranks.
    pub fn split(shape: &ModelShape, split: Split) -> Result<Self, ShardError> {
        if let Some(rule) = broken_rule(shape, split) {
            return Err(ShardError {
                tp: split.tp,
                rule,
                legal: legal(shape, split.expert_parallel),
            });
        }
        Ok(Self {
            shape: shape.clone(),
            split,
            by_name: OnceLock::new(),
        })
    }

    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Ranks.
    pub fn tp(&self) -> usize {
        self.split.tp
    }

    pub fn expert_parallel(&self) -> bool {
        self.split.expert_parallel
    }

    /// Every tensor, in the order of the shape.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorPlan<'_>> {
        self.shape.tensors.iter().map(|tensor| self.plan(tensor))
    }

    pub fn tensor(&self, name: &str) -> Option<TensorPlan<'_>> {
        let by_name = self.by_name.get_or_init(|| {
            let names = self.shape.tensors.iter().map(|tensor| tensor.name.clone());
            names.zip(0..).collect()
        });
        let index = *by_name.get(name)?;
        Some(self.plan(&self.shape.tensors[index]))
    }

    fn plan<'a>(&self, tensor: &'a TensorSpec) -> TensorPlan<'a> {
        let Split {
            tp,
            expert_parallel,
        } = self.split;
        // Experts of a layer that stand in one entry: ranks share the number, each whole.
        let shared = expert_parallel && tensor.count > 1;
        TensorPlan {
            tensor,
            cut: match shared {
                true => Cut::Whole,
                false => self.cut(tensor),
            },
            tp,
            count: match shared {
                true => tensor.count / tp,
                false => tensor.count,
            },
        }
    }

    pub fn rank_shape(&self, rank: usize) -> RankShape {
        let (shape, Split { tp, .. }) = (&self.shape, self.split);
        let (vocab, rows) = (shape.vocab_size, vocab_rows(shape.vocab_size, tp));
        let (experts, expert_width) = self.experts(rank);
        RankShape {
            num_heads: shape.num_attention_heads / tp,
            num_kv_heads: (shape.num_key_value_heads() / tp).max(1),
            intermediate_size: shape.dense_width().unwrap_or(0) / tp,
            moe_intermediate_size: expert_width,
            experts,
            vocab: (rank * rows).min(vocab)..((rank + 1) * rows).min(vocab),
            vocab_rows: rows,
        }
    }

    /// The experts of `rank` and the width of what it holds of each.
    fn experts(&self, rank: usize) -> (Range<usize>, usize) {
        let Split {
            tp,
            expert_parallel,
        } = self.split;
        match self.shape.experts() {
            None => (0..0, 0),
            Some(experts) if expert_parallel => {
                let each = experts.count / tp;
                (rank * each..(rank + 1) * each, experts.width)
            }
            Some(experts) => (0..experts.count, experts.width / tp),
        }
    }

    /// Bytes of the weights of `rank`; `bytes` of so many elements of a tensor.
    pub fn weight_bytes(&self, rank: usize, bytes: impl Fn(&TensorSpec, u64) -> u64) -> u64 {
        let held = |plan: TensorPlan| bytes(plan.tensor, plan.elements(rank));
        self.tensors().map(held).sum()
    }

    /// Elements (K and V, all layers) that one token adds to the cache of each rank.
    pub fn kv_elements_per_token(&self) -> usize {
        self.shape.kv_elements_per_token(self.split.tp)
    }

    fn cut(&self, tensor: &TensorSpec) -> Cut {
        let tp = self.split.tp;
        let layer = tensor.layer.and_then(|layer| self.shape.layers.get(layer));
        let experts = layer.and_then(|layer| layer.mlp.experts());
        if let (Some(experts), Some(expert), true) =
            (experts, tensor.expert, self.split.expert_parallel)
        {
            let each = experts.count / tp;
            return Cut::Only {
                rank: expert / each,
            };
        }
        let even = |axis, parts| match tensor.format {
            Format::Scale { of, block } => Cut::Blocks {
                axis,
                parts,
                length: of[axis],
                block: block[axis],
            },
            Format::Plain | Format::Fp8 => Cut::Even { axis, parts },
            Format::Packed { .. } | Format::Loose => Cut::Packed { parts },
        };
        match tensor.role {
            Role::Norm | Role::Router | Role::Latent | Role::Other => Cut::Whole,
            Role::SumBias => Cut::Only { rank: 0 },
            Role::Tower => Cut::Packed { parts: tp },
            Role::Query | Role::Up | Role::Mixer => even(0, tp),
            Role::KeyValue => {
                let heads = layer.and_then(|layer| layer.kv.num_heads());
                even(0, tp.min(heads.unwrap_or(1)))
            }
            Role::Output | Role::Down => even(1, tp),
            Role::Embedding | Role::Head => Cut::Padded {
                rows: vocab_rows(self.shape.vocab_size, tp),
            },
        }
    }
}

impl TensorPlan<'_> {
    /// What `rank` holds; `None`: nothing, or a share that has no place.
    pub fn slice(&self, rank: usize) -> Option<Slice> {
        let run = |axis: usize, range: Range<usize>, padding: usize| Slice {
            axis,
            range,
            padding,
        };
        let shape = &self.tensor.shape;
        match self.cut {
            Cut::Whole => Some(run(0, 0..shape[0], 0)),
            Cut::Only { rank: only } => (rank == only).then(|| run(0, 0..shape[0], 0)),
            Cut::Even { axis, parts } => Some(run(axis, self.run(rank, shape[axis], parts), 0)),
            Cut::Packed { .. } => None,
            Cut::Blocks {
                axis,
                parts,
                length,
                block,
            } => {
                let rows = self.run(rank, length, parts);
                let touched = rows.start / block..rows.end.div_ceil(block);
                Some(run(axis, touched, 0))
            }
            Cut::Padded { rows } => {
                let range = (rank * rows).min(shape[0])..((rank + 1) * rows).min(shape[0]);
                let padding = rows - range.len();
                Some(run(0, range, padding))
            }
        }
    }

    /// The run of `rank` where `length` is cut into `parts`.
    fn run(&self, rank: usize, length: usize, parts: usize) -> Range<usize> {
        let len = length / parts;
        let start = rank / (self.tp / parts) * len;
        start..start + len
    }

    /// Ranks that hold the same slice as another one.
    pub fn replicas(&self) -> usize {
        match self.cut {
            Cut::Whole => self.tp,
            Cut::Even { parts, .. } | Cut::Blocks { parts, .. } | Cut::Packed { parts } => {
                self.tp / parts
            }
            Cut::Only { .. } | Cut::Padded { .. } => 1,
        }
    }

    /// Elements that `rank` holds, zeros included.
    pub fn elements(&self, rank: usize) -> u64 {
        if let Cut::Packed { parts } = self.cut {
            return self.tensor.elements().div_ceil(parts as u64);
        }
        let Some(slice) = self.slice(rank) else {
            return 0;
        };
        let shape = self.tensor.shape.iter().enumerate();
        let lengths = shape.map(|(axis, &length)| match axis == slice.axis {
            true => slice.range.len() + slice.padding,
            false => length,
        });
        lengths.map(|length| length as u64).product::<u64>() * self.count as u64
    }
}

/// Rows of embedding and head that each rank holds.
fn vocab_rows(vocab: usize, tp: usize) -> usize {
    match tp {
        1 => vocab,
        _ => vocab.next_multiple_of(VOCAB_MULTIPLE).div_ceil(tp),
    }
}
