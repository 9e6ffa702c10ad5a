//! A model's shape from the header of a GGUF file.

use serde_json::{Map, Value};

use super::error::ShapeError;
use super::family;
use super::headers::{Measured, measure};
use super::keys::Keys;
use super::{Code, Heads, Kv, Method, ModelShape, Quantization, Scheme, WeightType};
use crate::ground::gguf_header::{GgmlType, GgufHeader, Said};

/// `model_type` of what ggml names otherwise.
const NAMES: &[(&str, &str)] = &[
    ("qwen2moe", "qwen2_moe"),
    ("qwen2vl", "qwen2_vl"),
    ("qwen3moe", "qwen3_moe"),
    ("qwen3vl", "qwen3_vl"),
    ("qwen3vlmoe", "qwen3_vl_moe"),
    ("qwen3next", "qwen3_next"),
    ("qwen35", "qwen3_5"),
    ("qwen35moe", "qwen3_5_moe"),
    ("gemma3", "gemma3_text"),
    ("phi2", "phi"),
    ("command-r", "cohere"),
    ("deepseek2", "deepseek_v2"),
    ("gpt-oss", "gpt_oss"),
    ("glm4moe", "glm4_moe"),
    ("falcon-h1", "falcon_h1"),
    ("granitehybrid", "granitemoehybrid"),
    ("minimax-m2", "minimax_m2"),
    ("mistral3", "mistral"),
    ("gemma4", "gemma4_text"),
    ("gemma3n", "gemma3n_text"),
    ("deci", "nemotron-nas"),
    ("kimi-linear", "kimi_linear"),
    ("lfm2moe", "lfm2_moe"),
];

