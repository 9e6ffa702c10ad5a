//! A rank on a thread of its own, and what it is told.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::exec::guard::{caught, guarded};
use crate::exec::{DeviceTimes, ExecError, Rank, StepOutput, StepPlan};
use crate::ground::recorder::{Cost, Traffic};
use crate::ops::cpu::rendezvous::Rendezvous;
use crate::ops::cpu::workers::Workers;
use crate::ops::held::Held;

/// Commands that a rank has not come to yet: those of two steps.
const COMMANDS: usize = 4;
/// Between two looks at what nobody tells.
pub const LOOK: Duration = Duration::from_millis(20);

pub enum Command {
    /// Answered with what it was.
    Step(Arc<StepPlan>),
    Queue(Arc<StepPlan>),
    /// Answered with what the step was that was queued first.
    Collect,
    Call(Box<dyn FnOnce(&mut Rank) + Send>),
}

/// What a rank tells of a step.
pub struct Told {
    pub cost: Cost,
    pub traffic: Traffic,
    pub device: Option<DeviceTimes>,
}

/// A rank on a thread of its own.
pub struct Other {
    /// `None` once the rank is told to end.
    commands: Option<SyncSender<Command>>,
    pub steps: Receiver<Result<Told, ExecError>>,
    /// Returns whether its device hangs.
    thread: Option<JoinHandle<bool>>,
}

/// A rank that is not the first.
pub struct Life {
    pub rank: usize,
    pub ready: SyncSender<Result<(), ExecError>>,
    pub meeting: Arc<Rendezvous>,
}

impl Life {
    /// Starts the thread, on which `start` makes the rank; `ready` is told.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn begin(
        self,
        start: impl FnOnce() -> Result<(Workers, Rank), ExecError> + Send + 'static,
    ) -> io::Result<Other> {
        let (commands, inbox) = sync_channel(COMMANDS);
        let (replies, steps) = sync_channel(1);
        let name = format!("candlepower-rank-{}", self.rank);
        let live = move || self.live(start, &inbox, &replies);
        Ok(Other {
            commands: Some(commands),
            steps,
            thread: Some(Builder::new().name(name).spawn(live)?),
        })
    }

    /// Whether the rank's device hangs at the end.
    fn live(
        self,
        start: impl FnOnce() -> Result<(Workers, Rank), ExecError>,
        inbox: &Receiver<Command>,
        replies: &SyncSender<Result<Told, ExecError>>,
    ) -> bool {
        // Whoever waits for it may have left; then the commands end at once.
        let (mut workers, rank) = match caught(self.rank, start) {
            Ok(started) => started,
            Err(error) => {
                let reason = error.to_string();
                let _ = self.ready.send(Err(error));
                // After that, so that nobody tells of the consequences first.
                self.meeting.stop(self.rank, &reason);
                return false;
            }
        };
        let mut rank = Held::new(rank);
        let _ = self.ready.send(Ok(()));
        drop(self.ready);
        workers.install(|| serve(&mut rank, &self.meeting, inbox, replies));
        let is_lost = rank.is_lost();
        if is_lost {
            rank.keep();
        }
        is_lost
    }
}

/// The life of a rank that is not the first: until nobody commands it any more.
fn serve(
    rank: &mut Rank,
    rendezvous: &Rendezvous,
    inbox: &Receiver<Command>,
    replies: &SyncSender<Result<Told, ExecError>>,
) {
    let mut output = StepOutput::default();
    let number = rank.number();
    // Of steps that were queued: what went wrong is told when it is asked for.
    let mut queued = VecDeque::new();
    for command in inbox {
        let outcome = match command {
            Command::Call(call) => {
                call(rank);
                continue;
            }
            Command::Queue(plan) => {
                queued.push_back(guarded(number, rendezvous, || rank.queue(&plan)));
                continue;
            }
            Command::Step(plan) => {
                let step = || rank.step(&plan, &mut output);
                guarded(number, rendezvous, step)
            }
            Command::Collect => {
                let queued = queued.pop_front().unwrap_or(Err(ExecError::NothingQueued));
                let collect = || rank.collect(&mut output);
                queued.and_then(|()| guarded(number, rendezvous, collect))
            }
        };
        let told = outcome.map(|()| Told {
            cost: output.cost,
            traffic: output.traffic,
            device: output.device.take(),
        });
        if replies.send(told).is_err() {
            return;
        }
    }
}

impl Other {
    pub fn send(&self, command: Command) -> Result<(), ExecError> {
        let commands = self.commands.as_ref().ok_or(ExecError::Ended)?;
        commands.send(command).map_err(|_| ExecError::Ended)
    }

    /// Tells the rank to end.
    pub fn dismiss(&mut self) {
        self.commands = None;
    }

    /// Waits until then at most for the rank's thread, and no more later; whether it ended, and its device did.
    pub fn ends_by(&mut self, end: Instant) -> bool {
        let Some(thread) = self.thread.take() else {
            return true;
        };
        while !thread.is_finished() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        thread.join().is_ok_and(|is_lost| !is_lost)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.dismiss();
        if let Some(thread) = self.thread.take() {
            // Its panics were caught, and told where they happened.
            let _ = thread.join();
        }
    }
}
