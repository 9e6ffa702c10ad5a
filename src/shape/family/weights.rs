//! The weights of a family's model, an entry for each kind of each layer.

use super::behind::Behind;
use super::kind::{Family, Flag, QkNorm};
use super::mixers::Mixers;
use super::recurrent::Recurrent;
use super::sizes::Sizes;
use crate::shape::error::ShapeError;
use crate::shape::keys::Keys;
use crate::shape::quantizer::Quantizer;
use crate::shape::{Format, Heads, Kv, Role, TensorSpec};

/// What the list follows from.
pub(super) struct Model<'a> {
    pub family: &'static Family,
    pub keys: Keys<'a>,
    pub sizes: &'a Sizes,
    pub mixers: Vec<Mixers>,
    pub behind: Vec<Behind>,
    pub vocab: usize,
    pub tied: bool,
    /// Weights of the tower.
    pub tower: u64,
    pub positions: usize,
}

pub(super) fn list(model: &Model, quantizer: &Quantizer) -> Result<Vec<TensorSpec>, ShapeError> {
    let (family, h) = (model.family, model.sizes.hidden);
    let mut list = List {
        model,
        quantizer,
        weights: 0,
        layer: None,
        tensors: Vec::new(),
    };
    let vocabulary = [model.vocab, h];
    list.plain("model.embed_tokens.weight", &vocabulary, Role::Embedding);
    if let Some(beyond) = family.learned_positions {
        let rows = model.positions + beyond;
        list.plain("model.embed_positions.weight", &[rows, h], Role::Other);
    }
    list.beside_layers()?;
    if model.tower > 0 {
        let tower = usize::try_from(model.tower).unwrap_or(usize::MAX);
        list.plain("visual", &[tower, 1], Role::Tower);
    }
    for layer in 0..model.sizes.layers {
        list.layer = Some(layer);
        list.layer(layer)?;
    }
    list.layer = None;
    list.norm("model.norm", if family.norms > 0 { h } else { 0 });
    if !model.tied {
        list.head(vocabulary);
    }
    if list.weights > MOST_WEIGHTS {
        return Err(ShapeError::invalid(
            model.keys.file,
            "num_hidden_layers",
            model.sizes.layers,
            "with the other sizes that is no model's",
        ));
    }
    Ok(list.tensors)
}

pub(super) struct List<'a> {
    pub(super) model: &'a Model<'a>,
    quantizer: &'a Quantizer,
    /// So far, those too that were too many to be added.
    weights: u128,
    /// Of the tensors that are added.
    layer: Option<usize>,
    tensors: Vec<TensorSpec>,
}

const PER_LAYER: &str = "hidden_size_per_layer_input";
const STREAMS: &str = "altup_num_inputs";
/// A thousand times the largest models known.
const MOST_WEIGHTS: u128 = 1 << 51;

/// Norms of a layer that have weights.
pub(super) fn norms(keys: &Keys, family: &Family) -> usize {
    // Falcon's later models have one before each of two branches.
    let falcon = keys.flag("new_decoder_architecture", false);
    family.norms + usize::from(falcon)
}

