//! What a checkpoint is, in figures: what `models M` prints.

use serde::Serialize;

use super::error::SessionError;
use super::reading::{Reading, read};
use crate::ground::Progress;
use crate::shape::{Format, Kv, ModelShape, Quantization, Role, TensorSpec, WeightType};
use crate::text::ChatTemplate;

/// Weights of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoleSum {
    /// `embedding`, `attention`, `recurrent`, `mlp`, `experts`, `router`, `norms`, `head`, `tower` or `other`.
    pub role: &'static str,
    /// Weights.
    pub parameters: u64,
    /// As they are stored.
    pub bytes: u64,
    /// Bits of a weight, scales included.
    pub bits_per_parameter: f64,
}

/// Layers that keep the same of a token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KvLayers {
    /// `full`, `window`, `chunked`, `latent` or `none`.
    pub kind: &'static str,
    /// So many of them.
    pub layers: usize,
    /// Tokens that one sees at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Of all these layers together.
    pub bytes_per_token: u64,
    /// Of all these layers together, whatever the length; 0: they are not recurrent.
    pub state_bytes_per_sequence: u64,
}

/// A model, by its files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// As it was asked for.
    pub name: String,
    /// `model_type` of its configuration.
    pub family: String,
    /// This program's engine runs it.
    pub runnable: bool,
    /// `headers` of the weights, or the `configuration` alone.
    pub source: &'static str,
    /// All weights.
    pub parameters: u64,
    /// Of those, what one token is multiplied with; the embedding counts as a whole.
    pub active_parameters: u64,
    /// Of all weights, as they are stored.
    pub weight_bytes: u64,
    /// Of weights that are not quantised.
    pub dtype: Option<WeightType>,
    /// `quant_method`, or `fp8` in blocks.
    pub quantization: Option<String>,
    /// The same by what they do.
    pub roles: Vec<RoleSum>,
    /// Decoder layers.
    pub layers: usize,
    /// Features between them.
    pub hidden_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// KV heads; of latents attention heads.
    pub num_key_value_heads: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// The embedding is the head.
    pub tie_word_embeddings: bool,
    /// Longest context.
    pub context: usize,
    /// On one GPU, in the activations' type; of layers with a window as of all others.
    pub kv_bytes_per_token: u64,
    /// What recurrent layers keep of each sequence.
    pub state_bytes_per_sequence: u64,
    /// The same by kind of layer.
    pub kv_layers: Vec<KvLayers>,
    /// The checkpoint states scales of a KV cache in FP8.
    pub kv_cache_in_fp8: bool,
    /// As the configuration has it.
    pub rope: Option<serde_json::Value>,
    /// There is a chat template; `None`: there is no directory to have one.
    pub chat_template: Option<bool>,
    /// What was taken for granted, and what is odd.
    pub oddities: Vec<String>,
}

/// What `model` is.
///
/// # Errors
/// There is no such model, the hub failed, or its files do not tell what it is made of.
pub fn describe(model: &str, progress: &dyn Progress) -> Result<Description, SessionError> {
    let reading = read(model, None, progress)?;
    let shape = &reading.shape;
    let dtype = shape.weight_type.unwrap_or_default();
    let (chat_template, mut oddities) = template(&reading);
    oddities.splice(0..0, shape.assumptions.clone());
    let element = dtype.bytes();
    let roles = roles(shape, &reading);
    Ok(Description {
        name: reading.name.clone(),
        family: shape.family.clone(),
        runnable: reading.runnable,
        source: if reading.from_headers {
            "headers"
        } else {
            "configuration"
        },
        parameters: roles.iter().map(|sum| sum.parameters).sum(),
        active_parameters: active(shape),
        weight_bytes: roles.iter().map(|sum| sum.bytes).sum(),
        dtype: shape.weight_type,
        quantization: shape.quantization.map(|quantization| match quantization {
            Quantization::Fp8 { .. } => "fp8".to_owned(),
            Quantization::Other(scheme) => scheme.method.name().to_owned(),
        }),
        roles,
        layers: shape.layers.len(),
        hidden_size: shape.hidden_size,
        num_attention_heads: shape.num_attention_heads,
        num_key_value_heads: shape.num_key_value_heads(),
        vocab_size: shape.vocab_size,
        tie_word_embeddings: shape.tie_word_embeddings,
        context: shape.positions,
        kv_bytes_per_token: shape.kv_bytes_per_token(1, element) as u64,
        state_bytes_per_sequence: shape.state_bytes_per_sequence(1, element) as u64,
        kv_layers: kv_layers(shape, element),
        kv_cache_in_fp8: shape.kv_in_fp8,
        rope: rope(&reading),
        chat_template,
        oddities,
    })
}

