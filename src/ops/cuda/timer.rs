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
    pub fn new(gpu: &Gpu, profiled: bool) -> Self {
        Self {
            gpu: gpu.clone(),
            events: Vec::new(),
            _profiled: profiled.then(Profiler::new).and_then(Result::ok),
        }
    }
}

impl Timer for Events {
    fn mark(&mut self) -> Result<(), String> {
        use sys::CUevent_record_flags_enum as Flags;
        let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = self.gpu.stream.context().new_event(timed).map_err(text)?;
        // Recorded anew each time that a graph is replayed.
        let flags = match self.gpu.captures() {
            true => Flags::CU_EVENT_RECORD_EXTERNAL,
            false => Flags::CU_EVENT_RECORD_DEFAULT,
        };
        let stream = self.gpu.stream.cu_stream();
        // SAFETY: the event lives as long as this, and whoever replays a graph keeps both.
        unsafe { sys::cuEventRecordWithFlags(event.cu_event(), stream, flags as u32) }
            .result()
            .map_err(text)?;
        self.events.push(event);
        Ok(())
    }

    fn times(&mut self) -> Result<Vec<Duration>, String> {
        let (Some(first), Some(last)) = (self.events.first(), self.events.last()) else {
            return Ok(Vec::new());
        };
        let due = self.gpu.wait(last, "its times");
        due.map_err(|e| e.to_string())?;
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
