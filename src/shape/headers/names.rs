//! What a tensor does, told from its name: the words of transformers, of ggml and of a few authors' own code.

use super::words::{BESIDE, LAYERS, Part, TOWERS, WORDS};
use crate::shape::Role;

/// Where a tensor belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub layer: Option<usize>,
    pub part: Part,
    /// It is one routed expert's, or that of all of them.
    pub expert: bool,
    /// It stands beside a weight: a scale, a zero point, an index.
    pub beside: bool,
}

/// Of a model with so many layers.
pub(super) fn place(name: &str, layers: usize) -> Place {
    let words: Vec<&str> = name.split('.').take(24).collect();
    let number = words
        .windows(2)
        .find_map(|pair| match LAYERS.contains(&pair[0]) {
            true => pair[1].parse::<usize>().ok(),
            false => None,
        });
    let last = words.last().copied().unwrap_or_default();
    let expert = words.contains(&"experts")
        || words.iter().any(|word| word.ends_with("_exps"))
        || (words.contains(&"block_sparse_moe") && last_linear(&words));
    let tower = words.iter().any(|word| TOWERS.contains(word)) || name.starts_with("v.blk.");
    let (layer, part) = match (tower, number) {
        (true, _) => (None, Part::Of(Role::Tower)),
        (false, Some(number)) if number >= layers => (None, Part::Draft),
        (false, number) => (number, part(&words, number)),
    };
    let beside =
        BESIDE.contains(&last) || words.iter().any(|word| word.starts_with("bitsandbytes__"));
    Place {
        layer,
        part,
        expert: expert && !tower && !matches!(part, Part::Of(Role::Router)),
        beside,
    }
}

/// Experts of Granite's mixtures are one tensor.
fn last_linear(words: &[&str]) -> bool {
    words.contains(&"input_linear") || words.contains(&"output_linear")
}

fn part(words: &[&str], layer: Option<usize>) -> Part {
    let is_norm = |word: &&str| word.contains("norm") || word.starts_with("ln_") || *word == "ln";
    let known = words.iter().find_map(|word| {
        let found = WORDS.iter().find(|(known, _)| known == word);
        found.map(|(_, part)| *part)
    });
    if known != Some(Part::Draft) && words.iter().any(is_norm) {
        return Part::Of(Role::Norm);
    }
    let in_attention = words.iter().any(|word| word.starts_with("attn"));
    match (known, layer) {
        (Some(Part::Of(Role::Down)), _) if in_attention && words.contains(&"c_proj") => {
            Part::Of(Role::Output)
        }
        (Some(part), _) => part,
        // ggml's name of the head, and one of an author's.
        (None, None) if words.contains(&"output") => Part::Of(Role::Head),
        (None, _) => Part::Of(Role::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_maker_are_told() {
        let of = |role| Part::Of(role);
        for (name, layer, part, expert, beside) in [
            (
                "model.embed_tokens.weight",
                None,
                of(Role::Embedding),
                false,
                false,
            ),
            ("token_embd.weight", None, of(Role::Embedding), false, false),
            ("lm_head.weight", None, of(Role::Head), false, false),
            ("output.weight", None, of(Role::Head), false, false),
            ("model.norm.weight", None, of(Role::Norm), false, false),
            (
                "model.layers.3.self_attn.q_proj.qweight",
                Some(3),
                of(Role::Query),
                false,
                false,
            ),
            (
                "model.layers.3.self_attn.q_proj.qzeros",
                Some(3),
                of(Role::Query),
                false,
                true,
            ),
            (
                "model.layers.3.self_attn.q_norm.weight",
                Some(3),
                of(Role::Norm),
                false,
                false,
            ),
            (
                "transformer.h.2.attn.c_proj.weight",
                Some(2),
                of(Role::Output),
                false,
                false,
            ),
            (
                "transformer.h.2.mlp.c_proj.weight",
                Some(2),
                of(Role::Down),
                false,
                false,
            ),
            (
                "model.layers.0.self_attn.qkv_proj.weight",
                Some(0),
                Part::Fused,
                false,
                false,
            ),
            (
                "model.layers.1.mlp.gate.weight",
                Some(1),
                of(Role::Router),
                false,
                false,
            ),
            (
                "model.layers.1.mlp.experts.7.up_proj.weight_scale_inv",
                Some(1),
                of(Role::Up),
                true,
                true,
            ),
            (
                "model.layers.1.mlp.shared_experts.up_proj.weight",
                Some(1),
                of(Role::Up),
                false,
                false,
            ),
            (
                "model.layers.1.mlp.experts.gate_up_proj_blocks",
                Some(1),
                of(Role::Up),
                true,
                false,
            ),
            (
                "model.layers.1.block_sparse_moe.input_linear.weight",
                Some(1),
                of(Role::Up),
                true,
                false,
            ),
            (
                "model.layers.1.block_sparse_moe.gate.weight",
                Some(1),
                of(Role::Router),
                false,
                false,
            ),
            (
                "blk.5.ffn_down_exps.weight",
                Some(5),
                of(Role::Down),
                true,
                false,
            ),
            (
                "blk.5.attn_kv_a_mqa.weight",
                Some(5),
                of(Role::Latent),
                false,
                false,
            ),
            (
                "blk.5.attn_norm.weight",
                Some(5),
                of(Role::Norm),
                false,
                false,
            ),
            (
                "backbone.layers.4.mixer.in_proj.weight",
                Some(4),
                of(Role::Mixer),
                false,
                false,
            ),
            (
                "visual.blocks.3.attn.qkv.weight",
                None,
                of(Role::Tower),
                false,
                false,
            ),
            (
                "model.vision_tower.transformer.layers.3.attention.q_proj.weight",
                None,
                of(Role::Tower),
                false,
                false,
            ),
            (
                "model.layers.61.mlp.experts.0.up_proj.weight",
                None,
                Part::Draft,
                true,
                false,
            ),
            (
                "mtp.layers.0.mlp.gate.weight",
                Some(0),
                Part::Draft,
                true,
                false,
            ),
            (
                "model.layers.2.something.weight",
                Some(2),
                of(Role::Other),
                false,
                false,
            ),
        ] {
            let found = place(name, 61);
            assert_eq!(
                (found.layer, found.part, found.beside),
                (layer, part, beside),
                "{name}"
            );
            if part != Part::Draft {
                assert_eq!(found.expert, expert, "{name}");
            }
        }
    }
}
