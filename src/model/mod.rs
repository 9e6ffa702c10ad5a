//! The model: its spec (from `config.json`), its weights, and the one decoder.

pub mod checkpoint;
mod config;
pub mod decoder;
pub mod dummy;
mod load;
mod mlp;
mod quantization;
pub mod rope;
pub mod spec;
mod stacked;
pub mod tensors;
pub mod weights;
mod workspace;

pub use checkpoint::{Checkpoint, WeightError};
pub use decoder::{Context, Decoder};
pub use dummy::DummyWeights;
pub use load::Share;
pub use spec::{Architecture, ModelSpec, SpecError, WeightType};
pub use weights::WeightSource;
pub use workspace::{StepLimits, workspace_bytes};
