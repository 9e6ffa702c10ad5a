//! Calls that wait for a device, or for the driver's locks, while the device waits in a collective for others: on a
//! card they can hold up those others, and then nobody goes on.

use std::sync::Arc;

use super::perform::fail;
use super::work::{Failure, Meeting, Work};
use super::world::World;
use super::{Driver, codes};

impl Driver {
    /// Fails where `call` is made on a device with a collective to which not all ranks have come.
    pub fn unlocked(&self, device: usize, call: &str) -> Result<(), i32> {
        if !self.config.locks {
            return Ok(());
        }
        let mut world = self.world();
        let Some((meeting, missing)) = open(&world, device) else {
            return Ok(());
        };
        let message = format!(
            "{call} while {} is open, to which ranks {missing} of {} have not come: a driver can lock here",
            meeting.name, meeting.size
        );
        let failure = Failure::new(codes::ERROR_LAUNCH_FAILED, message);
        fail(&mut world, device, &failure);
        Err(failure.code)
    }
}

/// A collective that is queued on a device and not on all others, with the ranks that lack.
fn open(world: &World, device: usize) -> Option<(Arc<Meeting>, String)> {
    let streams = world.streams.values().filter(|s| s.device == device);
    streams.flat_map(|s| &s.queue).find_map(|work| {
        let Work::Meet(meeting, _) = work else {
            return None;
        };
        let same =
            |work: &Work| matches!(work, Work::Meet(other, _) if Arc::ptr_eq(other, meeting));
        let parts = meeting.parts();
        let queued = |rank: &usize| {
            let stream = parts[*rank]
                .as_ref()
                .and_then(|part| world.streams.get(&part.stream));
            stream.is_some_and(|s| s.queue.iter().any(same))
        };
        let missing: Vec<String> = (0..meeting.size)
            .filter(|r| !queued(r))
            .map(|r| r.to_string())
            .collect();
        (!missing.is_empty()).then(|| (meeting.clone(), missing.join(", ")))
    })
}
