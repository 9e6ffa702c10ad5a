//! The files and shapes of a model, before any weight is loaded.

use std::sync::Arc;

use candle_core::DType;
use time::OffsetDateTime;

use super::device::Device;
use super::error::{SessionError, Wish};
use super::kv::{cpu_kv_dtype, kv_dtype};
use super::model::Model;
use super::options::{DEFAULT_MODEL, EngineOptions};
use crate::ground::{Progress, results};
use crate::hub::{self, HubSettings, ModelSource, ResolveOptions, WeightFiles};
use crate::model::weights::Stoppable;
use crate::model::{Checkpoint, DummyWeights, WeightSource, dummy};
use crate::parallel::ShardPlan;
use crate::shape::ModelShape;
use crate::text::{ChatTemplate, Conversation, GenerationConfig, TokenPool, Tokenizer, end_tokens};

/// What a model is and where its files lie, split over the ranks that were asked for.
pub struct ModelFiles {
    /// What was asked for.
    pub options: EngineOptions,
    /// What was found for it.
    pub device: Device,
    /// Where the files lie.
    pub source: ModelSource,
    /// What it is, of the layers that were asked for.
    pub model: Model,
    /// Of its shape.
    pub plan: Arc<ShardPlan>,
    /// `None`: prompts are token ids.
    pub tokenizer: Option<Tokenizer>,
    /// Layers of the model, of which fewer may be kept.
    pub model_layers: usize,
}

impl ModelFiles {
    /// # Errors
    /// An option is out of its range, there is no such model or device, or one cannot do what was asked.
    pub fn find(options: &EngineOptions, progress: &dyn Progress) -> Result<Self, SessionError> {
        options.check()?;
        let device = Device::of(options)?;
        let resolve = ResolveOptions {
            // Nothing is read for a device that holds nothing.
            dummy_weights: options.dummy_weights || device.is_simulated(),
            settings: HubSettings::from_env(),
        };
        let source = hub::resolve(&options.model, &resolve, progress)?;
        let mut files = Self::in_source(options, device, source, progress)?;
        if let (Some(dir), Some(_)) = (&files.source.dir, files.source.tokenizer_json()) {
            files.tokenizer = Some(Tokenizer::load(dir).map_err(Wish::from)?);
        }
        Ok(files)
    }

