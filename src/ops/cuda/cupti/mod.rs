//! When each kernel ran, also within graphs: CUPTI, whose library is looked for when a profile asks. One client a process;
//! records of all its ranks come together.

mod library;
mod matching;
mod records;

use std::sync::OnceLock;

use super::device::Gpu;
use library::Library;
pub use matching::matched;
pub use records::Record;
use records::{complete, request, seen};

/// # Errors
/// Why kernels cannot be traced, as a sentence: the same whenever it is asked.
fn library() -> Result<&'static Library, String> {
    static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| Library::open(request, complete));
    library.as_ref().map_err(Clone::clone)
}

/// Kernels of one rank are traced until it is dropped.
pub struct Tracing {
    gpu: Gpu,
    library: &'static Library,
    /// As records name the rank's.
    context: u32,
}

impl Tracing {
    /// What was queued before has run then, and is not traced.
    ///
    /// # Errors
    /// Why it cannot be, as a sentence.
    pub fn start(gpu: &Gpu) -> Result<Self, String> {
        let library = library()?;
        let ready = gpu.bind().and_then(|()| gpu.synchronize());
        ready.map_err(|e| e.to_string())?;
        let context = library.context_id(gpu.stream.context().cu_ctx())?;
        let mut seen = seen();
        if seen.ranks == 0 {
            seen.records.clear();
            seen.dropped = 0;
            library.enable()?;
        }
        seen.ranks += 1;
        Ok(Self {
            gpu: gpu.clone(),
            library,
            context,
        })
    }

    /// Nanoseconds on the clock of records.
    pub fn now(&self) -> Result<u64, String> {
        self.library.now()
    }

    /// Waits for all that was queued; the kernels since tracing began, in the order of their starts. By then no rank runs any.
    ///
    /// # Errors
    /// The device has failed; or records are lost, or have no times.
    pub fn take(&self) -> Result<Vec<Record>, String> {
        self.gpu.synchronize().map_err(|e| e.to_string())?;
        // The second one has those, too, that CUPTI has not looked at yet.
        for forced in [false, true] {
            self.library.flush(forced)?;
        }
        let mut own = seen().records.remove(&self.context).unwrap_or_default();
        let dropped = seen().dropped;
        if dropped > 0 {
            return Err(format!("CUPTI had no room for {dropped} records"));
        }
        if own.iter().any(|record| record.end <= record.start) {
            return Err("CUPTI tells of kernels without their times".to_owned());
        }
        own.sort_by_key(|record| record.start);
        Ok(own)
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let is_last = {
            let mut seen = seen();
            seen.ranks -= 1;
            seen.records.remove(&self.context);
            seen.ranks == 0
        };
        if is_last {
            // What it does not stop it goes on to tell, and nobody reads.
            let _ = self.library.disable();
        }
    }
}