impl List<'_> {
    /// Whether `count` tensors of that shape are some, and with the others no more than a model may have.
    fn counts(&mut self, shape: &[usize], count: usize) -> bool {
        let lengths = shape.iter().map(|&length| length as u128);
        self.weights = lengths
            .fold(count as u128, u128::saturating_mul)
            .saturating_add(self.weights);
        self.weights <= MOST_WEIGHTS && !shape.contains(&0) && count > 0
    }

    pub(super) fn plain(&mut self, name: &str, shape: &[usize], role: Role) {
        if self.counts(shape, 1) {
            self.push(name.to_owned(), shape.to_vec(), role, 1);
        }
    }

    fn push(&mut self, name: String, shape: Vec<usize>, role: Role, count: usize) {
        self.tensors.push(TensorSpec {
            name,
            shape,
            role,
            format: Format::Plain,
            layer: self.layer,
            expert: None,
            count,
        });
    }

    fn norm(&mut self, module: &str, width: usize) {
        let biases = if self.model.family.norm_bias { 2 } else { 1 };
        self.plain(&format!("{module}.weight"), &[biases * width], Role::Norm);
    }

    fn head(&mut self, [rows, columns]: [usize; 2]) {
        match self.quantizer.packs_head {
            true => self.matrix("lm_head", [rows, columns], Role::Head, 1),
            false => self.plain("lm_head.weight", &[rows, columns], Role::Head),
        }
    }

    /// The weights of `count` modules alike, packed if the quantiser packs them.
    pub(super) fn matrix(&mut self, module: &str, shape: [usize; 2], role: Role, count: usize) {
        if !self.counts(&shape, count) {
            return;
        }
        let weight = TensorSpec {
            name: format!("{module}.weight"),
            shape: shape.to_vec(),
            role,
            format: Format::Plain,
            layer: self.layer,
            expert: None,
            count,
        };
        self.tensors
            .extend(self.quantizer.pack(module, weight, shape));
    }

    fn bias(&mut self, module: &str, rows: usize, role: Role, there: Flag) {
        if self.says(there) {
            self.plain(&format!("{module}.bias"), &[rows], role);
        }
    }

    /// Of `count` modules alike.
    fn biases(&mut self, module: &str, rows: usize, role: Role, count: usize) {
        if self.counts(&[rows], count) {
            self.push(format!("{module}.bias"), vec![rows], role, count);
        }
    }

    fn says(&self, flag: Flag) -> bool {
        match flag {
            Flag::Never => false,
            Flag::Always => true,
            Flag::Key(key, usual) => self.model.keys.flag(key, usual),
        }
    }

    fn layer(&mut self, layer: usize) -> Result<(), ShapeError> {
        let model = self.model;
        let module = format!("model.layers.{layer}");
        let norms = norms(&model.keys, model.family);
        self.norm(&format!("{module}.norms"), norms * model.sizes.hidden);
        let Mixers {
            kv,
            queries,
            recurrent,
            ..
        } = model.mixers[layer];
        match (kv, kv.heads()) {
            (Kv::Latent { index, .. }, _) => self.latent_attention(&module, index > 0)?,
            (Kv::Compressed(kept), _) => self.compressed_attention(&module, kept)?,
            (_, Some(heads)) => {
                // K stands for V too.
                let all = matches!(kv, Kv::Full(_));
                let one = all && model.keys.flag("attention_k_eq_v", false);
                self.attention(&module, queries, heads, one);
                let sinks = match all {
                    true => "add_full_attention_sink_bias",
                    false => "add_swa_attention_sink_bias",
                };
                if model.keys.flag(sinks, false) {
                    self.plain(
                        &format!("{module}.self_attn.sinks"),
                        &[queries],
                        Role::Query,
                    );
                }
            }
            (_, None) => {}
        }
        if let Some(recurrent) = recurrent {
            self.recurrent(&module, recurrent);
        }
        match model.behind[layer] {
            Behind::Nothing => {}
            Behind::Dense(width) => {
                self.mlp(&format!("{module}.mlp"), [width, model.sizes.hidden], 1);
            }
            Behind::Experts(experts, shared) => {
                let h = model.sizes.hidden;
                let router = [experts.count, h];
                self.plain(&format!("{module}.mlp.gate.weight"), &router, Role::Router);
                let module = format!("{module}.mlp");
                let latent = model
                    .keys
                    .count(&["routed_expert_hidden_size", "moe_latent_size"])?;
                if let Some(latent) = latent {
                    self.plain(&format!("{module}.latent"), &[2 * latent, h], Role::Other);
                }
                let shape = [experts.width, latent.unwrap_or(h)];
                self.mlp(&format!("{module}.experts.0"), shape, experts.count);
                self.mlp(&format!("{module}.shared_experts"), [shared, h], 1);
            }
        }
        self.streams(&module)?;
        self.beside_layer(&module)
    }

    /// A table of inputs for each layer, and what mixes several streams (Gemma 3n, Gemma 4).
    fn beside_layers(&mut self) -> Result<(), ShapeError> {
        let (keys, h) = (self.model.keys, self.model.sizes.hidden);
        if let Some(width) = keys.count(&[PER_LAYER])?.filter(|&width| width > 0) {
            let all = self.model.sizes.layers * width;
            let rows = keys.size(&["vocab_size_per_layer_input"])?;
            let table = "model.embed_tokens_per_layer.weight";
            self.plain(table, &[rows, all], Role::Embedding);
            let projection = "model.per_layer_model_projection.weight";
            self.plain(projection, &[all, h], Role::Other);
        }
        let streams = keys.count(&[STREAMS])?.unwrap_or(1);
        let projections = 2 * streams.saturating_sub(1) * h;
        self.plain(
            "model.altup_projections.weight",
            &[projections, h],
            Role::Other,
        );
        Ok(())
    }

    /// What a layer has of these.
    fn beside_layer(&mut self, layer: &str) -> Result<(), ShapeError> {
        let (keys, h) = (self.model.keys, self.model.sizes.hidden);
        let width = keys.count(&[PER_LAYER])?.unwrap_or(0);
        let rank = keys.count(&["laurel_rank"])?.unwrap_or(0);
        // A product of two matrices each.
        for (name, inner) in [("per_layer_input", width), ("laurel", rank)] {
            self.plain(
                &format!("{layer}.{name}.weight"),
                &[2 * inner, h],
                Role::Other,
            );
        }
        if let Some(streams) = keys.count(&[STREAMS])? {
            let coefficients = streams * streams * (streams + 1);
            let all = coefficients + (streams + 1) * h;
            self.plain(&format!("{layer}.altup.weight"), &[all, 1], Role::Other);
        }
        Ok(())
    }

    /// With so many query heads beside those that are kept; `one`: K stands for V too.
    fn attention(&mut self, layer: &str, queries: usize, kept: Heads, one: bool) {
        let (family, h) = (self.model.family, self.model.sizes.hidden);
        let [q, output] = [kept.key_dim, kept.value_dim].map(|width| queries * width);
        let [k, v] = [kept.key_dim, kept.value_dim].map(|width| kept.count * width);
        let gate = match family.gated_attention && self.model.keys.flag("attn_output_gate", true) {
            true => 2,
            false => 1,
        };
        for (name, shape, role, bias) in [
            ("q_proj", [gate * q, h], Role::Query, family.qkv_bias),
            ("k_proj", [k, h], Role::KeyValue, family.qkv_bias),
            (
                "v_proj",
                [if one { 0 } else { v }, h],
                Role::KeyValue,
                family.qkv_bias,
            ),
            ("o_proj", [h, output], Role::Output, family.o_bias),
        ] {
            let module = format!("{layer}.self_attn.{name}");
            self.matrix(&module, shape, role, 1);
            let role = match role {
                Role::Output => Role::SumBias,
                role => role,
            };
            self.bias(&module, shape[0], role, bias);
        }
        if self.model.keys.flag("use_head_wise_attn_gate", false) {
            let module = format!("{layer}.self_attn.g_proj");
            self.matrix(&module, [queries, h], Role::Query, 1);
        }
        let [queries, keys] = match family.qk_norm {
            QkNorm::Head => [kept.key_dim; 2],
            QkNorm::HeadIf(key) if self.model.keys.flag(key, false) => [kept.key_dim; 2],
            QkNorm::Whole => [q, k],
            QkNorm::WholeIf(key) if self.model.keys.flag(key, false) => [q, k],
            QkNorm::Never | QkNorm::HeadIf(_) | QkNorm::WholeIf(_) => [0, 0],
        };
        self.plain(
            &format!("{layer}.self_attn.qk_norm"),
            &[queries + keys],
            Role::Norm,
        );
    }

    /// `picks`: with an indexer of its own.
    fn latent_attention(&mut self, layer: &str, picks: bool) -> Result<(), ShapeError> {
        let (keys, sizes) = (self.model.keys, self.model.sizes);
        let (h, heads) = (sizes.hidden, sizes.heads);
        let rank = keys.size(&["kv_lora_rank"])?;
        let [nope, rope] = [
            keys.size(&["qk_nope_head_dim"])?,
            keys.size(&["qk_rope_head_dim"])?,
        ];
        let value = keys.size(&["v_head_dim"])?;
        let query = heads * (nope + rope);
        let at = |name: &str| format!("{layer}.self_attn.{name}");
        match keys.count(&["q_lora_rank"])?.filter(|&rank| rank > 0) {
            Some(rank) => {
                self.matrix(&at("q_a_proj"), [rank, h], Role::Latent, 1);
                self.plain(&at("q_a_layernorm.weight"), &[rank], Role::Norm);
                self.matrix(&at("q_b_proj"), [query, rank], Role::Query, 1);
            }
            None => self.matrix(&at("q_proj"), [query, h], Role::Query, 1),
        }
        self.matrix(&at("kv_a_proj_with_mqa"), [rank + rope, h], Role::Latent, 1);
        self.plain(&at("kv_a_layernorm.weight"), &[rank], Role::Norm);
        let both = heads * (nope + value);
        self.matrix(&at("kv_b_proj"), [both, rank], Role::Query, 1);
        self.matrix(&at("o_proj"), [h, heads * value], Role::Output, 1);
        // What picks the tokens that attention looks at (DeepSeek V3.2, GLM-5); every rank holds it.
        let indexer = keys
            .count(&["index_n_heads"])?
            .zip(keys.count(&["index_head_dim"])?)
            .filter(|_| picks);
        if let Some((heads, head_dim)) = indexer {
            let rank = keys.size(&["q_lora_rank"])?;
            self.matrix(
                &at("indexer.wq_b"),
                [heads * head_dim, rank],
                Role::Latent,
                1,
            );
            self.plain(&at("indexer.weights"), &[heads + head_dim, h], Role::Latent);
        }
        if keys.flag("mla_use_output_gate", false) {
            self.matrix(&at("g_proj"), [heads * value, h], Role::Query, 1);
        }
        Ok(())
    }

    fn recurrent(&mut self, layer: &str, recurrent: Recurrent) {
        let h = self.model.sizes.hidden;
        let at = |name: &str| format!("{layer}.mixer.{name}");
        self.matrix(&at("in_proj"), [recurrent.inputs, h], Role::Mixer, 1);
        let [channels, taps] = recurrent.conv;
        self.plain(&at("conv1d.weight"), &[channels, taps], Role::Mixer);
        self.plain(&at("within"), &[recurrent.within, 1], Role::Mixer);
        self.matrix(&at("out_proj"), [h, recurrent.output], Role::Output, 1);
    }

    /// `count` of them, alike: of so many features inside and outside.
    fn mlp(&mut self, module: &str, [width, h]: [usize; 2], count: usize) {
        let family = self.model.family;
        let inputs: &[&str] = match family.gated {
            true => &["gate_proj", "up_proj"],
            false => &["up_proj"],
        };
        for name in inputs {
            self.matrix(&format!("{module}.{name}"), [width, h], Role::Up, count);
        }
        self.matrix(
            &format!("{module}.down_proj"),
            [h, width],
            Role::Down,
            count,
        );
        if self.says(family.mlp_bias) && width > 0 {
            let inside = inputs.len() * width;
            self.biases(&format!("{module}.up_proj"), inside, Role::Up, count);
            self.biases(&format!("{module}.down_proj"), h, Role::SumBias, count);
        }
    }
}
