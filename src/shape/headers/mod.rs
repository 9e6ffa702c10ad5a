//! Weights by what the headers of their files say: exact bytes of any model, an entry for all that a layer has of
//! a role.

mod names;
mod words;

use std::collections::BTreeMap;

use self::names::place;
use self::words::Part;
use super::{Format, ModelShape, Role, TensorSpec};

/// One tensor of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'a> {
    pub name: &'a str,
    /// Row-major, as it is stored.
    pub shape: &'a [usize],
    pub bytes: u64,
    /// Its elements are plain floats.
    pub plain: bool,
    /// Weights in it, where it is none of those that stand beside weights.
    pub parameters: u64,
}

/// What a layer has of a role.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    parameters: u64,
    bytes: u64,
    packed: bool,
}

/// Where it is summed up: layers in order, then roles; experts apart.
type Key = (Option<usize>, Role, bool);

/// A thousand times the largest models known.
const MOST_BYTES: u64 = 1 << 52;

/// Puts the measured tensors in place of those of `shape`, and says what they tell of it; false: they say that they
/// have more bytes than any model.
pub(super) fn measure<'a>(
    shape: &mut ModelShape,
    tensors: impl IntoIterator<Item = Measured<'a>>,
) -> bool {
    let mut all = 0_u64;
    let mut sums: BTreeMap<Key, Sum> = BTreeMap::new();
    let mut vocabulary: Vec<TensorSpec> = Vec::new();
    let (mut drafts, mut others) = (0_usize, 0_usize);
    let queries = shape.num_attention_heads;
    let keys = shape.num_key_value_heads();
    for tensor in tensors {
        let found = place(tensor.name, shape.layers.len());
        all = all
            .saturating_add(tensor.bytes)
            .saturating_add(tensor.parameters);
        if all > MOST_BYTES {
            return false;
        }
        let mut add = |role: Role, share: [usize; 2]| {
            let of =
                |all: u64| (u128::from(all) * share[0] as u128 / share[1].max(1) as u128) as u64;
            let sum = sums.entry((found.layer, role, found.expert)).or_default();
            sum.bytes += of(tensor.bytes);
            sum.packed |= !tensor.plain;
            if !found.beside {
                sum.parameters += of(tensor.parameters);
            }
        };
        match found.part {
            Part::Unused => {}
            Part::Draft => drafts += 1,
            Part::Fused => {
                let all = queries + 2 * keys;
                add(Role::Query, [queries, all]);
                add(Role::KeyValue, [2 * keys, all]);
            }
            Part::Of(role @ (Role::Embedding | Role::Head)) if tensor.shape.len() == 2 => {
                vocabulary.push(rows(tensor, role));
            }
            Part::Of(role) => {
                others += usize::from(role == Role::Other && !found.beside);
                add(role, [1, 1]);
            }
        }
    }
    let head = vocabulary.iter().any(|tensor| tensor.role == Role::Head);
    if head && shape.tie_word_embeddings {
        // What is stored twice is loaded once.
        vocabulary.retain(|tensor| tensor.role != Role::Head);
    } else if !head {
        shape.tie_word_embeddings = true;
    }
    let experts = shape.experts().map_or(1, |experts| experts.count.max(1));
    let summed = sums.into_iter().filter(|(_, sum)| sum.bytes > 0);
    let summed = summed.map(|(key, sum)| entry(key, sum, experts));
    vocabulary.extend(summed);
    shape.tensors = vocabulary.into();
    if drafts > 0 {
        shape.assumptions.push(format!(
            "{drafts} tensors of a draft of further tokens are not loaded, and not counted"
        ));
    }
    if others > 0 {
        shape.assumptions.push(format!(
            "what {others} tensors do is not told by their names: every rank is taken to hold all of them"
        ));
    }
    true
}

/// Of the vocabulary: a row for each token.
fn rows(tensor: Measured, role: Role) -> TensorSpec {
    // ggml writes the columns first; there are fewer of them.
    let mut shape = tensor.shape.to_vec();
    shape.sort_unstable_by(|a, b| b.cmp(a));
    let elements = shape.iter().map(|&n| n as u64).product::<u64>().max(1);
    let as_stored = Format::Packed {
        elements,
        bytes: tensor.bytes,
    };
    TensorSpec {
        name: tensor.name.to_owned(),
        shape,
        role,
        format: if tensor.plain {
            Format::Plain
        } else {
            as_stored
        },
        layer: None,
        expert: None,
        count: 1,
    }
}

fn entry((layer, role, expert): Key, sum: Sum, experts: usize) -> TensorSpec {
    let count = if expert { experts } else { 1 };
    // What stands beside weights without any is still bytes.
    let elements = (sum.parameters / count as u64).max(1);
    let packed = Format::Packed {
        elements,
        bytes: sum.bytes / count as u64,
    };
    TensorSpec {
        name: match layer {
            Some(layer) => format!("{role:?} of layer {layer}"),
            None => format!("{role:?}"),
        },
        shape: vec![usize::try_from(elements).unwrap_or(usize::MAX)],
        role,
        format: if sum.packed { packed } else { Format::Loose },
        layer,
        expert: None,
        count,
    }
}
