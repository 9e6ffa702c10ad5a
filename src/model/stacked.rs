//! Experts stacked into one tensor a projection, as the modules of newer transformers hold them.
//!
//! Seen in transformers 5.24 (`Qwen3MoeExperts`, `FP8Experts`): `mlp.experts.gate_up_proj` is
//! `[experts, 2 * width, hidden]`, gate above up, and `mlp.experts.down_proj` is `[experts, hidden, width]`:
//! as in a linear layer, not transposed, and without `.weight`. `save_pretrained` writes them so with
//! `save_original_format=False`; by default it writes a tensor for each expert. Scales of block FP8 are
//! `gate_up_proj_scale_inv` and `down_proj_scale_inv`, one grid an expert; a file made of a tensor for each
//! expert stacks gate's grid on up's, each with its own cut-off last block.

use std::collections::{BTreeSet, HashMap};

use super::entry::Entry;
use super::spec::ModelSpec;
use super::tensors::layer_name;
use crate::shape::{SCALE_SUFFIX, scale_name};

/// One stacked tensor, and what of an expert lies in it, from top to bottom.
struct Stack {
    name: String,
    /// Of each expert.
    columns: usize,
    /// Projection and rows.
    parts: Vec<(&'static str, usize)>,
    is_scale: bool,
}

impl Stack {
    fn rows(&self) -> usize {
        self.parts.iter().map(|(_, rows)| rows).sum()
    }
}

/// Puts entries of single experts in the place of stacked ones. Returns the layers where it did, or where
/// `faults` say why it cannot.
pub(super) fn unstack(
    spec: &ModelSpec,
    entries: &mut HashMap<String, Entry>,
    faults: &mut Vec<String>,
) -> BTreeSet<usize> {
    let mut layers = BTreeSet::new();
    let Some(experts) = &spec.experts else {
        return layers;
    };
    for layer in (0..spec.num_hidden_layers).filter(|layer| spec.is_sparse(*layer)) {
        let module = layer_name(layer, "mlp.experts");
        let stacks = stacks(spec, &module);
        let single = entries.contains_key(&format!("{module}.0.gate_proj.weight"));
        if single || !stacks.iter().any(|stack| entries.contains_key(&stack.name)) {
            continue;
        }
        layers.insert(layer);
        for stack in stacks {
            let shape = [experts.num_experts, stack.rows(), stack.columns];
            match entries.remove(&stack.name) {
                None if faults.iter().any(|fault| fault.starts_with(&stack.name)) => {}
                None => faults.push(format!("{} is missing", stack.name)),
                Some(entry) if entry.shape != shape => faults.push(format!(
                    "{} is {:?}, expected {shape:?}",
                    stack.name, entry.shape
                )),
                Some(entry) => cut(&module, &stack, &entry, entries),
            }
        }
    }
    layers
}

/// Those of one layer.
fn stacks(spec: &ModelSpec, module: &str) -> Vec<Stack> {
    let hidden = spec.hidden_size;
    let width = spec.experts.as_ref().map_or(0, |e| e.moe_intermediate_size);
    let mut stacks = Vec::new();
    for (name, columns, parts) in [
        (
            "gate_up_proj",
            hidden,
            vec![("gate_proj", width), ("up_proj", width)],
        ),
        ("down_proj", width, vec![("down_proj", hidden)]),
    ] {
        let name = format!("{module}.{name}");
        let first = format!("{module}.0.{}", parts[0].0);
        if let Some([rows, block_columns]) = spec.fp8_block(&first) {
            let parts = parts.iter().map(|&(part, n)| (part, n.div_ceil(rows)));
            stacks.push(Stack {
                name: scale_name(&name),
                columns: columns.div_ceil(block_columns),
                parts: parts.collect(),
                is_scale: true,
            });
        }
        stacks.push(Stack {
            name,
            columns,
            parts,
            is_scale: false,
        });
    }
    stacks
}

fn cut(module: &str, stack: &Stack, entry: &Entry, entries: &mut HashMap<String, Entry>) {
    let experts = entry.shape[0];
    let rows = (experts * stack.rows()).max(1);
    let row_bytes = (entry.bytes.end - entry.bytes.start) / rows as u64;
    let suffix = if stack.is_scale { SCALE_SUFFIX } else { "" };
    let mut start = entry.bytes.start;
    for expert in 0..experts {
        for (projection, rows) in &stack.parts {
            let end = start + *rows as u64 * row_bytes;
            let name = format!("{module}.{expert}.{projection}.weight{suffix}");
            let part = Entry {
                file: entry.file,
                stored: entry.stored,
                shape: vec![*rows, stack.columns],
                bytes: start..end,
            };
            entries.insert(name, part);
            start = end;
        }
    }
}
