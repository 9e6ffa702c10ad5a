//! The model: its spec (from `config.json`), its weights, and the one decoder.

pub mod checkpoint;
mod config;
mod context;
pub mod decoder;
mod described;
pub mod dummy;
mod entry;
mod error;
mod fields;
mod layer;
mod load;
mod mlp;
mod names;
mod quantization;
mod raw_rope;
pub mod rope;
mod shape;
pub mod spec;
mod stacked;
mod stored_file;
pub mod tensors;
pub mod weights;
mod workspace;

pub use checkpoint::{Checkpoint, WeightError};
pub use context::Context;
pub use decoder::Decoder;
pub use described::Described;
pub use dummy::DummyWeights;
pub use error::SpecError;
pub use load::Share;
pub use quantization::QuantizationSpec;
pub use spec::{Architecture, ModelSpec};
pub use weights::WeightSource;
pub use workspace::{StepLimits, workspace_bytes};

pub use crate::shape::WeightType;
