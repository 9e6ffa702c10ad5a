//! What was found of a model, for the device that is to run it.

use super::device::Device;
use super::error::{SessionError, Wish};
use super::options::{ActivationScheme, EngineOptions};
use super::outline::of_others;
use crate::exec::simulated;
use crate::ground::Progress;
use crate::hub::ModelSource;
use crate::model::{Described, ModelSpec, SpecError};
use crate::parallel::{ShardPlan, Split};
use crate::shape::{Code, ModelShape, Quantization};

/// A model of the layers that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// This program's own engine runs it.
    Own(Box<ModelSpec>),
    /// Other engines do: a simulated card takes it by its shape.
    Others {
        /// All that is known of it.
        shape: Box<ModelShape>,
        /// Why the own engine does not.
        why: String,
    },
}

impl Model {
    /// All layers of what `source` has.
    ///
    /// # Errors
    /// Its files are malformed, or the device does not run such a model.
    pub(super) fn find(
        options: &EngineOptions,
        device: &Device,
        source: &ModelSource,
        progress: &dyn Progress,
    ) -> Result<Self, SessionError> {
        let file = source.config_name();
        let found = Described::of(source).and_then(|described| {
            described.spec.check_runnable(&file)?;
            Ok(described)
        });
        let model = match found {
            Ok(Described { spec, remarks }) => {
                let remarks = remarks.iter();
                remarks.for_each(|remark| progress.remark(&format!("warning: {remark}")));
                Self::Own(Box::new(spec))
            }
            Err(error) if !device.is_simulated() || !others_may(&error, source) => {
                return Err(Wish::from(error).into());
            }
            Err(error) => {
                let why = error.to_string();
                // The card may be right, and only the words before it are missing.
                simulates_others(options, device, &why)?;
                let shape = of_others(source, progress)?;
                Self::Others {
                    shape: Box::new(shape),
                    why,
                }
            }
        };
        model.under(options, device)
    }

    /// The same on this device.
    ///
    /// # Errors
    /// It does not run such a model, or not as it was asked to.
    pub(super) fn under(
        mut self,
        options: &EngineOptions,
        device: &Device,
    ) -> Result<Self, SessionError> {
        match &mut self {
            Self::Own(spec) => set_activation_scheme(options, device, spec)?,
            Self::Others { shape, why } => {
                simulates_others(options, device, why)?;
                if let Some(reason) = simulated::untimed(shape) {
                    let model = options.model.clone();
                    return Err(Wish::Untimed { model, reason }.into());
                }
                check_activation_scheme(options, shape)?;
            }
        }
        Ok(self)
    }

    /// Only the first `layers` of what `file` describes.
    pub(super) fn keep(&mut self, layers: usize, file: &str) -> Result<(), SessionError> {
        match self {
            Self::Own(spec) => keep_layers(spec, layers, file),
            Self::Others { shape, .. } => keep_layers_of_shape(shape, layers, file),
        }
    }

    /// The ranks' parts of it.
    pub(super) fn plan(&self, options: &EngineOptions) -> Result<ShardPlan, SessionError> {
        let split = Split {
            tp: options.tp,
            expert_parallel: options.expert_parallel,
        };
        let plan = match self {
            Self::Own(spec) => ShardPlan::split(&spec.shape(), split),
            Self::Others { shape, .. } => ShardPlan::split(shape, split),
        };
        Ok(plan.map_err(Wish::from)?)
    }

    /// This program's own engine runs it.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// # Errors
    /// The own engine does not run it.
    pub(super) fn spec(&self) -> Result<&ModelSpec, SessionError> {
        match self {
            Self::Own(spec) => Ok(spec),
            Self::Others { why, .. } => Err(Wish::OthersRun { why: why.clone() }.into()),
        }
    }

    pub(super) fn layers(&self) -> usize {
        match self {
            Self::Own(spec) => spec.num_hidden_layers,
            Self::Others { shape, .. } => shape.layers.len(),
        }
    }

    /// Longest context.
    pub fn positions(&self) -> usize {
        match self {
            Self::Own(spec) => spec.max_position_embeddings,
            Self::Others { shape, .. } => shape.positions,
        }
    }

    /// That end an output, as `config.json` has them.
    pub(super) fn end_tokens(&self) -> &[u32] {
        match self {
            Self::Own(spec) => &spec.eos_token_ids,
            // Nothing is drawn of it.
            Self::Others { .. } => &[],
        }
    }

    /// Features inside a dense MLP, of a model that has none inside an expert.
    pub(super) fn intermediate_size(&self) -> usize {
        match self {
            Self::Own(spec) => spec.intermediate_size,
            Self::Others { shape, .. } => {
                let expert = || Some(shape.experts()?.width);
                shape.dense_width().or_else(expert).unwrap_or(0)
            }
        }
    }

