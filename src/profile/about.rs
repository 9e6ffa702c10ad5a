//! What a profile says of its circumstances.

use super::load::Load;
use crate::ground::results::Kind;

/// The device, the model and the load.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    pub kind: Kind,
    pub device: String,
    pub hardware: String,
    pub model: String,
    pub layers: usize,
    pub model_layers: usize,
    pub threads: usize,
    pub load: Load,
}
