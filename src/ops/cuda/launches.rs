//! Launches on a GPU, kept while somebody times the operations behind them.

use std::sync::{Arc, Mutex, Weak};

use candle_core::Result;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaEvent, CudaStream, sys};

use super::lock;
use crate::ground::launch::LaunchShape;

/// Blocks, threads of each, and bytes of dynamic shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: u32,
    pub shared: u32,
}

impl Grid {
    /// `blocks` in one row.
    pub fn row(blocks: usize, threads: u32) -> Self {
        Self {
            blocks: (blocks as u32, 1, 1),
            threads,
            shared: 0,
        }
    }
}

/// What a rank launches on its one stream.
#[derive(Debug)]
pub struct Launches {
    stream: Arc<CudaStream>,
    kept: Mutex<Weak<Kept>>,
}

/// Launches from [`Launches::keep`] on, until this is dropped.
#[derive(Debug)]
pub struct Kept {
    /// Whether events part them.
    timed: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    launches: Vec<Launched>,
    /// Described once: asking the driver takes longer than a launch.
    known: Vec<(Grid, Described)>,
}

/// A kernel, and the shape that it was launched in: see [`crate::ground::launch::Launch`].
#[derive(Debug, Clone)]
pub struct Described {
    pub kernel: Arc<str>,
    pub shape: Option<LaunchShape>,
}

#[derive(Debug)]
pub struct Launched {
    pub described: Described,
    /// Behind it, where another was launched.
    pub end: Option<CudaEvent>,
}

impl Launches {
    pub fn new(stream: Arc<CudaStream>) -> Self {
        Self {
            stream,
            kept: Mutex::default(),
        }
    }

    /// With events between them, where they are `timed`.
    pub fn keep(&self, timed: bool) -> Arc<Kept> {
        let seen = Mutex::default();
        let kept = Arc::new(Kept { timed, seen });
        *lock(&self.kept) = Arc::downgrade(&kept);
        kept
    }

    /// `launch`, which queues one kernel of a library: it does not tell which. `call` is what it is asked for.
    ///
    /// # Errors
    /// Of `launch`; or the driver refuses an event.
    pub fn library(&self, call: &str, launch: impl FnOnce() -> Result<()>) -> Result<()> {
        self.own(call, Grid::row(0, 0), || None, launch)
    }

    /// `launch`, which queues `kernel`. Where somebody keeps launches, an event may part it from the one before it, and
    /// `describe` is asked for each grid that was not seen before.
    ///
    /// # Errors
    /// As [`Self::library`].
    pub fn own(
        &self,
        kernel: &str,
        grid: Grid,
        describe: impl FnOnce() -> Option<LaunchShape>,
        launch: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let Some(kept) = lock(&self.kept).upgrade() else {
            return launch();
        };
        let mut seen = lock(&kept.seen);
        if let Some(before) = seen.launches.last_mut().filter(|_| kept.timed) {
            let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
            before.end = Some(self.stream.record_event(timed).w()?);
        }
        launch()?;
        let described = seen.describe(kernel, grid, describe);
        seen.launches.push(Launched {
            described,
            end: None,
        });
        Ok(())
    }
}

impl Seen {
    fn describe(
        &mut self,
        kernel: &str,
        grid: Grid,
        describe: impl FnOnce() -> Option<LaunchShape>,
    ) -> Described {
        let is_same =
            |(as_grid, one): &&(Grid, Described)| *as_grid == grid && *one.kernel == *kernel;
        if let Some((_, known)) = self.known.iter().find(is_same) {
            return known.clone();
        }
        let described = Described {
            kernel: kernel.into(),
            shape: describe(),
        };
        self.known.push((grid, described.clone()));
        described
    }
}

impl Kept {
    /// Those since the last call.
    pub fn take(&self) -> Vec<Launched> {
        std::mem::take(&mut lock(&self.seen).launches)
    }
}
