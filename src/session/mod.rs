//! From a model and plain options to a loaded engine, on any device: what a program embeds.
//!
//! [`EngineOptions`] is the wish. `files` finds the model, its shapes and its split; `cpu`, `cuda` and `simulated` load it
//! onto ranks, as threads, GPUs, the processes of an MPI `job`, or a card that is not there; `assembly` puts the engine
//! around them. `generate` draws tokens; `question` asks `fit` instead of loading anything.

mod assembly;
#[cfg(feature = "mpi")]
mod cards;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "no_cuda.rs"]
mod cuda;
pub mod description;
mod device;
mod error;
mod files;
mod generate;
#[cfg(feature = "cuda")]
pub mod gpus;
#[cfg(not(feature = "cuda"))]
#[path = "no_gpus.rs"]
pub mod gpus;
mod host_memory;
#[cfg(feature = "mpi")]
pub mod job;
#[cfg(not(feature = "mpi"))]
#[path = "no_job.rs"]
pub mod job;
mod kv;
pub mod launch;
mod loading;
mod model;
mod options;
mod outline;
#[cfg(any(feature = "cuda", feature = "mpi"))]
mod patience;
mod question;
mod reading;
mod serve;
mod simulated;
mod simulation;
#[cfg(feature = "mpi")]
mod watch;

use std::sync::Arc;

use crate::ground::{Progress, Unwatched};
use crate::telemetry::memory;

pub use assembly::Session;
pub use device::Device;
pub use error::{RunError, SessionError, Wish};
pub use files::ModelFiles;
pub use generate::{Generation, Token, Tokens};
pub use job::Job;
pub use model::Model;
pub use options::{ActivationScheme, DEFAULT_MODEL, EngineOptions, LARGEST_COUNT, MOST_THREADS};
pub use question::Question;
pub(crate) use reading::Reading;
pub use serve::serve;
pub use simulation::{Simulation, SimulationError, Started};

impl EngineOptions {
    /// Finds the model and loads it, watched by nobody.
    ///
    /// # Errors
    /// The options, the model or its files are wrong, or loading failed.
    pub fn open(&self) -> Result<Session, SessionError> {
        let progress: Arc<dyn Progress> = Arc::new(Unwatched);
        ModelFiles::find(self, progress.as_ref())?.open(None, &progress)
    }
}

impl ModelFiles {
    /// Loads the model for requests of up to [`EngineOptions::max_model_len`], else its own positions.
    ///
    /// # Errors
    /// The model does not fit, its weights are malformed, or a rank failed.
    pub fn open(
        self,
        job: Option<&Job>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Session, SessionError> {
        let max_model_len = self.max_model_len(self.model.positions())?;
        self.open_for(max_model_len, job, progress)
    }

    /// Loads the model for requests of up to `max_model_len` tokens, on the device that it was found for. The ranks are
    /// the processes of the `job`, or threads.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_for(
        self,
        max_model_len: usize,
        job: Option<&Job>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Session, SessionError> {
        match (self.device.clone(), job) {
            (Device::Cpu, _) => cpu::start(self, max_model_len, &memory(), job, progress),
            (Device::Cuda, _) => cuda::start(self, max_model_len, job, progress),
            (Device::Simulated(gpu), None) => simulated::start(self, &gpu, max_model_len, progress),
            (Device::Simulated(_), Some(_)) => Err(Wish::OneProcess("sim:").into()),
        }
    }
}

/// Cargo features that decide what a session can run on.
pub fn features() -> impl Iterator<Item = &'static str> {
    job::FEATURES.iter().chain(gpus::FEATURES).copied()
}
