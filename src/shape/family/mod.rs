//! A model's shape from its `config.json` alone: the table of families, and what their keys say.

mod behind;
mod blocks;
mod compressed;
mod compressed_weights;
mod heads;
mod hybrids;
mod kind;
mod mixers;
mod recurrent;
mod sizes;
mod table;
mod tower;
mod ungated;
mod weights;

use serde_json::{Map, Value};

use self::behind::{Behind, behind};
use self::hybrids::HYBRIDS;
use self::kind::Family;
use self::mixers::mixers;
use self::sizes::Sizes;
use self::table::FAMILIES;
use self::ungated::UNGATED;
use self::weights::{Model, list};
use super::error::ShapeError;
use super::keys::Keys;
use super::quantizer::Quantizer;
use super::{Layer, Mlp, ModelShape, WeightType};

/// Where the decoder of a model with other parts is described.
const NESTED: [&str; 4] = [
    "text_config",
    "llm_config",
    "language_config",
    "thinker_config",
];
/// Of them those that stand outside of it too.
const OUTSIDE: [&str; 6] = [
    "tie_word_embeddings",
    "vocab_size",
    "torch_dtype",
    "dtype",
    "max_position_embeddings",
    "model_type",
];
/// Elements that a token takes in all layers, a hundred times those of the largest models known.
const MOST_KEPT: u128 = 1 << 28;
/// And a sequence in one layer, a thousand times.
const MOST_STATE: u128 = 1 << 36;

/// The decoder's part of a configuration: itself, where no part of it is one.
pub(super) fn decoder(config: &Map<String, Value>) -> Map<String, Value> {
    let mut inner = config;
    let mut depth = 0;
    while let Some(next) = NESTED.iter().find_map(|key| inner.get(*key)?.as_object())
        && depth < NESTED.len()
    {
        (inner, depth) = (next, depth + 1);
    }
    let mut own = inner.clone();
    let outer = config.get("model_type").and_then(Value::as_str);
    if depth > 0
        && !own.contains_key("model_type")
        && outer.is_some_and(|name| name.starts_with("llava"))
    {
        own.insert("model_type".to_owned(), "llama".into());
    }
    if depth > 0 {
        for key in OUTSIDE {
            if let (None, Some(value)) = (own.get(key), config.get(key)) {
                own.insert(key.to_owned(), value.clone());
            }
        }
    }
    own
}

fn all() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().chain(UNGATED).chain(HYBRIDS)
}

/// The family that goes by `model_type`.
fn find(model_type: &str) -> Option<&'static Family> {
    all().find(|family| family.names.contains(&model_type))
}

/// What a configuration calls its model.
pub(super) fn model_type<'a>(config: &'a Keys) -> &'a str {
    let class = || config.texts("architectures").ok()?.first().copied();
    let kind = config.text("model_type").or_else(class);
    kind.unwrap_or("of no name")
}

/// The shape of what `config` describes, whose weights `quantizer` packed.
///
/// # Errors
/// The family is not known, or a size is missing or absurd.
pub(super) fn describe(config: &Keys, quantizer: &Quantizer) -> Result<ModelShape, ShapeError> {
    let own = decoder(config.map);
    let keys = Keys::new(&own, config.file);
    let name = model_type(&keys).to_owned();
    let family = find(&name).ok_or_else(|| ShapeError::Family {
        file: config.file.to_owned(),
        found: name.clone(),
    })?;
    let mut shape = outline(config, &keys, family)?;
    let keys = Keys {
        defaults: family.defaults,
        ..keys
    };
    let sizes = Sizes::read(&keys)?;
    let model = Model {
        family,
        keys,
        sizes: &sizes,
        mixers: mixers(&keys, family, &sizes)?,
        behind: behind(&keys, &sizes)?,
        vocab: shape.vocab_size,
        tied: shape.tie_word_embeddings,
        tower: tower::parameters(config, sizes.hidden)?,
        positions: shape.positions,
    };
    shape.tensors = list(&model, quantizer)?.into();
    shape.quantization = quantizer.quantization;
    shape.kv_in_fp8 = quantizer.kv_in_fp8;
    shape.assumptions.extend(quantizer.assumptions.clone());
    Ok(shape)
}

/// All but the weights, for a family that is known or, where headers tell the weights, for any other.
pub(super) fn outline_of(config: &Keys) -> Result<ModelShape, ShapeError> {
    let own = decoder(config.map);
    let keys = Keys::new(&own, config.file);
    let name = model_type(&keys).to_owned();
    match find(&name) {
        Some(family) => outline(config, &keys, family),
        None => {
            // As Llama, with the keys that there are.
            let mut shape = outline(config, &keys, &FAMILIES[0])?;
            shape.assumptions.push(format!(
                "nothing is known of the model type {name:?}: its weights are those of the headers, and what its layers keep of a token is taken for attention as its configuration's usual keys have it"
            ));
            Ok(shape)
        }
    }
}

