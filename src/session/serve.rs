//! A process of a job that is not the first: it loads what its ranks are, and does what the first one says.

use std::sync::Arc;

use super::cuda;
use super::device::Device;
use super::error::Wish;
use super::files::ModelFiles;
use super::job::Job;
use super::loading::Loading;
use super::options::EngineOptions;
use crate::ground::{Progress, Unwatched};
use crate::telemetry::memory;

/// Until the first process ends; that one tells what fails here.
pub fn serve(job: &Job, options: &EngineOptions) {
    let progress: Arc<dyn Progress> = Arc::new(Unwatched);
    let prepared = ModelFiles::find(options, progress.as_ref()).and_then(|files| {
        let (loading, probe) = match &files.device {
            Device::Cpu => {
                let ranks = job.ranks_here();
                let loading = Loading::prepare(&files, &memory(), &ranks, &progress)?;
                (loading, None)
            }
            Device::Cuda => {
                let (loading, probe) = cuda::loading(&files, job, &progress)?;
                (loading, Some(probe))
            }
            Device::Simulated(_) => return Err(Wish::OneProcess("sim:").into()),
        };
        Ok((files, loading, probe))
    });
    job.follow(prepared);
}
