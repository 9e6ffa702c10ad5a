//! A build without CUDA starts no rank on a GPU.

use std::sync::Arc;

use super::assembly::Session;
use super::error::SessionError;
use super::files::ModelFiles;
use super::gpus::refusal;
use super::job::Job;
use super::loading::Loading;
use crate::ground::Progress;
use crate::telemetry::GpuProbe;

pub(super) fn loading(
    _files: &ModelFiles,
    _job: &Job,
    _progress: &Arc<dyn Progress>,
) -> Result<(Loading, Arc<dyn GpuProbe>), SessionError> {
    Err(refusal())
}

pub(super) fn start(
    _files: ModelFiles,
    _max_model_len: usize,
    _job: Option<&Job>,
    _progress: &Arc<dyn Progress>,
) -> Result<Session, SessionError> {
    Err(refusal())
}
