//! A build without CUDA: there is no GPU for it.

use std::collections::BTreeMap;

use super::error::{SessionError, Wish};
use super::options::EngineOptions;
use crate::ground::GpuIdentity;
use crate::ground::results::{AllReduce, Environment, GpuInfo, GpuLink};

/// Cargo features that a result names.
pub const FEATURES: &[&str] = &[];

/// What keeps `--device cuda` from working, and what would help.
pub fn missing() -> Option<(&'static str, &'static str)> {
    Some((
        "CUDA",
        "build with --features cuda where nvcc is, or run on the CPU",
    ))
}

/// Of the GPUs, by CUDA; only a CUDA build can ask.
pub fn names() -> Option<Vec<String>> {
    None
}

/// The GPUs as they are set up; only a CUDA build can ask.
pub fn cards() -> &'static [GpuInfo] {
    &[]
}

/// What lies between them; only a CUDA build can ask.
pub fn links() -> Vec<GpuLink> {
    Vec::new()
}

/// Variables that change what NCCL does; only a CUDA build has it.
pub fn nccl_variables() -> BTreeMap<String, String> {
    BTreeMap::new()
}

/// Whether every GPU reaches every other's memory; only a CUDA build can ask.
pub fn peer_access() -> Option<bool> {
    None
}

/// How GPUs add up; only a CUDA build can try.
pub fn all_reduce() -> Option<Result<AllReduce, String>> {
    None
}

/// Says of the GPUs what this build can.
pub fn describe(_environment: &mut Environment) {}

/// Whether CUDA is there for the asking.
pub fn is_usable() -> bool {
    false
}

/// Of the GPUs' driver; only a CUDA build can ask.
pub fn driver() -> Option<String> {
    None
}

/// GPUs, for a result: there are none.
pub fn described(_gpus: &[GpuIdentity]) -> Vec<GpuInfo> {
    Vec::new()
}

/// Those that this process may use: none.
pub fn visible() -> Vec<GpuIdentity> {
    Vec::new()
}

/// Why `cuda` cannot be had.
///
/// # Errors
/// Always.
pub(super) fn check(_options: &EngineOptions) -> Result<(), SessionError> {
    Err(refusal())
}

pub(super) fn refusal() -> SessionError {
    let words = "--device cuda needs a build with CUDA, and this one has none; build it with --features cuda, or use --device cpu or sim:<gpu>";
    Wish::Cuda(words.to_owned()).into()
}