fn roles(shape: &ModelShape, reading: &Reading) -> Vec<RoleSum> {
    let element = shape.weight_type.unwrap_or_default().bytes();
    let stored = |tensor: &TensorSpec| {
        let found = reading
            .stored
            .as_ref()
            .and_then(|stored| stored.get(&tensor.name));
        found.copied()
    };
    let mut sums: Vec<RoleSum> = Vec::new();
    for tensor in shape.tensors.iter() {
        let role = role(tensor);
        let elements = tensor.elements();
        let (parameters, bytes) = match tensor.format {
            Format::Packed { .. } => (elements, tensor.packed_bytes(elements)),
            Format::Fp8 => (elements, elements),
            Format::Scale { .. } => (0, elements * stored(tensor).unwrap_or(4) as u64),
            Format::Plain | Format::Loose => (
                elements,
                elements * stored(tensor).unwrap_or(element) as u64,
            ),
        };
        match sums.iter_mut().find(|sum| sum.role == role) {
            Some(sum) => {
                sum.parameters += parameters;
                sum.bytes += bytes;
            }
            None => sums.push(RoleSum {
                role,
                parameters,
                bytes,
                bits_per_parameter: 0.0,
            }),
        }
    }
    for sum in &mut sums {
        sum.bits_per_parameter = 8.0 * sum.bytes as f64 / sum.parameters.max(1) as f64;
    }
    sums
}

fn role(tensor: &TensorSpec) -> &'static str {
    let expert = tensor.count > 1 || tensor.expert.is_some();
    match tensor.role {
        Role::Embedding => "embedding",
        Role::Head => "head",
        Role::Query | Role::KeyValue | Role::Latent | Role::Output => "attention",
        Role::Mixer => "recurrent",
        Role::Up | Role::Down if expert => "experts",
        Role::Up | Role::Down | Role::SumBias => "mlp",
        Role::Router => "router",
        Role::Norm => "norms",
        Role::Tower => "tower",
        Role::Other => "other",
    }
}

fn active(shape: &ModelShape) -> u64 {
    let of = |tensor: &TensorSpec| {
        let elements = match tensor.format {
            Format::Scale { .. } => 0,
            _ => tensor.elements(),
        };
        let layer = tensor.layer.and_then(|layer| shape.layers.get(layer));
        match layer.and_then(|layer| layer.mlp.experts()) {
            Some(experts) if role(tensor) == "experts" => {
                (u128::from(elements) * experts.per_token as u128 / experts.count.max(1) as u128)
                    as u64
            }
            _ => elements,
        }
    };
    shape.tensors.iter().map(of).sum()
}

fn kv_layers(shape: &ModelShape, element: usize) -> Vec<KvLayers> {
    let mut kinds: Vec<KvLayers> = Vec::new();
    for layer in &shape.layers {
        let kind = match layer.kv {
            Kv::Full(_) => "full",
            Kv::Window { .. } => "window",
            Kv::Chunked { .. } => "chunked",
            Kv::Latent { .. } => "latent",
            Kv::Compressed(_) => "compressed",
            Kv::Nothing => "none",
        };
        let window = layer.kv.window();
        let token = layer.kv.bytes_per_token(1, element) as u64;
        let state = layer.state.map_or(0, |state| state.bytes(1, element)) as u64;
        match kinds.iter_mut().find(|known| {
            (known.kind, known.window) == (kind, window)
                && (known.state_bytes_per_sequence > 0) == (state > 0)
        }) {
            Some(known) => {
                known.layers += 1;
                known.bytes_per_token += token;
                known.state_bytes_per_sequence += state;
            }
            None => kinds.push(KvLayers {
                kind,
                layers: 1,
                window,
                bytes_per_token: token,
                state_bytes_per_sequence: state,
            }),
        }
    }
    kinds
}

/// `rope_scaling` or `rope_parameters`, else the base alone.
fn rope(reading: &Reading) -> Option<serde_json::Value> {
    let text = &reading.source.as_ref()?.config_json;
    let config: serde_json::Value = serde_json::from_str(text).ok()?;
    let inner = config.get("text_config").unwrap_or(&config);
    let keys = ["rope_scaling", "rope_parameters", "rope_theta"];
    let found = keys
        .iter()
        .find_map(|key| inner.get(*key).filter(|value| !value.is_null()));
    found.cloned()
}

/// Whether there is one, and what is wrong with it.
fn template(reading: &Reading) -> (Option<bool>, Vec<String>) {
    let Some(dir) = reading
        .source
        .as_ref()
        .and_then(|source| source.dir.as_ref())
    else {
        return (None, Vec::new());
    };
    match ChatTemplate::load(dir) {
        Ok(template) => (Some(template.is_some()), Vec::new()),
        Err(error) => (Some(true), vec![error.to_string()]),
    }
}
