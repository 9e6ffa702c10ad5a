//! Which numbers of ranks a model can be split over.

use super::split::Split;
use crate::shape::{Layer, Mlp, ModelShape};

/// A number of ranks that this model cannot be split over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--tp {tp}: {rule}; {}", way_out(legal))]
pub struct ShardError {
    pub tp: usize,
    /// The rule that does not hold, with its numbers.
    pub rule: String,
    pub legal: Vec<usize>,
}

/// Every number of ranks that no rule is against.
pub fn legal(shape: &ModelShape, expert_parallel: bool) -> Vec<usize> {
    let splits = (1..=shape.num_attention_heads).map(|tp| Split {
        tp,
        expert_parallel,
    });
    let legal = splits.filter(|&split| broken_rule(shape, split).is_none());
    legal.map(|split| split.tp).collect()
}

/// The first rule that a split breaks, with its numbers.
pub fn broken_rule(shape: &ModelShape, split: Split) -> Option<String> {
    if split.tp == 0 {
        return Some("a model needs at least one rank".to_owned());
    }
    let divides = |what: &str, size: usize| divides(what, size, split.tp);
    let any_layer = |rule: &dyn Fn(&Layer) -> Option<String>| shape.layers.iter().find_map(rule);
    divides("attention heads", shape.num_attention_heads)
        .or_else(|| any_layer(&|layer| kv_heads(layer.kv.num_heads()?, split.tp)))
        .or_else(|| {
            any_layer(&|layer| match layer.mlp {
                Mlp::Dense { width } => divides("intermediate features", width),
                Mlp::Experts(_) => None,
            })
        })
        .or_else(|| match shape.experts() {
            None if split.expert_parallel => Some(
                "this is a dense model, so there are no experts to split over ranks".to_owned(),
            ),
            None => None,
            Some(experts) if split.expert_parallel => divides("experts", experts.count),
            Some(experts) => divides("intermediate features of an expert", experts.width),
        })
}

fn divides(what: &str, size: usize, tp: usize) -> Option<String> {
    let rest = size % tp;
    (rest != 0).then(|| {
        format!("{size} {what} cannot be shared evenly by {tp} ranks ({size} % {tp} = {rest})")
    })
}

fn kv_heads(kv: usize, tp: usize) -> Option<String> {
    let shared = kv.is_multiple_of(tp) || tp.is_multiple_of(kv);
    (!shared).then(|| {
        format!(
            "{kv} KV heads can neither be shared evenly by {tp} ranks ({kv} % {tp} = {}) nor held each by as many ({tp} % {kv} = {})",
            kv % tp,
            tp % kv
        )
    })
}

/// Only a dense model over whose experts ranks are to be split has no legal number at all.
fn way_out(legal: &[usize]) -> String {
    match legal.is_empty() {
        true => "leave --expert-parallel out".to_owned(),
        false => format!("for this model --tp may be {}", listed(legal)),
    }
}

fn listed(values: &[usize]) -> String {
    let values = values.iter().map(usize::to_string);
    values.collect::<Vec<_>>().join(", ")
}
