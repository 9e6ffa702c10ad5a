//! A build without CUDA starts no rank on a GPU.

use std::sync::Arc;

use super::assembly::Session;
use super::error::SessionError;
use super::files::ModelFiles;
use super::gpus::refusal;
use super::job::Job;
use crate::ground::Progress;

pub(super) fn start(
    _files: ModelFiles,
    _max_model_len: usize,
    _job: Option<&Job>,
    _progress: &Arc<dyn Progress>,
) -> Result<Session, SessionError> {
    Err(refusal())
}
