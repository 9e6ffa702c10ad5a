//! Streams run late: work waits until a synchronisation needs it, and among what may run then a seeded
//! choice is made. What a program forgot to wait for is therefore often not done.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::perform::{Task, fail};
use super::ready::{crossed, needed, runnable, stuck};
use super::work::{Part, Work};
use super::world::World;
use super::{Driver, codes, log};

/// Work that a stream holds before the front is run to make room.
const LONGEST_QUEUE: usize = 4096;
/// What an operation of no size takes, in pretended nanoseconds.
pub const LEAST_TIME: u64 = 1000;
/// How long a thread rests where all that could run waits for others.
const BREATH: Duration = Duration::from_millis(1);
/// One time in so many, a synchronisation runs work that it does not need.
const EAGER_ONE_IN: usize = 4;

/// What must be done before a synchronisation returns.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Stream(u64, u64),
    Device(usize),
}

impl Driver {
    /// Puts work into a stream, or into the capture that the stream is part of.
    pub fn enqueue(&self, stream: u64, work: Work) -> Result<(), i32> {
        let mut world = self.world();
        self.enqueue_in(&mut world, stream, work)?;
        let full = world
            .streams
            .get(&stream)
            .is_some_and(|s| s.queue.len() > LONGEST_QUEUE);
        if full {
            let until = world.streams[&stream].done + 1;
            return self.drain(world, Until::Stream(stream, until));
        }
        self.changed.notify_all();
        Ok(())
    }

    pub fn enqueue_in(&self, world: &mut World, stream: u64, work: Work) -> Result<(), i32> {
        let Some(found) = world.streams.get(&stream) else {
            return Err(codes::ERROR_INVALID_HANDLE);
        };
        let (device, blocking) = (found.device, found.blocking);
        if let Some(error) = world.cards[device].error {
            return Err(error);
        }
        if let Some(capture) = found.capture {
            return super::capture::add(world, capture, stream, work);
        }
        // The legacy stream waits for all that block, and they for it.
        let legacy = world.legacy(device);
        let mut waits = Vec::new();
        if stream == legacy {
            for (id, other) in &world.streams {
                if *id != legacy
                    && other.device == device
                    && other.blocking
                    && other.done < other.enqueued
                {
                    waits.push((*id, other.enqueued));
                }
            }
            waits.sort_unstable();
        } else if blocking
            && let Some(other) = world.streams.get(&legacy)
            && other.done < other.enqueued
        {
            waits.push((legacy, other.enqueued));
        }
        let work = match work {
            Work::Meet(meeting, rank) => {
                super::faults::collective(self, world, device, meeting, rank)
            }
            other => other,
        };
        if let Work::Meet(meeting, rank) = &work
            && let Some(part) = &mut meeting.parts()[*rank]
        {
            part.stream = stream;
        }
        if let Some(found) = world.streams.get_mut(&stream) {
            for (other, done) in waits {
                found.queue.push_back(Work::Wait {
                    stream: other,
                    done,
                });
                found.enqueued += 1;
            }
            found.queue.push_back(work);
            found.enqueued += 1;
        }
        Ok(())
    }