fn outline(config: &Keys, keys: &Keys, family: &'static Family) -> Result<ModelShape, ShapeError> {
    let keys = &Keys {
        defaults: family.defaults,
        ..*keys
    };
    let sizes = Sizes::read(keys)?;
    let vocab_size = keys.size(&["vocab_size", "padded_vocab_size"])?;
    let mixers = mixers(keys, family, &sizes)?;
    let queries = mixers.iter().map(|mixers| mixers.queries).max();
    let layers = mixers.into_iter().zip(behind(keys, &sizes)?);
    let layers = layers.map(|(mixers, behind)| Layer {
        kv: mixers.kept(),
        state: mixers.recurrent.map(|recurrent| recurrent.state),
        mlp: match behind {
            Behind::Nothing => Mlp::Dense { width: 0 },
            Behind::Dense(width) => Mlp::Dense { width },
            Behind::Experts(experts, _) => Mlp::Experts(experts),
        },
    });
    let latent = keys
        .count(&["qk_nope_head_dim"])?
        .zip(keys.count(&["qk_rope_head_dim"])?);
    let layers: Vec<Layer> = layers.collect();
    let states = layers.iter().filter_map(|layer| layer.state);
    let state = states.map(|state| state.conv as u128 + state.temporal as u128);
    let tokens = layers.iter().map(|layer| layer.kv.elements_per_token(1));
    for (what, kept, most) in [
        ("a layer's state", state.max().unwrap_or(0), MOST_STATE),
        (
            "what a token keeps",
            tokens.sum::<usize>() as u128,
            MOST_KEPT,
        ),
    ] {
        if kept > most {
            let rule = format!("of {most} elements at most, so the sizes are no model's");
            return Err(ShapeError::invalid(keys.file, what, kept, rule));
        }
    }
    let positions = positions(keys)?;
    let mut assumptions = Vec::new();
    if keys
        .list("cross_attention_layers")?
        .is_some_and(|list| !list.is_empty())
    {
        assumptions.push("layers that look at images are taken to keep as much for a token as the others, for which engines reserve it".to_owned());
    }
    Ok(ModelShape {
        family: model_type(keys).to_owned(),
        hidden_size: sizes.hidden,
        num_attention_heads: queries.unwrap_or(sizes.heads),
        head_dim: latent.map_or(sizes.head_dim, |(nope, rope)| nope + rope),
        vocab_size,
        norms: norms(keys, family),
        streams: keys.count(&["hc_mult"])?.unwrap_or(1),
        positions,
        rotary_rows: rotary_rows(keys, positions),
        tie_word_embeddings: keys.flag("tie_word_embeddings", family.tied),
        weight_type: weight_type(keys).or_else(|| weight_type(config)),
        quantization: None,
        kv_in_fp8: false,
        layers,
        tensors: Vec::new().into(),
        images: tower::images(config)?,
        assumptions,
    })
}

/// Norms of a layer, those without weights among them.
fn norms(keys: &Keys, family: &Family) -> usize {
    match weights::norms(keys, family) {
        0 => 2,
        norms => norms,
    }
}

/// Longest context; those of a stretched rotary embedding too.
fn positions(keys: &Keys) -> Result<usize, ShapeError> {
    let names = [
        "max_position_embeddings",
        "seq_length",
        "n_positions",
        "max_sequence_length",
        "model_max_length",
    ];
    let written = keys.length(&names)?.ok_or_else(|| ShapeError::Missing {
        file: keys.file.to_owned(),
        key: names[0].to_owned(),
    })?;
    let rope = keys
        .object("rope_scaling")
        .or_else(|| keys.object("rope_parameters"));
    let Some(rope) = rope else {
        return Ok(written);
    };
    let kind = rope.text("rope_type").or_else(|| rope.text("type"));
    let factor = rope.number("factor").unwrap_or(1.0);
    let original = "original_max_position_embeddings";
    let original = rope.number(original).or_else(|| keys.number(original));
    // Gemma 3 writes the length that it reaches.
    let gemma = has_two_tables(keys);
    let stretched = match kind {
        Some("yarn") => original.unwrap_or(written as f64) * factor,
        Some("linear" | "dynamic") if !gemma => written as f64 * factor,
        _ => 0.0,
    };
    // Beyond what anything addresses it is not believed.
    Ok(match stretched < (1_u64 << 31) as f64 {
        true => written.max(stretched as usize),
        false => written,
    })
}

/// Gemma 3 and 4 rotate layers that see all tokens by another base.
fn has_two_tables(keys: &Keys) -> bool {
    let name = model_type(keys);
    name.starts_with("gemma3") || name.starts_with("gemma4")
}

/// Positions in steps of a fraction are in one table up to the stretched end (`LinearScalingRotaryEmbedding`), and layers
/// of two bases have two tables.
fn rotary_rows(keys: &Keys, positions: usize) -> usize {
    let rope = keys.object("rope_scaling");
    let linear = rope.filter(|rope| {
        let kind = rope.text("rope_type").or_else(|| rope.text("type"));
        kind == Some("linear")
    });
    let factor = linear.and_then(|rope| rope.number("factor"));
    let stretched = factor.map_or(0.0, |factor| positions as f64 * factor.max(1.0));
    match (has_two_tables(keys), stretched < (1_u64 << 31) as f64) {
        (true, true) => positions + positions.max(stretched as usize),
        // Its positions are stretched already.
        _ => positions,
    }
}

pub(super) fn weight_type(keys: &Keys) -> Option<WeightType> {
    let name = keys.text("dtype").or_else(|| keys.text("torch_dtype"))?;
    match name.trim_start_matches("torch.") {
        "bfloat16" => Some(WeightType::Bf16),
        "float16" | "half" => Some(WeightType::F16),
        "float32" | "float" => Some(WeightType::F32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_stands_for_one_family() {
        let names: Vec<&str> = all().flat_map(|f| f.names).copied().collect();
        let different: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(different.len(), names.len());
        assert!(find("gemma2").is_some() && find("gemma99").is_none());
    }
}
