//! From flags to the files and shapes of a model, before any weight is loaded.

use std::sync::Arc;

use anyhow::{anyhow, bail};
use candle_core::DType;

use super::common::{ActivationScheme, CommonArgs};
use super::device::Device;
use super::failure::Failure;
use super::output;
use crate::ground::results;
use crate::hub::{self, HubError, HubSettings, ModelSource, ResolveOptions, Stop, WeightFiles};
use crate::model::{Checkpoint, Described, DummyWeights, ModelSpec, WeightSource, dummy};
use crate::parallel::{ShardPlan, Split};
use crate::text::{TokenPool, Tokenizer};

/// The files and shapes of the model, before any weight is loaded.
pub struct ModelFiles {
    pub device: Device,
    pub source: ModelSource,
    pub spec: ModelSpec,
    /// Of `spec`, over the ranks that were asked for.
    pub plan: Arc<ShardPlan>,
    pub tokenizer: Option<Tokenizer>,
    /// Layers of the model, of which `spec` may keep fewer.
    pub model_layers: usize,
}

impl ModelFiles {
    pub fn find(args: &CommonArgs) -> Result<Self, Failure> {
        let device = Device::of(args).map_err(Failure::Usage)?;
        let options = ResolveOptions {
            // Nothing is read for a device that holds nothing.
            dummy_weights: args.dummy_weights || device.is_simulated(),
            progress: !args.output.quiet,
            settings: HubSettings::from_env(),
            stop: Stop::default(),
        };
        let source = hub::resolve(&args.model, &options).map_err(source_failure)?;
        let file = source.config_name();
        let Described { mut spec, remarks } = Described::of(&source).map_err(Failure::usage)?;
        if !args.output.quiet {
            let remarks = remarks.iter();
            remarks.for_each(|remark| output::note(&format!("warning: {remark}")));
        }
        spec.check_runnable(&file).map_err(Failure::usage)?;
        let model_layers = spec.num_hidden_layers;
        if let Some(layers) = args.layers {
            check_layers(layers, &spec, &file).map_err(Failure::Usage)?;
            spec.truncate_layers(layers);
        }
        set_activation_scheme(args, &device, &mut spec).map_err(Failure::Usage)?;
        let split = Split {
            tp: args.tp,
            expert_parallel: args.expert_parallel,
        };
        let plan = ShardPlan::split(&spec, split).map_err(Failure::usage)?;
        let tokenizer = match (&source.dir, source.tokenizer_json()) {
            (Some(dir), Some(_)) => Some(Tokenizer::load(dir).map_err(Failure::usage)?),
            _ => None,
        };
        Ok(Self {
            device,
            source,
            spec,
            plan: Arc::new(plan),
            tokenizer,
            model_layers,
        })
    }

    /// The name under which figures are compared.
    pub fn label(&self) -> String {
        let ran = self.spec.num_hidden_layers;
        results::setting::slice_label(&self.source.name, ran, self.model_layers)
    }

    /// Ids for synthetic prompts: ordinary text tokens where a tokenizer can tell.
    pub fn token_pool(&self) -> Result<TokenPool, Failure> {
        let vocab = self.spec.vocab_size as u32;
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.token_pool(vocab),
            None => TokenPool::below(vocab),
        }
        .map_err(Failure::usage)
    }

    /// Ids of `text`, or why there are none.
    pub fn encode(&self, text: &str, add_special: bool) -> anyhow::Result<Vec<u32>> {
        let Some(tokenizer) = &self.tokenizer else {
            bail!(
                "{} has no tokenizer.json, so text cannot be turned into tokens; give a model directory with one, or token ids",
                self.source.name
            );
        };
        let ids = tokenizer.encode(text, add_special)?;
        if ids.is_empty() {
            bail!("the prompt {text:?} has no tokens; give at least one");
        }
        let vocab = self.spec.vocab_size;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
            bail!(
                "token id {id} is outside the vocabulary of {vocab}; the tokenizer is not this model's"
            );
        }
        Ok(ids)
    }

    /// `--max-model-len`, else `default`, within the model's own positions.
    pub fn max_model_len(&self, args: &CommonArgs, default: usize) -> Result<usize, Failure> {
        let positions = self.spec.max_position_embeddings;
        let asked = args.max_model_len.unwrap_or(default);
        if asked > positions {
            return Err(Failure::Usage(anyhow!(
                "a length of {asked} tokens is beyond the {positions} positions of {}; lower --max-model-len or the prompt and output lengths",
                self.source.name
            )));
        }
        Ok(asked)
    }

    /// Opens the weights; gives the type that they are stored in.
    pub fn weight_source(
        &self,
        args: &CommonArgs,
    ) -> Result<(Arc<dyn WeightSource>, DType), Failure> {
        let files = &self.source.weights;
        if !matches!(files, WeightFiles::Dummy { .. }) {
            let checkpoint = Checkpoint::open(files, &self.spec).map_err(Failure::usage)?;
            if !args.output.quiet {
                let remarks = checkpoint.warnings.iter();
                remarks.for_each(|warning| output::note(&format!("warning: {warning}")));
            }
            let dtype = checkpoint.weight_dtype();
            return Ok((Arc::new(checkpoint), dtype));
        }
        let weight_type = self.spec.weight_type_or_usual();
        let source = DummyWeights {
            seed: args.seed,
            weight_type,
        };
        Ok((Arc::new(source), dummy::dtype(weight_type)))
    }
}

/// What is done with the inputs of FP8 layers.
fn set_activation_scheme(
    args: &CommonArgs,
    device: &Device,
    spec: &mut ModelSpec,
) -> anyhow::Result<()> {
    let Some(scheme) = args.activation_scheme else {
        // Cards multiply FP8 by FP8.
        if let Some(quantization) = &mut spec.quantization {
            quantization.quantize_activations = device.is_simulated();
        }
        return Ok(());
    };
    let name = scheme.name();
    match &mut spec.quantization {
        None => bail!(
            "--activation-scheme {name}: the weights of {} are not FP8, so their inputs stay as they are; leave it out",
            args.model
        ),
        Some(_) if scheme == ActivationScheme::WeightOnly && device.is_simulated() => bail!(
            "--activation-scheme {name}: a simulated card multiplies FP8 by FP8, as vLLM does; leave it out"
        ),
        Some(quantization) => {
            quantization.quantize_activations = scheme == ActivationScheme::Dynamic;
            Ok(())
        }
    }
}

/// `--layers` of the model that `file` describes.
pub fn check_layers(layers: usize, spec: &ModelSpec, file: &str) -> anyhow::Result<()> {
    if layers > spec.num_hidden_layers {
        bail!(
            "--layers {layers} is more than the {} layers of {file}; ask for at most those",
            spec.num_hidden_layers
        );
    }
    Ok(())
}

/// A hub that fails is a failed run; anything else is a wrong name or file.
pub fn source_failure(error: HubError) -> Failure {
    match error.is_network() {
        true => Failure::run(error),
        false => Failure::usage(error),
    }
}