    /// Of a model whose files were looked up before; prompts are token ids.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn of(
        options: &EngineOptions,
        source: ModelSource,
        progress: &dyn Progress,
    ) -> Result<Self, SessionError> {
        options.check()?;
        Self::in_source(options, Device::of(options)?, source, progress)
    }

    fn in_source(
        options: &EngineOptions,
        device: Device,
        source: ModelSource,
        progress: &dyn Progress,
    ) -> Result<Self, SessionError> {
        let mut model = Model::find(options, &device, &source, progress)?;
        let model_layers = model.layers();
        if let Some(layers) = options.layers {
            model.keep(layers, &source.config_name())?;
        }
        Ok(Self {
            options: options.clone(),
            device,
            source,
            plan: Arc::new(model.plan(options)?),
            model,
            tokenizer: None,
            model_layers,
        })
    }

    /// The same model and layers on another device, or split otherwise: nothing is looked up again, and prompts are token
    /// ids.
    ///
    /// # Errors
    /// An option is out of its range, or the device cannot do what was asked.
    pub fn under(&self, options: &EngineOptions) -> Result<Self, SessionError> {
        options.check()?;
        let device = Device::of(options)?;
        let model = self.model.clone().under(options, &device)?;
        Ok(Self {
            options: options.clone(),
            device,
            source: self.source.clone(),
            plan: Arc::new(model.plan(options)?),
            model,
            tokenizer: None,
            model_layers: self.model_layers,
        })
    }

    /// What is known of the model, whoever runs it.
    pub fn shape(&self) -> &ModelShape {
        self.plan.shape()
    }

    /// The name under which figures are compared.
    pub fn label(&self) -> String {
        let ran = self.shape().layers.len();
        results::setting::slice_label(&self.source.name, ran, self.model_layers)
    }

    /// Ids for synthetic prompts: ordinary text tokens where a tokenizer can tell.
    ///
    /// # Errors
    /// The vocabulary has none.
    pub fn token_pool(&self) -> Result<TokenPool, SessionError> {
        let vocab = self.shape().vocab_size as u32;
        let pool = match &self.tokenizer {
            Some(tokenizer) => tokenizer.token_pool(vocab),
            None => TokenPool::below(vocab),
        };
        Ok(pool.map_err(Wish::from)?)
    }

    /// Ids of `text`, with the tokens that the model wants around plain text where `add_special`.
    ///
    /// # Errors
    /// There is no tokenizer, or its ids are none or not this model's.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, SessionError> {
        let Some(tokenizer) = &self.tokenizer else {
            let name = self.source.name.clone();
            return Err(match (&self.source.config_path, name.as_str()) {
                (None, DEFAULT_MODEL) => Wish::NoText(format!("{name} (the default)")),
                (None, _) => Wish::NoText(name),
                (Some(_), _) => Wish::NoTokenizer(name),
            }
            .into());
        };
        let most = self.model.positions();
        let ids = tokenizer.encode_within(text, add_special, most);
        let ids = ids.map_err(Wish::from)?;
        if ids.is_empty() {
            return Err(Wish::EmptyPrompt(text.to_owned()).into());
        }
        let vocab = self.shape().vocab_size;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(Wish::ForeignTokenizer { id, vocab }.into());
        }
        Ok(ids)
    }

    /// That each of `ids` is one of the model's.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_ids(&self, ids: &[u32]) -> Result<(), SessionError> {
        let vocab = self.shape().vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab) {
            None => Ok(()),
            Some(&id) => Err(Wish::ForeignId { id, vocab }.into()),
        }
    }

    /// # Errors
    /// The model has none, or it is malformed.
    pub fn chat_template(&self) -> Result<ChatTemplate, SessionError> {
        let template = match &self.source.dir {
            Some(dir) => ChatTemplate::load(dir).map_err(Wish::from)?,
            None => None,
        };
        Ok(template.ok_or_else(|| Wish::NoTemplate(self.source.name.clone()))?)
    }

    /// Ids of messages, with the answer opened.
    ///
    /// # Errors
    /// The template does not take them, or there is no tokenizer.
    pub fn encode_chat(
        &self,
        template: &ChatTemplate,
        conversation: &Conversation,
    ) -> Result<Vec<u32>, SessionError> {
        let now = OffsetDateTime::now_utc();
        let text = template.render_at(conversation, true, now);
        self.encode(&text.map_err(Wish::from)?, false)
    }

    /// The ids that end an output, as the checkpoint says; may be none.
    ///
    /// # Errors
    /// `generation_config.json` is malformed.
    pub fn end_tokens(&self) -> Result<Vec<u32>, SessionError> {
        let generation = match &self.source.dir {
            Some(dir) => GenerationConfig::load(dir).map_err(Wish::from)?,
            None => None,
        };
        Ok(end_tokens(self.model.end_tokens(), generation.as_ref()))
    }

    /// The length that was asked for, else `default`, within the model's own positions.
    ///
    /// # Errors
    /// It is beyond them.
    pub fn max_model_len(&self, default: usize) -> Result<usize, SessionError> {
        let positions = self.model.positions();
        let asked = self.options.max_model_len.unwrap_or(default);
        if asked > positions {
            let model = self.source.name.clone();
            return Err(Wish::BeyondPositions {
                asked,
                positions,
                model,
            }
            .into());
        }
        Ok(asked)
    }

    /// Opens the weights, whose reading `progress` may stop; gives the type that they are stored in.
    pub(super) fn weight_source(
        &self,
        progress: &Arc<dyn Progress>,
    ) -> Result<(Arc<dyn WeightSource>, DType), SessionError> {
        let files = &self.source.weights;
        if !matches!(files, WeightFiles::Dummy { .. }) {
            let checkpoint = Checkpoint::open(files, self.model.spec()?).map_err(Wish::from)?;
            for warning in &checkpoint.warnings {
                progress.remark(&format!("warning: {warning}"));
            }
            let dtype = checkpoint.weight_dtype();
            let source = Stoppable::new(checkpoint, progress.clone());
            return Ok((Arc::new(source), dtype));
        }
        let weight_type = self.shape().weight_type.unwrap_or_default();
        let source = DummyWeights {
            seed: self.options.seed,
            weight_type,
        };
        let source = Stoppable::new(source, progress.clone());
        Ok((Arc::new(source), dummy::dtype(weight_type)))
    }

    /// Bytes of the KV caches of all ranks for so many tokens, by what is known before the weights are opened.
    pub fn kv_bytes(&self, tokens: usize) -> u64 {
        let options = &self.options;
        let asked = options.dtype;
        let weights = dummy::dtype(asked.or(self.shape().weight_type).unwrap_or_default());
        let dtype = kv_dtype(options.kv_cache_dtype, cpu_kv_dtype(weights));
        let elements = self.plan.tp() * self.plan.kv_elements_per_token();
        (tokens * elements * dtype.size_in_bytes()) as u64
    }

    /// Bytes of the weights of `ranks`, where those that are not quantised are of type `weights`.
    pub(super) fn weight_bytes(&self, ranks: &[usize], weights: DType) -> u64 {
        let held = ranks.iter().map(|&rank| {
            let size = weights.size_in_bytes();
            self.plan
                .weight_bytes(rank, |tensor, held| tensor.bytes(held, size))
        });
        held.sum()
    }
}
