//! Events on the stream: what the GPU was doing when.

use std::sync::Arc;
use std::time::Duration;

use candle_core::cuda::cudarc::driver::{CudaEvent, DriverError, Profiler, sys};

use super::counted;
use super::device::Gpu;
use super::launches::{Described, Kept, Launched};
use super::nvtx::Watched;
use crate::ground::launch::Launch;
use crate::ground::recorder::Timer;

/// One event a mark; the driver's resolution is half a microsecond.
pub struct Events {
    gpu: Gpu,
    events: Vec<CudaEvent>,
    kept: Option<Arc<Kept>>,
    /// Before each of the events, since the one before it.
    launched: Vec<Vec<Launched>>,
    watched: Watched,
    /// What a profiler that was told to wait for `cudaProfilerStart` sees: the time of these events.
    _profiled: Option<Profiler>,
}

impl Events {
    /// For a profile, launches are kept too.
    pub fn new(gpu: &Gpu, profiled: bool) -> Self {
        let kept = profiled.then(|| gpu.launches.keep(true));
        let profiled = profiled.then(Profiler::new).and_then(Result::ok);
        Self {
            gpu: gpu.clone(),
            events: Vec::new(),
            kept,
            launched: Vec::new(),
            watched: Watched::default(),
            _profiled: profiled,
        }
    }
}

impl Timer for Events {
    fn enter(&mut self, name: &str, layer: Option<usize>) {
        self.watched.enter(name, layer);
    }

    fn leave(&mut self) {
        self.watched.leave();
    }

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
        self.gpu.launches.end_chain();
        self.launched
            .extend(self.kept.as_ref().map(|kept| kept.take()));
        Ok(())
    }

    fn times(&mut self) -> Result<Vec<Duration>, String> {
        let Some(last) = self.events.last() else {
            return Ok(Vec::new());
        };
        let due = self.gpu.wait(last, "its times");
        due.map_err(|e| e.to_string())?;
        // From one to the next: over minutes the driver's f32 no longer tells microseconds.
        let mut times = vec![Duration::ZERO];
        for pair in self.events.windows(2) {
            let before = times.last().copied().unwrap_or_default();
            times.push(before + between(&pair[0], &pair[1])?);
        }
        Ok(times)
    }

    fn launches(&mut self) -> Result<Option<Vec<Vec<Launch>>>, String> {
        let mut before = None;
        let each = self.launched.drain(..).zip(&self.events);
        let each = each.map(|(launched, mark)| {
            // Nothing is timed before the first mark.
            let Some(mut start) = before.replace(mark) else {
                return Ok(Vec::new());
            };
            let mut told = Vec::new();
            for Launched { described, end } in &launched {
                let end = end.as_ref().unwrap_or(mark);
                told.push(launch(described, start, end)?);
                start = end;
            }
            Ok(told)
        });
        let each = each.collect::<Result<_, String>>()?;
        Ok(self.kept.is_some().then_some(each))
    }
}

fn launch(described: &Described, start: &CudaEvent, end: &CudaEvent) -> Result<Launch, String> {
    let Described { kernel, shape } = described.clone();
    Ok(Launch {
        kernel,
        shape,
        gap: Duration::ZERO,
        time: between(start, end)?,
        bytes: shape.and_then(|_| counted::between(start, end)),
    })
}

fn between(start: &CudaEvent, end: &CudaEvent) -> Result<Duration, String> {
    let milliseconds = start.elapsed_ms(end).map_err(text)?;
    Ok(Duration::from_secs_f64(
        f64::from(milliseconds).max(0.0) / 1e3,
    ))
}

fn text(error: DriverError) -> String {
    error.to_string()
}