    /// Runs work until that is done. Takes the lock's guard, for what the caller looked up must still hold.
    pub fn drain<'w>(&'w self, mut world: MutexGuard<'w, World>, until: Until) -> Result<(), i32> {
        let mut idle_since = Instant::now();
        let mut in_vain = 0;
        loop {
            self.pass_trivial(&mut world);
            let device = match until {
                Until::Stream(stream, _) => match world.streams.get(&stream) {
                    None => return Ok(()),
                    Some(s) => s.device,
                },
                Until::Device(device) => device,
            };
            // A failed device has nothing left to do, but the caller must hear of it.
            if let Some(error) = world.cards[device].error {
                return Err(error);
            }
            let reached = match until {
                Until::Stream(stream, done) => {
                    world.streams.get(&stream).is_none_or(|s| s.done >= done)
                }
                Until::Device(device) => world
                    .streams
                    .values()
                    .all(|s| s.device != device || s.done == s.enqueued),
            };
            if reached {
                return Ok(());
            }
            match self.choose(&mut world, until) {
                Some(task) => {
                    let moved;
                    (world, moved) = self.perform(world, task);
                    idle_since = Instant::now();
                    in_vain = if moved { 0 } else { in_vain + 1 };
                    // All that could run waits: for another thread, or for the program itself.
                    if in_vain > world.streams.len() {
                        world = self.pause(world, BREATH);
                    }
                }
                None => {
                    if let Some((devices, failure)) = crossed(&world) {
                        for device in devices {
                            fail(&mut world, device, &failure);
                        }
                        continue;
                    }
                    let busy = world.streams.values().any(|s| s.busy);
                    if busy {
                        idle_since = Instant::now();
                    }
                    if idle_since.elapsed().as_secs() >= self.config.patience {
                        log(&format!(
                            "nothing more can run, and {until:?} is not reached: {}",
                            stuck(&world)
                        ));
                        world.cards[device].error = Some(codes::ERROR_LAUNCH_TIMEOUT);
                        return Err(codes::ERROR_LAUNCH_TIMEOUT);
                    }
                    world = self.pause(world, Duration::from_millis(200));
                }
            }
        }
    }

    fn pause<'w>(&'w self, world: MutexGuard<'w, World>, time: Duration) -> MutexGuard<'w, World> {
        let waited = self.changed.wait_timeout(world, time);
        waited.unwrap_or_else(|e| e.into_inner()).0
    }

    /// Does one piece of work towards a goal, if any can be done, and never waits for it: whoever asks again and
    /// again must see it end, or not end.
    pub fn nudge(&self, mut world: MutexGuard<'_, World>, until: Until) {
        self.pass_trivial(&mut world);
        match self.choose(&mut world, until) {
            Some(task) => {
                let (mut world, moved) = self.perform(world, task);
                self.pass_trivial(&mut world);
                if !moved {
                    drop(self.pause(world, BREATH));
                }
            }
            None => drop(self.pause(world, BREATH)),
        }
    }

    /// Until no graph holds collectives of this rank of a communicator. False if that lasts too long.
    pub fn wait_for_graphs(&self, group: u64, rank: usize) -> bool {
        let held = |world: &World| {
            let mut works = world
                .graphs
                .values()
                .chain(world.executables.values())
                .flat_map(|g| &g.works);
            works.any(|w| matches!(w, Work::Meet(m, r) if m.group == group && *r == rank))
        };
        let patience = Duration::from_secs(self.config.patience);
        let waited = self
            .changed
            .wait_timeout_while(self.world(), patience, |world| held(world));
        !waited.unwrap_or_else(|e| e.into_inner()).1.timed_out()
    }

    /// Lets a rank's device leave the collectives of a communicator that it was given: nobody comes any more.
    pub fn leave(&self, group: u64, rank: usize) {
        let mut world = self.world();
        let streams = world.streams.values_mut();
        for work in streams.filter(|s| !s.busy).flat_map(|s| s.queue.iter_mut()) {
            if matches!(work, Work::Meet(meeting, r) if meeting.group == group && *r == rank) {
                *work = Work::Run(Arc::new(|_, _| Ok(0)));
            }
        }
        self.changed.notify_all();
    }

    pub fn changed(&self) {
        self.changed.notify_all();
    }

    /// Events and waits that are due cost nothing and are passed at once.
    fn pass_trivial(&self, world: &mut World) {
        loop {
            let due = world.streams.iter().find_map(|(id, stream)| {
                let front = if stream.busy {
                    None
                } else {
                    stream.queue.front()
                };
                match front? {
                    Work::Record(event) => Some((*id, Some(*event))),
                    Work::Wait { stream, done } => {
                        let met = world.streams.get(stream).is_none_or(|s| s.done >= *done);
                        met.then_some((*id, None))
                    }
                    _ => None,
                }
            });
            let Some((id, event)) = due else { return };
            let Some(stream) = world.streams.get_mut(&id) else {
                return;
            };
            stream.queue.pop_front();
            stream.done += 1;
            let card = &world.cards[stream.device];
            if let Some(event) = event.and_then(|e| world.events.get_mut(&e)) {
                (event.at, event.bytes) = (card.nanoseconds, card.bytes);
            }
            self.changed.notify_all();
        }
    }

    /// A piece of work that may run now, taken from its stream.
    fn choose(&self, world: &mut World, until: Until) -> Option<Task> {
        let needed = needed(world, until);
        let eager = world.roll(EAGER_ONE_IN) == 0;
        let mut ready: Vec<u64> = world
            .streams
            .keys()
            .copied()
            .filter(|id| runnable(world, *id))
            .collect();
        ready.sort_unstable();
        let wanted: Vec<u64> = ready
            .iter()
            .copied()
            .filter(|id| needed.contains(id))
            .collect();
        // What has begun and waits may need anything that is there.
        let waiting = wanted.iter().any(|id| world.streams[id].begun.is_some());
        let among = if eager || waiting || wanted.is_empty() && matches!(until, Until::Device(_)) {
            ready
        } else {
            wanted
        };
        if among.is_empty() {
            return None;
        }
        let id = among[world.roll(among.len())];
        let stream = world.streams.get_mut(&id)?;
        if let Some((begun, since)) = stream.begun.take() {
            stream.busy = true;
            return Some(Task::Resume(id, begun, since));
        }
        match stream.queue.front()?.clone() {
            Work::Begin(begin) => {
                stream.busy = true;
                Some(Task::Begin(id, begin))
            }
            Work::Run(job) => {
                stream.busy = true;
                Some(Task::Run(id, job))
            }
            Work::Free(address) => {
                stream.busy = true;
                Some(Task::Free(id, address))
            }
            Work::Meet(meeting, _) => {
                let parts: Vec<Part> = meeting.parts().iter().flatten().cloned().collect();
                for part in &parts {
                    if let Some(stream) = world.streams.get_mut(&part.stream) {
                        stream.busy = true;
                    }
                }
                Some(Task::Meet(meeting, parts))
            }
            Work::Record(_) | Work::Wait { .. } => None,
        }
    }
}
