//! The model: its spec (from `config.json`), its weights, and the one decoder.

pub mod checkpoint;
mod config;
pub mod decoder;
mod described;
pub mod dummy;
mod entry;
mod fields;
mod load;
mod mlp;
mod names;
mod quantization;
mod raw_rope;
pub mod rope;
pub mod spec;
mod stacked;
mod stored_file;
pub mod tensors;
pub mod weights;
mod workspace;

pub use checkpoint::{Checkpoint, WeightError};
pub use decoder::{Context, Decoder};
pub use described::Described;
pub use dummy::DummyWeights;
pub use load::Share;
pub use spec::{Architecture, ModelSpec, SpecError, WeightType};
pub use weights::WeightSource;
pub use workspace::{StepLimits, workspace_bytes};
