//! Events on the stream: what the GPU was doing when.

use std::time::Duration;

use candle_core::cuda::cudarc::driver::{CudaEvent, DriverError, Profiler, sys};

use super::device::Gpu;
use crate::ground::recorder::Timer;

/// One event a mark; the driver's resolution is half a microsecond.
pub struct Events {
    gpu: Gpu,
    events: Vec<CudaEvent>,
    /// What a profiler that was told to wait for `cudaProfilerStart` sees: the time of these events.
    _profiled: Option<Profiler>,
}

impl Events {
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            events: Vec::new(),
            _profiled: Profiler::new().ok(),
        }
    }
}

impl Timer for Events {
    fn mark(&mut self) -> Result<(), String> {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        let event = self.gpu.stream.record_event(Some(flags));
        self.events.push(event.map_err(text)?);
        Ok(())
    }

    fn times(&mut self) -> Result<Vec<Duration>, String> {
        let Some(first) = self.events.first() else {
            return Ok(Vec::new());
        };
        self.gpu.synchronize().map_err(|e| e.to_string())?;
        let since = |event: &CudaEvent| {
            let milliseconds = first.elapsed_ms(event).map_err(text)?;
            Ok(Duration::from_secs_f64(
                f64::from(milliseconds).max(0.0) / 1e3,
            ))
        };
        self.events.iter().map(since).collect()
    }
}

fn text(error: DriverError) -> String {
    error.to_string()
}
