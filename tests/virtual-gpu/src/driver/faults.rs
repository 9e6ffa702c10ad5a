//! Faults that the configuration asks for.

use std::sync::Arc;

use super::config::Trouble;
use super::work::{Begun, Failure, Meeting, Progress, Work};
use super::world::{Count, World};
use super::{Driver, codes};

/// Work that is never done.
struct Hung;

impl Begun for Hung {
    fn resume(&mut self, _: &Driver, _: usize) -> Result<Progress, Failure> {
        Ok(Progress::Waits { moved: false })
    }

    fn waits(&self) -> String {
        "it hangs, as the configuration asks".to_owned()
    }
}

/// What a fault does to the work that it meets.
pub fn strike(
    world: &mut World,
    device: usize,
    trouble: Trouble,
) -> Result<Box<dyn Begun>, Failure> {
    let code = match trouble {
        Trouble::Hangs | Trouble::RemoteError => {
            world.cards[device].hangs = true;
            return Ok(Box::new(Hung));
        }
        Trouble::LaunchFailure => codes::ERROR_LAUNCH_FAILED,
        Trouble::EccError => codes::ERROR_ECC_UNCORRECTABLE,
        Trouble::OutOfMemory => codes::ERROR_OUT_OF_MEMORY,
        Trouble::IllegalAddress => codes::ERROR_ILLEGAL_ADDRESS,
        Trouble::Dies => codes::ERROR_UNKNOWN,
    };
    Err(Failure::new(
        code,
        format!("{trouble:?}, as the configuration asks"),
    ))
}

/// The fault that is due at a device's next collective.
pub fn of_collective(driver: &Driver, world: &mut World, device: usize) -> Option<Trouble> {
    world.cards[device].collectives += 1;
    world.due(driver, device, Count::Collective)
}

/// A rank's part of a collective as its stream gets it: another piece of work, where a fault is due.
pub fn collective(
    driver: &Driver,
    world: &mut World,
    device: usize,
    meeting: Arc<Meeting>,
    rank: usize,
) -> Work {
    match of_collective(driver, world, device) {
        None => Work::Meet(meeting, rank),
        // The device is well, but nobody will meet it.
        Some(Trouble::RemoteError) => {
            world.broken.insert(meeting.group);
            Work::Meet(Arc::new(meeting.without_peers()), rank)
        }
        Some(trouble) => Work::Begin(Arc::new(move |driver: &Driver, device: usize, _| {
            strike(&mut driver.world(), device, trouble)
        })),
    }
}
