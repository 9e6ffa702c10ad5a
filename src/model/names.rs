//! Tensors under other names than their model's own: wrappers leave theirs in front, and a bare decoder none.

use std::collections::{BTreeSet, HashMap};

use super::entry::Entry;
use super::spec::ModelSpec;
use super::tensors::{EMBEDDING, HEAD};
use crate::ground::terminal::listed;

/// In front of the decoder's own parts.
const USUAL: &str = "model.";
/// Parts of a name that a wrapper put there, wherever they stand.
const WRAPPERS: [&str; 4] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];
/// What every decoder has once, behind its root.
const MARK: &str = "layers.0.input_layernorm.weight";
/// What stands behind the root.
const PARTS: [&str; 3] = ["embed_tokens.", "layers.", "norm."];
const BARE_HEAD: &str = "lm_head.";
/// The end of a name, or the middle of one (behind a last `.`), and what it tells of the whole file.
const TELLING: [(&str, &str); 10] = [
    (".lora_A.", "a LoRA adapter that is not merged"),
    (".base_layer.", "a LoRA adapter that is not merged"),
    (".qweight", "weights quantised by GPTQ or AWQ"),
    (".weight_packed", "weights quantised by compressed-tensors"),
    (".weight_scale", "quantised weights"),
    (".scales", "quantised weights"),
    (".quant_state.", "weights quantised by bitsandbytes"),
    ("tok_embeddings.", "weights in Meta's own layout"),
    ("transformer.h.", "another architecture"),
    ("blk.0.", "weights under GGUF's names"),
];

/// Gives every tensor its usual name, as far as it is clear which that is; the sentence says from what. What is not
/// clear becomes a fault.
pub(super) fn usual(
    spec: &ModelSpec,
    entries: &mut HashMap<String, Entry>,
    faults: &mut Vec<String>,
) -> Option<String> {
    let remark = match root(entries.keys()) {
        Root::Usual | Root::None => None,
        Root::Other(root) => rename(&root, entries, faults),
        Root::Several(roots) => {
            faults.push(format!(
                "decoders stand under {} names ({}), so it is not clear which is meant",
                roots.len(),
                listed(&roots, ", ")
            ));
            None
        }
    };
    // The two are one tensor: files keep one name, not always the same.
    if spec.tie_word_embeddings
        && !entries.contains_key(EMBEDDING)
        && let Some(head) = entries.remove(HEAD)
    {
        entries.insert(EMBEDDING.to_owned(), head);
    }
    remark
}

/// What stands in front of the decoder's parts.
enum Root {
    Usual,
    Other(String),
    None,
    Several(Vec<String>),
}

fn root<'a>(names: impl Iterator<Item = &'a String>) -> Root {
    let mut roots = BTreeSet::new();
    let mut wrapped = false;
    for name in names {
        let bare = unwrapped(name);
        wrapped |= bare != *name;
        if let Some(root) = bare.strip_suffix(MARK)
            && (root.is_empty() || root.ends_with('.'))
        {
            roots.insert(root.to_owned());
        }
    }
    let mut roots: Vec<String> = roots.into_iter().collect();
    match (roots.len(), roots.pop()) {
        (1, Some(root)) if root == USUAL && !wrapped => Root::Usual,
        (1, Some(root)) => Root::Other(root),
        (_, Some(last)) => {
            roots.push(last);
            match roots.iter().any(|root| root == USUAL) && !wrapped {
                true => Root::Usual,
                false => Root::Several(roots),
            }
        }
        (_, None) => Root::None,
    }
}

/// Without the parts of wrappers.
fn unwrapped(name: &str) -> String {
    let parts = name.split('.').filter(|part| !WRAPPERS.contains(part));
    parts.collect::<Vec<_>>().join(".")
}

fn rename(
    root: &str,
    entries: &mut HashMap<String, Entry>,
    faults: &mut Vec<String>,
) -> Option<String> {
    let mut renamed = HashMap::with_capacity(entries.len());
    let mut example = None;
    let mut all: Vec<(String, Entry)> = entries.drain().collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, entry) in all {
        let usual = usual_name(root, &name);
        if example.is_none() && usual != name {
            example = Some(format!("{name} as {usual}"));
        }
        if renamed.insert(usual.clone(), entry).is_some() {
            faults.push(format!("two tensors could be {usual}, {name} one of them"));
        }
    }
    *entries = renamed;
    Some(format!(
        "tensors are read under their usual names, {}",
        example.unwrap_or_default()
    ))
}

fn usual_name(root: &str, name: &str) -> String {
    let bare = unwrapped(name);
    if let Some(inner) = bare.strip_prefix(root)
        && PARTS.iter().any(|part| inner.starts_with(part))
    {
        return format!("{USUAL}{inner}");
    }
    // The head stands beside the decoder, or beside what the decoder is in.
    match bare.rfind(BARE_HEAD) {
        Some(at) if root.starts_with(&bare[..at]) => bare[at..].to_owned(),
        _ => name.to_owned(),
    }
}

/// What the names tell of a checkpoint that lacks its tensors.
pub(super) fn telling(entries: &HashMap<String, Entry>) -> Option<String> {
    TELLING.iter().find_map(|(part, what)| {
        let tells = |name: &&String| match part.ends_with('.') {
            true => name.contains(part),
            false => name.ends_with(part),
        };
        let name = entries.keys().filter(tells).min()?;
        Some(format!(
            "{name} tells of {what}, and the model's whole checkpoint for transformers is needed, in bf16, f16, f32 or block FP8"
        ))
    })
}
