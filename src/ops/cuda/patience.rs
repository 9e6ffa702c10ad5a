//! Waiting for a GPU that may itself wait for others, which may never come: with an end, and with the reason.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaEvent, CudaStream};
use candle_core::{Error, Result};

use crate::ground::Progress;

/// The variable that says for how many seconds a GPU is waited for at a time.
pub const TIMEOUT: &str = "CANDLEPOWER_GPU_TIMEOUT";
/// How long a GPU may take to come out of what it waited for others in.
const LEAVE: Duration = Duration::from_secs(2);
/// How long a GPU's rank waits for the one that is to blame to say so: that one must see first that its GPU does not
/// come out.
const BLAME: Duration = Duration::from_secs(3);
/// Between two looks at the other ranks.
const LOOK: Duration = Duration::from_millis(1);
/// A GPU comes to a reduction before twice as many are queued behind it. With what stands between them they are fewer
/// than the thousand launches that a driver has room for.
const AHEAD: usize = 64;
/// A step that is told to stop may take so long to its own end.
const STOP: Duration = Duration::from_secs(1);

/// The other ranks, as one that waits for its GPU sees them.
pub trait Peers: Send + Sync {
    /// Why one of them will not come; `None`: they may.
    fn failure(&self) -> Option<String>;

    /// Ends what GPUs wait for others in: from now on nothing that comes out of it means anything.
    fn give_up(&self);

    /// Whether a rank has done that to this one's GPU.
    fn are_given_up(&self) -> bool;
}

/// How the GPU of one stream is waited for.
pub struct Watch {
    stream: Arc<CudaStream>,
    peers: Box<dyn Peers>,
    progress: Arc<dyn Progress>,
    limit: Duration,
    /// Recorded again for each wait.
    done: CudaEvent,
    /// Behind the latest reductions of which [`AHEAD`] are one, in turns.
    marks: [CudaEvent; 2],
    reductions: AtomicUsize,
    given_up: AtomicBool,
    /// The GPU has not come out of what it did.
    is_lost: AtomicBool,
}

/// Or why there is no use in waiting on.
type Waited = std::result::Result<(), String>;

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Watch");
        shown.field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Watch {
    /// No longer than `limit` at a time, or until one of `peers` fails, or `progress` says stop.
    ///
    /// # Errors
    /// The driver refuses an event.
    pub fn new(
        stream: Arc<CudaStream>,
        peers: Box<dyn Peers>,
        progress: Arc<dyn Progress>,
        limit: Duration,
    ) -> Result<Self> {
        let event = || stream.context().new_event(None).w();
        Ok(Self {
            peers,
            progress,
            limit,
            done: event()?,
            marks: [event()?, event()?],
            reductions: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            stream,
        })
    }

    /// Waits for all that the stream was given.
    ///
    /// # Errors
    /// It failed, or is not worth waiting for.
    pub fn wait_for_all(&self) -> Result<()> {
        self.done.record(&self.stream).w()?;
        self.wait(&self.done, "all that it was given")
    }

    /// After each reduction over ranks that is queued, and not captured: waits where the GPU is far behind. A driver that has no room left
    /// for launches waits without an end, and this rank would not hear of others that fail.
    ///
    /// # Errors
    /// As [`Self::wait_for_all`].
    pub fn keep_up(&self) -> Result<()> {
        let reductions = self.reductions.fetch_add(1, SeqCst) + 1;
        if !reductions.is_multiple_of(AHEAD) {
            return Ok(());
        }
        let [even, odd] = &self.marks;
        let (before, now) = match (reductions / AHEAD).is_multiple_of(2) {
            true => (odd, even),
            false => (even, odd),
        };
        self.wait(before, "reductions over ranks")?;
        now.record(&self.stream).w()
    }

    /// Whether the GPU hangs, once a rank has failed.
    pub fn is_lost(&self) -> bool {
        let failed = self.given_up.load(SeqCst) || self.peers.failure().is_some();
        if failed && !self.is_lost.load(SeqCst) {
            self.give_up();
            if self.done.record(&self.stream).is_ok() {
                self.leaves(&self.done);
            }
        }
        self.is_lost.load(SeqCst)
    }

    /// Waits for `event`, with which `what` comes.
    ///
    /// # Errors
    /// What was queued before it failed, or is not worth waiting for.
    pub fn wait(&self, event: &CudaEvent, what: &str) -> Result<()> {
        let gpu = self.stream.context().ordinal();
        self.until(event, gpu, what).map_err(Error::Msg)
    }

    fn give_up(&self) {
        if !self.given_up.swap(true, SeqCst) {
            self.peers.give_up();
        }
    }

    /// What a rank says that has failed; `own`, if none says anything.
    fn blame(&self, own: String) -> String {
        let start = Instant::now();
        while start.elapsed() < BLAME {
            if let Some(failure) = self.peers.failure() {
                return failure;
            }
            std::thread::sleep(LOOK);
        }
        own
    }

    /// Whether `event` is due soon, as it must be once the GPU waits for no others.
    fn leaves(&self, event: &CudaEvent) -> bool {
        let start = Instant::now();
        while let Ok(false) = event.try_is_complete() {
            if start.elapsed() > LEAVE {
                self.is_lost.store(true, SeqCst);
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    fn until(&self, event: &CudaEvent, gpu: usize, what: &str) -> Waited {
        if self.given_up.load(SeqCst) {
            return Err(format!("cuda:{gpu} is not waited for any more"));
        }
        let start = Instant::now();
        let mut looked = start;
        loop {
            match event.try_is_complete() {
                // What came may be no sum of all ranks' parts.
                Ok(true) if self.peers.are_given_up() => {
                    return Err(self.blame(format!("other ranks were given up on cuda:{gpu}")));
                }
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    self.give_up();
                    return Err(format!("cuda:{gpu}, asked for {what}: {error}"));
                }
            }
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                let waited = start.elapsed();
                if let Some(failure) = self.peers.failure() {
                    self.give_up();
                    return Err(format!("cuda:{gpu}, asked for {what}: {failure}"));
                }
                if waited > STOP && self.progress.is_stopped() {
                    self.give_up();
                    return Err("it was told to stop".to_owned());
                }
                if waited > self.limit {
                    self.give_up();
                    return Err(self.too_long(event, gpu, what));
                }
            }
            std::thread::yield_now();
        }
    }

    /// After a wait without an end: whether this rank's GPU or another's is to blame.
    fn too_long(&self, event: &CudaEvent, gpu: usize, what: &str) -> String {
        let limit = self.limit.as_secs_f64();
        let waited = format!("cuda:{gpu} was waited for {limit} s ({TIMEOUT}) for {what}");
        match self.leaves(event) {
            true => self.blame(format!(
                "{waited}, and was slow or itself waited for another"
            )),
            false => format!("{waited}, and hangs: nothing is left that it could wait for"),
        }
    }
}
