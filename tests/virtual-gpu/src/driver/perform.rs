//! Does a piece of work that was chosen, without the lock that everything is behind.

use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use super::engine::LEAST_TIME;
use super::work::{Begin, Begun, Failure, Job, Meeting, Part, Progress};
use super::world::World;
use super::{Driver, codes, log};
use crate::memory::Footprint;

pub enum Task {
    Run(u64, Job),
    Begin(u64, Begin),
    Resume(u64, Box<dyn Begun>, Option<Instant>),
    Free(u64, u64),
    Meet(Arc<Meeting>, Vec<Part>),
}

impl Driver {
    /// Also tells whether anything was done.
    pub fn perform<'w>(
        &'w self,
        mut world: MutexGuard<'w, World>,
        task: Task,
    ) -> (MutexGuard<'w, World>, bool) {
        let is_kernel = matches!(task, Task::Begin(..) | Task::Resume(..) | Task::Free(..));
        let streams_of = |parts: &[Part]| parts.iter().map(|p| p.stream).collect();
        let (streams, outcome) = match task {
            Task::Run(id, _) | Task::Begin(id, _) if self.config.unbacked => (vec![id], Ok(0)),
            Task::Meet(_, parts) if self.config.unbacked => (streams_of(&parts), Ok(0)),
            Task::Begin(id, begin) => {
                let device = world.streams[&id].device;
                let front = world.streams.get_mut(&id);
                let front = front.map(|stream| std::mem::take(&mut stream.touched));
                drop(world);
                let begun = begin(self, device, front.unwrap_or_default());
                let outcome = begun.and_then(|mut b| Ok((b.resume(self, device)?, b)));
                world = self.world();
                match rest(self, &mut world, id, outcome, None) {
                    Ok(moved) => return (world, moved),
                    Err(outcome) => (vec![id], outcome),
                }
            }
            Task::Resume(id, mut begun, since) => {
                let device = world.streams[&id].device;
                drop(world);
                let outcome = begun.resume(self, device).map(|progress| (progress, begun));
                world = self.world();
                match rest(self, &mut world, id, outcome, since) {
                    Ok(moved) => return (world, moved),
                    Err(outcome) => (vec![id], outcome),
                }
            }
            Task::Run(id, job) => {
                let device = world.streams[&id].device;
                drop(world);
                let outcome = job(self, device);
                world = self.world();
                (vec![id], outcome)
            }
            Task::Free(id, address) => {
                super::kernels::release(&mut world, address);
                (vec![id], Ok(0))
            }
            Task::Meet(meeting, parts) => {
                drop(world);
                let outcome = (meeting.run)(self, &parts);
                world = self.world();
                (streams_of(&parts), outcome)
            }
        };
        for id in streams {
            let Some(stream) = world.streams.get_mut(&id) else {
                continue;
            };
            stream.busy = false;
            if !is_kernel {
                stream.touched = Footprint::default();
            }
            stream.queue.pop_front();
            stream.done += 1;
            let device = stream.device;
            match &outcome {
                Ok(nanoseconds) => {
                    world.cards[device].nanoseconds += (*nanoseconds).max(LEAST_TIME)
                }
                Err(failure) => fail(&mut world, device, failure),
            }
        }
        self.changed.notify_all();
        (world, true)
    }
}

/// Lays work aside that waits for others; tells whether it did anything. If it is over, how it ended.
fn rest(
    driver: &Driver,
    world: &mut World,
    id: u64,
    outcome: Result<(Progress, Box<dyn Begun>), Failure>,
    since: Option<Instant>,
) -> Result<bool, Result<u64, Failure>> {
    let (moved, begun) = match outcome {
        Err(failure) => return Err(Err(failure)),
        Ok((Progress::Done(nanoseconds), mut begun)) => {
            if let Some(stream) = world.streams.get_mut(&id) {
                stream.touched = begun.left();
            }
            return Err(Ok(nanoseconds));
        }
        Ok((Progress::Waits { moved }, begun)) => (moved, begun),
    };
    let now = Instant::now();
    let since = if moved { now } else { since.unwrap_or(now) };
    if now.duration_since(since).as_secs() >= driver.config.patience {
        return Err(Err(Failure::new(
            codes::ERROR_LAUNCH_TIMEOUT,
            begun.waits(),
        )));
    }
    let failed = |s: &super::world::Stream| world.cards[s.device].error.is_some();
    if world.streams.get(&id).is_none_or(failed) {
        return Err(Ok(0));
    }
    if let Some(stream) = world.streams.get_mut(&id) {
        stream.begun = Some((begun, Some(since)));
        stream.busy = false;
    }
    driver.changed.notify_all();
    Ok(moved)
}

/// The device answers with this from now on; what waits in its streams is dropped.
pub fn fail(world: &mut World, device: usize, failure: &Failure) {
    if world.cards[device].error.is_some() {
        return;
    }
    log(&format!(
        "device {device}: {} (code {})",
        failure.message, failure.code
    ));
    world.cards[device].error = Some(failure.code);
    for stream in world
        .streams
        .values_mut()
        .filter(|s| s.device == device && !s.busy)
    {
        stream.done = stream.enqueued;
        stream.queue.clear();
        stream.begun = None;
    }
}
