//! What a tensor does, told from its name: the words of transformers, of ggml and of a few authors' own code.

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Of(Role),
    /// Queries, keys and values in one.
    Fused,
    /// Of a draft of the next tokens, which engines load apart if at all.
    Draft,
    /// Nothing that is kept in memory.
    Unused,
}

/// Words before the number of a layer.
const LAYERS: [&str; 6] = ["layers", "h", "blocks", "blk", "layer", "block"];

const TOWERS: &[&str] = &[
    "visual",
    "vision",
    "vision_tower",
    "vision_model",
    "vision_encoder",
    "vision_adapter",
    "vision_language_adapter",
    "vision_embed_tokens",
    "multi_modal_projector",
    "mm_projector",
    "audio_tower",
    "audio_model",
    "embed_vision",
    "embed_audio",
    "mlp1",
    "patch_merger",
    "patch_conv",
    "vit",
    "vpm",
    "resampler",
    "image_newline",
    "img_processor",
];

/// The first of a name's words that stands here says what it does.
const WORDS: &[(&str, Part)] = &[
    ("mtp", Part::Draft),
    ("nextn", Part::Draft),
    ("eh_proj", Part::Draft),
    ("rotary_emb", Part::Unused),
    ("inv_freq", Part::Unused),
    ("rope_freqs", Part::Unused),
    ("embed_tokens", Part::Of(Role::Embedding)),
    ("wte", Part::Of(Role::Embedding)),
    ("word_embeddings", Part::Of(Role::Embedding)),
    ("tok_embeddings", Part::Of(Role::Embedding)),
    ("token_embd", Part::Of(Role::Embedding)),
    ("embeddings", Part::Of(Role::Embedding)),
    ("embed_positions", Part::Of(Role::Other)),
    ("wpe", Part::Of(Role::Other)),
    ("position_embd", Part::Of(Role::Other)),
    ("lm_head", Part::Of(Role::Head)),
    ("embed_out", Part::Of(Role::Head)),
    ("output_layer", Part::Of(Role::Head)),
    ("q_a_proj", Part::Of(Role::Latent)),
    ("kv_a_proj_with_mqa", Part::Of(Role::Latent)),
    ("attn_q_a", Part::Of(Role::Latent)),
    ("attn_kv_a_mqa", Part::Of(Role::Latent)),
    ("indexer", Part::Of(Role::Latent)),
    ("q_proj", Part::Of(Role::Query)),
    ("q_b_proj", Part::Of(Role::Query)),
    ("kv_b_proj", Part::Of(Role::Query)),
    ("sinks", Part::Of(Role::Query)),
    ("attn_sinks", Part::Of(Role::Query)),
    ("attn_q", Part::Of(Role::Query)),
    ("attn_q_b", Part::Of(Role::Query)),
    ("attn_kv_b", Part::Of(Role::Query)),
    ("attn_k_b", Part::Of(Role::Query)),
    ("attn_v_b", Part::Of(Role::Query)),
    ("wq", Part::Of(Role::Query)),
    ("k_proj", Part::Of(Role::KeyValue)),
    ("v_proj", Part::Of(Role::KeyValue)),
    ("attn_k", Part::Of(Role::KeyValue)),
    ("attn_v", Part::Of(Role::KeyValue)),
    ("wk", Part::Of(Role::KeyValue)),
    ("wv", Part::Of(Role::KeyValue)),
    ("qkv_proj", Part::Fused),
    ("query_key_value", Part::Fused),
    ("Wqkv", Part::Fused),
    ("wqkv", Part::Fused),
    ("W_pack", Part::Fused),
    ("c_attn", Part::Fused),
    ("attn_qkv", Part::Fused),
    ("in_proj", Part::Of(Role::Mixer)),
    ("in_proj_qkvz", Part::Of(Role::Mixer)),
    ("in_proj_ba", Part::Of(Role::Mixer)),
    ("in_proj_qkv", Part::Of(Role::Mixer)),
    ("in_proj_z", Part::Of(Role::Mixer)),
    ("in_proj_a", Part::Of(Role::Mixer)),
    ("in_proj_b", Part::Of(Role::Mixer)),
    ("conv1d", Part::Of(Role::Mixer)),
    ("x_proj", Part::Of(Role::Mixer)),
    ("dt_proj", Part::Of(Role::Mixer)),
    ("A_log", Part::Of(Role::Mixer)),
    ("D", Part::Of(Role::Mixer)),
    ("dt_bias", Part::Of(Role::Mixer)),
    ("output_gate", Part::Of(Role::Mixer)),
    ("ssm_in", Part::Of(Role::Mixer)),
    ("ssm_conv1d", Part::Of(Role::Mixer)),
    ("ssm_x", Part::Of(Role::Mixer)),
    ("ssm_dt", Part::Of(Role::Mixer)),
    ("ssm_a", Part::Of(Role::Mixer)),
    ("ssm_d", Part::Of(Role::Mixer)),
    ("ssm_ba", Part::Of(Role::Mixer)),
    ("ssm_beta_alpha", Part::Of(Role::Mixer)),
    ("attn_gate", Part::Of(Role::Mixer)),
    ("ssm_out", Part::Of(Role::Output)),
    ("o_proj", Part::Of(Role::Output)),
    ("out_proj", Part::Of(Role::Output)),
    ("wo", Part::Of(Role::Output)),
    ("attn_output", Part::Of(Role::Output)),
    ("dense", Part::Of(Role::Output)),
    ("gate_proj", Part::Of(Role::Up)),
    ("up_proj", Part::Of(Role::Up)),
    ("gate_up_proj", Part::Of(Role::Up)),
    ("gate_up_proj_blocks", Part::Of(Role::Up)),
    ("gate_up_proj_scales", Part::Of(Role::Up)),
    ("gate_up_proj_bias", Part::Of(Role::Up)),
    ("w1", Part::Of(Role::Up)),
    ("w3", Part::Of(Role::Up)),
    ("fc1", Part::Of(Role::Up)),
    ("c_fc", Part::Of(Role::Up)),
    ("dense_h_to_4h", Part::Of(Role::Up)),
    ("input_linear", Part::Of(Role::Up)),
    ("ffn_gate", Part::Of(Role::Up)),
    ("ffn_up", Part::Of(Role::Up)),
    ("ffn_gate_exps", Part::Of(Role::Up)),
    ("ffn_up_exps", Part::Of(Role::Up)),
    ("ffn_gate_up_exps", Part::Of(Role::Up)),
    ("ffn_gate_shexp", Part::Of(Role::Up)),
    ("ffn_up_shexp", Part::Of(Role::Up)),
    ("down_proj", Part::Of(Role::Down)),
    ("down_proj_blocks", Part::Of(Role::Down)),
    ("down_proj_scales", Part::Of(Role::Down)),
    ("down_proj_bias", Part::Of(Role::Down)),
    ("w2", Part::Of(Role::Down)),
    ("fc2", Part::Of(Role::Down)),
    ("c_proj", Part::Of(Role::Down)),
    ("dense_4h_to_h", Part::Of(Role::Down)),
    ("output_linear", Part::Of(Role::Down)),
    ("ffn_down", Part::Of(Role::Down)),
    ("ffn_down_exps", Part::Of(Role::Down)),
    ("ffn_down_shexp", Part::Of(Role::Down)),
    ("gate", Part::Of(Role::Router)),
    ("router", Part::Of(Role::Router)),
    ("shared_expert_gate", Part::Of(Role::Router)),
    ("e_score_correction_bias", Part::Of(Role::Router)),
    ("ffn_gate_inp", Part::Of(Role::Router)),
    ("ffn_gate_inp_shexp", Part::Of(Role::Router)),
    ("exp_probs_b", Part::Of(Role::Router)),
];

/// Last words of what stands beside a weight.
const BESIDE: &[&str] = &[
    "qzeros",
    "scales",
    "g_idx",
    "weight_scale",
    "weight_scale_inv",
    "weight_scale_2",
    "weight_global_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
    "input_scale",
    "input_global_scale",
    "k_scale",
    "v_scale",
    "q_scale",
    "absmax",
    "quant_map",
    "nested_absmax",
    "nested_quant_map",
    "SCB",
    "weight_format",
    "gate_up_proj_scales",
    "down_proj_scales",
];

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
