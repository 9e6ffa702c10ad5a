//! What waits in a stream.

use std::sync::{Arc, Mutex, MutexGuard};

use super::Driver;
use crate::memory::Footprint;

/// Why work failed: the driver's code, and words for whoever reads the log.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: i32,
    pub message: String,
}

impl Failure {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Does the work on a device; tells how long it pretends to have taken, in nanoseconds.
pub type Job = Arc<dyn Fn(&Driver, usize) -> Result<u64, Failure> + Send + Sync>;

/// Work that has begun, and may have to wait for what others do.
pub trait Begun: Send {
    fn resume(&mut self, driver: &Driver, device: usize) -> Result<Progress, Failure>;
    /// What it waits for, for messages.
    fn waits(&self) -> String;
    /// What it has touched once it is done, and kernels in front that it may have overlapped.
    fn left(&mut self) -> Footprint {
        Footprint::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nanoseconds that it pretends to have taken.
    Done(u64),
    /// It waits; did it do anything before?
    Waits { moved: bool },
}

/// Is told what the kernels right in front of it in its stream have touched.
pub type Begin =
    Arc<dyn Fn(&Driver, usize, Footprint) -> Result<Box<dyn Begun>, Failure> + Send + Sync>;

#[derive(Clone)]
pub enum Work {
    Run(Job),
    Begin(Begin),
    /// The event has happened when all before it in its stream has.
    Record(u64),
    /// Until another stream has done so many pieces of work.
    Wait {
        stream: u64,
        done: u64,
    },
    /// Gives an allocation back, in stream order.
    Free(u64),
    /// One rank's part of a collective: runs when all ranks have come to it.
    Meet(Arc<Meeting>, usize),
}

/// All ranks' parts of one collective.
pub struct Meeting {
    /// For messages: what it is, and which of its communicator's calls.
    pub name: String,
    /// The communicator's number, the same for all its ranks.
    pub group: u64,
    pub size: usize,
    pub parts: Mutex<Vec<Option<Part>>>,
    /// Does the collective, with all parts at hand.
    #[allow(clippy::type_complexity)]
    pub run: Box<dyn Fn(&Driver, &[Part]) -> Result<u64, Failure> + Send + Sync>,
}

impl Meeting {
    /// One to which nobody else comes.
    pub fn without_peers(&self) -> Self {
        Self {
            name: self.name.clone(),
            group: self.group,
            size: self.size,
            parts: Mutex::new(vec![None; self.size]),
            run: Box::new(|_, _| Ok(0)),
        }
    }

    pub fn parts(&self) -> MutexGuard<'_, Vec<Option<Part>>> {
        self.parts.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[derive(Clone, Debug)]
pub struct Part {
    pub stream: u64,
    pub send: u64,
    pub receive: u64,
    pub count: u64,
}
