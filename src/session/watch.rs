//! A process of a job watched by itself: for rank 0 to put beside its own.

use std::sync::Arc;

use crate::exec::mpi::Watcher;
use crate::ground::{Clock, Recorded};
use crate::telemetry::{GpuProbe, INTERVAL, Sampler};

/// Samples when it is told to.
pub struct Watch {
    probe: Option<Arc<dyn GpuProbe>>,
    sampler: Option<Sampler>,
}

impl Watch {
    /// Of this process, and of the GPUs of `probe`.
    pub fn new(probe: Option<Arc<dyn GpuProbe>>) -> Self {
        Self {
            probe,
            sampler: None,
        }
    }
}

impl Watcher for Watch {
    /// Where the system has no thread for it, nothing will have been seen.
    fn start(&mut self, clock: &Arc<dyn Clock>) {
        self.sampler = Sampler::start(clock.clone(), INTERVAL, self.probe.clone(), |_| {}).ok();
    }

    fn stop(&mut self) -> Recorded {
        let sampler = self.sampler.take();
        sampler.map_or_else(Recorded::default, Sampler::stop)
    }
}