    /// Weights, tied ones counted once.
    pub(super) fn parameters(&self) -> u64 {
        match self {
            Self::Own(spec) => spec.parameters(),
            Self::Others { shape, .. } => shape.tensors.iter().map(|t| t.parameters()).sum(),
        }
    }

    /// Who quantised the weights.
    pub(super) fn quantization(&self) -> Option<String> {
        match self {
            Self::Own(spec) => Some(spec.quantization.as_ref()?.method.clone()),
            Self::Others { shape, .. } => Some(match shape.quantization? {
                Quantization::Fp8 { .. } => "fp8".to_owned(),
                Quantization::Other(scheme) => scheme.method.name().to_owned(),
            }),
        }
    }

    /// What is done with the inputs of FP8 layers, as the flag names it; `None`: there are none.
    pub(super) fn activation_scheme(&self) -> Option<String> {
        let quantized = match self {
            Self::Own(spec) => spec.quantization.as_ref()?.quantize_activations,
            Self::Others { shape, .. } => match shape.quantization? {
                Quantization::Fp8 { .. } => true,
                Quantization::Other(scheme) if scheme.code == Code::Float && scheme.bits == 8 => {
                    scheme.activations
                }
                Quantization::Other(_) => return None,
            },
        };
        let scheme = match quantized {
            true => ActivationScheme::Dynamic,
            false => ActivationScheme::WeightOnly,
        };
        Some(scheme.name().to_owned())
    }
}

/// Only the first `layers` of the model that `file` describes.
pub(super) fn keep_layers(
    spec: &mut ModelSpec,
    layers: usize,
    file: &str,
) -> Result<(), SessionError> {
    are_there(layers, spec.num_hidden_layers, file)?;
    spec.truncate_layers(layers);
    Ok(())
}

/// The same of a shape.
pub(super) fn keep_layers_of_shape(
    shape: &mut ModelShape,
    layers: usize,
    file: &str,
) -> Result<(), SessionError> {
    are_there(layers, shape.layers.len(), file)?;
    shape.keep_layers(layers);
    Ok(())
}

fn are_there(layers: usize, all: usize, file: &str) -> Result<(), Wish> {
    if layers > all {
        let file = file.to_owned();
        return Err(Wish::Layers { layers, all, file });
    }
    Ok(())
}

/// Whether what the own engine refuses may be a model of other engines, rather than a damaged one of its own.
fn others_may(error: &SpecError, source: &ModelSource) -> bool {
    match error {
        SpecError::Architecture { .. }
        | SpecError::RopeKind { .. }
        | SpecError::QuantisationUnknown { .. } => true,
        SpecError::Json { .. } | SpecError::NotAnObject { .. } => false,
        SpecError::Missing { .. } | SpecError::Invalid { .. } => {
            !Described::is_known(&source.config_json, &source.config_name())
        }
    }
}

fn simulates_others(options: &EngineOptions, device: &Device, why: &str) -> Result<(), Wish> {
    match device.is_simulated() && options.server.is_some() {
        true => Ok(()),
        false => Err(Wish::OthersRun {
            why: why.to_owned(),
        }),
    }
}

/// What is done with the inputs of FP8 layers.
fn set_activation_scheme(
    options: &EngineOptions,
    device: &Device,
    spec: &mut ModelSpec,
) -> Result<(), Wish> {
    let Some(scheme) = options.activation_scheme else {
        // Cards multiply FP8 by FP8.
        if let Some(quantization) = &mut spec.quantization {
            quantization.quantize_activations = device.is_simulated();
        }
        return Ok(());
    };
    match &mut spec.quantization {
        None => Err(not_fp8(options, scheme)),
        Some(_) if scheme == ActivationScheme::WeightOnly && device.is_simulated() => {
            Err(Wish::SimulatedScheme(scheme.name()))
        }
        Some(quantization) => {
            quantization.quantize_activations = scheme == ActivationScheme::Dynamic;
            Ok(())
        }
    }
}

/// Of a simulated card, where nothing can be chosen.
fn check_activation_scheme(options: &EngineOptions, shape: &ModelShape) -> Result<(), Wish> {
    match (options.activation_scheme, shape.quantization) {
        (None, _) | (Some(ActivationScheme::Dynamic), Some(Quantization::Fp8 { .. })) => Ok(()),
        (Some(scheme), Some(Quantization::Fp8 { .. })) => Err(Wish::SimulatedScheme(scheme.name())),
        (Some(scheme), _) => Err(not_fp8(options, scheme)),
    }
}

fn not_fp8(options: &EngineOptions, scheme: ActivationScheme) -> Wish {
    Wish::NotFp8 {
        scheme: scheme.name(),
        model: options.model.clone(),
    }
}
