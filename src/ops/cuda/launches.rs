//! Launches on a GPU, kept while somebody times the operations behind them.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Weak};

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaEvent, CudaStream, sys};
use candle_core::{Result, bail};

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

/// Compute capability from which kernels may overlap,
const OVERLAPS: u32 = 90;
/// and what the driver must know, 1000 for each major release of CUDA and 10 for each minor one: graphs whose kernels do.
const DRIVER: i32 = 12030;
/// 0: none does, to see what it is worth; 1, or not set: they do.
const WISH: &str = "CANDLEPOWER_KERNEL_OVERLAP";

/// What a rank launches on its one stream.
#[derive(Debug)]
pub struct Launches {
    stream: Arc<CudaStream>,
    kept: Mutex<Weak<Kept>>,
    /// Whether a kernel may begin before the one in front has ended,
    overlaps: AtomicBool,
    /// and whether what was launched last takes part: see `kernels/chain.cuh`.
    in_chain: AtomicBool,
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
    /// On a GPU of this compute capability.
    ///
    /// # Errors
    /// The environment says neither that kernels may overlap nor that they may not.
    pub fn new(stream: Arc<CudaStream>, capability: u32) -> Result<Self> {
        let wished = is_wished(std::env::var(WISH).ok().as_deref())?;
        Ok(Self {
            stream,
            kept: Mutex::default(),
            overlaps: AtomicBool::new(wished && is_able(capability)),
            in_chain: AtomicBool::new(false),
        })
    }

    /// The driver has refused it.
    pub(super) fn never_overlap(&self) {
        self.overlaps.store(false, Relaxed);
    }

    /// The next kernel begins when all before it is done.
    pub(super) fn end_chain(&self) {
        self.in_chain.store(false, Relaxed);
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
        self.own(call, Grid::row(0, 0), false, || None, |_| launch())
    }

    /// `launch`, which queues `kernel`, and is told whether it overlaps the one in front: where both are `chained`. Where
    /// somebody keeps launches, none does, for their times are to add up; an event may part them, and `describe` is asked
    /// for each grid that was not seen before.
    ///
    /// # Errors
    /// As [`Self::library`].
    pub fn own(
        &self,
        kernel: &str,
        grid: Grid,
        chained: bool,
        describe: impl FnOnce() -> Option<LaunchShape>,
        launch: impl FnOnce(bool) -> Result<()>,
    ) -> Result<()> {
        let follows = self.in_chain.swap(chained, Relaxed);
        let Some(kept) = lock(&self.kept).upgrade() else {
            return launch(follows && chained && self.overlaps.load(Relaxed));
        };
        let mut seen = lock(&kept.seen);
        if let Some(before) = seen.launches.last_mut().filter(|_| kept.timed) {
            let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
            before.end = Some(self.stream.record_event(timed).w()?);
        }
        launch(false)?;
        let described = seen.describe(kernel, grid, describe);
        seen.launches.push(Launched {
            described,
            end: None,
        });
        Ok(())
    }
}

/// Of the variable's value.
fn is_wished(value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("1") => Ok(true),
        Some("0") => Ok(false),
        Some(other) => bail!("{WISH}={other}: it must be 0 or 1"),
    }
}

/// Whether a GPU of this capability and its driver let kernels overlap.
fn is_able(capability: u32) -> bool {
    let mut driver = 0;
    // SAFETY: the out-parameter lives through the call.
    let told = unsafe { sys::cuDriverGetVersion(&mut driver) };
    capability >= OVERLAPS && told.result().is_ok() && driver >= DRIVER
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_wished_or_not() {
        let wished = [None, Some("1"), Some("0")].map(|value| is_wished(value).unwrap());
        assert_eq!(wished, [true, true, false]);
        let said = is_wished(Some("no")).unwrap_err().to_string();
        assert!(said.contains("CANDLEPOWER_KERNEL_OVERLAP=no"), "{said}");
    }
}