/// Keys of a configuration, and the ends of ggml's keys for them.
const KEYS: &[(&str, &str)] = &[
    ("hidden_size", "embedding_length"),
    ("num_hidden_layers", "block_count"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("max_position_embeddings", "context_length"),
    ("vocab_size", "vocab_size"),
    ("sliding_window", "attention.sliding_window"),
    ("num_experts", "expert_count"),
    ("num_experts_per_tok", "expert_used_count"),
    ("moe_intermediate_size", "expert_feed_forward_length"),
    ("first_k_dense_replace", "leading_dense_block_count"),
    ("kv_lora_rank", "attention.kv_lora_rank"),
    ("q_lora_rank", "attention.q_lora_rank"),
    ("mamba_d_conv", "ssm.conv_kernel"),
    ("mamba_d_state", "ssm.state_size"),
    ("mamba_d_ssm", "ssm.inner_size"),
    ("mamba_n_groups", "ssm.group_count"),
    ("attention_chunk_size", "attention.chunk_size"),
    ("num_kv_shared_layers", "attention.shared_kv_layers"),
    ("conv_L_cache", "shortconv.l_cache"),
];

/// Ends of keys that only models with recurrent layers have.
const RECURRENT: [&str; 3] = ["ssm.state_size", "shortconv.l_cache", "kda.head_dim"];

/// The shape of what `header` describes; `file` names it.
///
/// # Errors
/// It does not say what a decoder is made of.
pub fn read(header: &GgufHeader, file: &str) -> Result<ModelShape, ShapeError> {
    let config = config(header, file)?;
    let mut shape = family::outline_of(&Keys::new(&config, file))?;
    if let Some(head_dim) = whole_heads(header) {
        shape.assumptions.push("the file is older than the split of its latents (April 2025): K and V of every head are kept".to_owned());
        let heads = Heads::alike(shape.num_attention_heads, head_dim);
        for layer in &mut shape.layers {
            if let Kv::Latent { .. } = layer.kv {
                layer.kv = Kv::Full(heads);
            }
        }
    }
    shape.weight_type = Some(WeightType::F16);
    // Columns come first there.
    let shapes: Vec<Vec<usize>> = header
        .tensors
        .iter()
        .map(|tensor| tensor.shape.iter().rev().map(|&n| n as usize).collect())
        .collect();
    let tensors = header
        .tensors
        .iter()
        .zip(&shapes)
        .map(|(tensor, shape)| Measured {
            name: &tensor.name,
            shape,
            bytes: tensor.size,
            // They are held as they are stored.
            plain: false,
            parameters: tensor.shape.iter().product(),
        });
    if !measure(&mut shape, tensors) {
        return Err(ShapeError::Damaged {
            file: file.to_owned(),
            reason: "its headers tell of more bytes than any model has".to_owned(),
        });
    }
    shape.quantization = most(header).map(|kind| {
        Quantization::Other(Scheme {
            method: Method::Gguf,
            code: Code::Int,
            bits: (8 * kind.bytes / kind.elements) as usize,
            group: Some(kind.elements as usize),
            activations: false,
            act_order: false,
        })
    });
    Ok(shape)
}

/// Half of what a head keeps in files that have no tensors to keep latents by; `None`: they have, or there are no latents.
fn whole_heads(header: &GgufHeader) -> Option<usize> {
    let own = match header.said.get("general.architecture") {
        Some(Said::Text(own)) => own,
        _ => return None,
    };
    let count = |end: &str| match header.said.get(&format!("{own}.attention.{end}")) {
        Some(Said::Count(count)) => usize::try_from(*count).ok(),
        _ => None,
    };
    count("kv_lora_rank")?;
    match count("key_length_mla") {
        Some(_) => None,
        None => Some((count("key_length")? + count("value_length")?) / 2),
    }
}

/// The type of most of the weights; `None`: they are plain floats.
fn most(header: &GgufHeader) -> Option<GgmlType> {
    let mut sizes: Vec<(GgmlType, u64)> = Vec::new();
    for tensor in &header.tensors {
        match sizes.iter_mut().find(|(kind, _)| *kind == tensor.kind) {
            Some((_, size)) => *size = size.saturating_add(tensor.size),
            None => sizes.push((tensor.kind, tensor.size)),
        }
    }
    let largest = sizes.into_iter().max_by_key(|(_, size)| *size);
    largest
        .map(|(kind, _)| kind)
        .filter(|kind| !kind.is_plain())
}

/// The header in the words of a `config.json`.
fn config(header: &GgufHeader, file: &str) -> Result<Map<String, Value>, ShapeError> {
    let Some(Said::Text(own)) = header.said.get("general.architecture") else {
        return Err(ShapeError::Missing {
            file: file.to_owned(),
            key: "general.architecture".to_owned(),
        });
    };
    let said = |end: &str| header.said.get(&format!("{own}.{end}"));
    let mut config = Map::new();
    let name = NAMES.iter().find(|(ggml, _)| ggml == own);
    config.insert(
        "model_type".to_owned(),
        name.map_or(own.as_str(), |(_, name)| name).into(),
    );
    for (key, end) in KEYS {
        let value = match said(end) {
            Some(Said::Count(count)) => Some(*count),
            // One for each layer: of heads those of a layer that has some.
            Some(Said::Counts(counts)) => counts.iter().max().copied(),
            _ => None,
        };
        if let Some(value) = value {
            config.insert((*key).to_owned(), value.into());
        }
    }
    if let Some(Said::Counts(heads)) = said("attention.head_count_kv") {
        let recurrent = RECURRENT.iter().any(|end| said(end).is_some());
        if recurrent && heads.contains(&0) {
            let kind = |heads: &u64| match heads {
                0 => "mamba",
                _ => "full_attention",
            };
            let kinds: Vec<&str> = heads.iter().map(kind).collect();
            config.insert("layer_types".to_owned(), kinds.into());
        } else if heads.iter().any(|&of_layer| of_layer != heads[0]) {
            let key = "num_key_value_heads_per_layer";
            config.insert(key.to_owned(), heads.clone().into());
        }
    }
    if let Some(Said::Counts(windows)) = said("attention.sliding_window_pattern") {
        let kind = |window: &u64| match window {
            0 => "full_attention",
            _ => "sliding_attention",
        };
        let kinds: Vec<&str> = windows.iter().map(kind).collect();
        config.insert("layer_types".to_owned(), kinds.into());
    }
    if let Some(Said::Count(in_windows)) = said("attention.key_length_swa") {
        let of_all = config.insert("head_dim".to_owned(), (*in_windows).into());
        config.insert("global_head_dim".to_owned(), of_all.into());
    }
    if let Some(Said::Count(head_dim)) = said("kda.head_dim") {
        let count = |key: &str| config.get(key).cloned().unwrap_or_default();
        let linear = [
            ("head_dim".to_owned(), (*head_dim).into()),
            ("num_heads".to_owned(), count("num_attention_heads")),
            ("short_conv_kernel_size".to_owned(), count("mamba_d_conv")),
        ];
        let linear: Map<String, Value> = linear.into_iter().collect();
        config.insert("linear_attn_config".to_owned(), linear.into());
    }
    if let Some(Said::Count(heads)) = said("ssm.time_step_rank") {
        // Mamba has a rank there, its successor heads, which then divide what is inside.
        let inner = config
            .get("mamba_d_ssm")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let grouped = said("ssm.group_count").is_some();
        let key = if grouped && *heads > 0 && inner.is_multiple_of(*heads) {
            "mamba_n_heads"
        } else {
            "mamba_dt_rank"
        };
        config.insert(key.to_owned(), (*heads).into());
    }
    if config.contains_key("kv_lora_rank")
        && let Some(Said::Count(rope)) = said("rope.dimension_count")
    {
        config.insert("qk_rope_head_dim".to_owned(), (*rope).into());
        // That of the latents, which no head has.
        config.remove("head_dim");
    }
    if !config.contains_key("vocab_size") {
        let tokens = match header.said.get("tokenizer.ggml.tokens") {
            Some(Said::Many(tokens)) => Some(*tokens),
            Some(Said::Counts(tokens)) => Some(tokens.len() as u64),
            _ => None,
        };
        let embedding = header
            .tensors
            .iter()
            .find(|tensor| tensor.name == "token_embd.weight");
        let rows = embedding.and_then(|tensor| tensor.shape.last().copied());
        if let Some(rows) = rows.or(tokens) {
            config.insert("vocab_size".to_owned(), rows.into());
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KV elements of a token, and elements of the states of a sequence.
    fn kept(architecture: &str, values: &[(&str, Said)]) -> (usize, usize) {
        let text = |text: &str| Said::Text(text.to_owned());
        let own = values.iter().map(|(end, value)| {
            let key = format!("{architecture}.{end}");
            (key, value.clone())
        });
        let usual = [
            ("embedding_length", 1024),
            ("context_length", 4096),
            ("vocab_size", 1000),
        ];
        let usual = usual.map(|(end, count)| (format!("{architecture}.{end}"), Said::Count(count)));
        let mut said: std::collections::HashMap<String, Said> = own.chain(usual).collect();
        said.insert("general.architecture".to_owned(), text(architecture));
        let header = GgufHeader {
            said,
            tensors: Vec::new(),
        };
        let shape = read(&header, "m.gguf").unwrap();
        let states = shape.layers.iter().filter_map(|layer| layer.state);
        let states = states.map(|state| state.conv + state.temporal).sum();
        (shape.kv_elements_per_token(1), states)
    }

    #[test]
    fn layers_keep_what_lists_in_the_header_say() {
        let heads = ("attention.head_count", Said::Count(8));
        let width = ("attention.key_length", Said::Count(128));
        let layers = ("block_count", Said::Count(4));
        let lists = |heads: [u64; 4]| ("attention.head_count_kv", Said::Counts(heads.to_vec()));
        let base = [heads, width, layers];
        let with = |more: Vec<(&'static str, Said)>| [base.to_vec(), more].concat();
        // Nothing where there is no attention.
        let nas = with(vec![lists([2, 0, 0, 4])]);
        assert_eq!(kept("deci", &nas), (2 * 128 * (2 + 4), 0));
        let windows = (
            "attention.sliding_window_pattern",
            Said::Counts(vec![1, 0, 1, 0]),
        );
        let size = ("attention.sliding_window", Said::Count(512));
        let in_windows = ("attention.key_length_swa", Said::Count(64));
        let shared = ("attention.shared_kv_layers", Said::Count(2));
        let gemma = with(vec![lists([4, 2, 4, 2]), windows, size, in_windows, shared]);
        assert_eq!(kept("gemma4", &gemma), (2 * (4 * 64 + 2 * 128), 0));
        let taps = ("shortconv.l_cache", Said::Count(3));
        let lfm = with(vec![lists([0, 4, 0, 0]), taps]);
        assert_eq!(kept("lfm2", &lfm), (2 * 4 * 128, 3 * 1024 * 2));
    }

    #[test]
    fn latents_are_kept_by_files_that_split_them() {
        let text = |text: &str| Said::Text(text.to_owned());
        let old = [
            ("general.architecture", text("deepseek2")),
            ("deepseek2.attention.kv_lora_rank", Said::Count(512)),
            ("deepseek2.attention.key_length", Said::Count(192)),
            ("deepseek2.attention.value_length", Said::Count(128)),
        ];
        let said = old.map(|(key, value)| (key.to_owned(), value));
        let mut header = GgufHeader {
            said: said.into_iter().collect(),
            tensors: Vec::new(),
        };
        // 128 heads of 320 in each of 61 layers are what a build of February 2025 logged for DeepSeek-R1.
        assert_eq!(whole_heads(&header), Some(160));
        let key = "deepseek2.attention.key_length_mla".to_owned();
        header.said.insert(key, Said::Count(192));
        assert_eq!(whole_heads(&header), None);
        header.said.remove("deepseek2.attention.kv_lora_rank");
        assert_eq!(whole_heads(&header), None);
    }
}
