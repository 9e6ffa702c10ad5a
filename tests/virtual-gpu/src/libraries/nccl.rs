//! NCCL: ranks are threads of this process, each with its device, or of several. A collective is one piece of work
//! that runs when all ranks' streams have come to it; it adds up in rank order, in f32 for small floats.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use super::collective::{AVERAGE, Call, Kind, SUM, bytes_of, perform};
use super::communicators::{
    Coming, IN_PROGRESS, INVALID_ARGUMENT, SYSTEM_ERROR, UniqueId, answer, communicator, join,
    locked, number, ready, registry,
};
use super::link::Link;
use crate::calls::{device_now, export, put, stream_now, take};
use crate::driver::config::Trouble;
use crate::driver::traced::Ran;
use crate::driver::work::{Begun, Failure, Meeting, Part, Work};
use crate::driver::{Driver, codes, driver, faults, log};

const CUDA_ERROR: i32 = 1;
const INVALID_USAGE: i32 = 5;
const REMOTE_ERROR: i32 = 6;
const VERSION: i32 = 23004;
const MAGIC: u32 = 0xcafe_beef;
/// Bytes a nanosecond between devices, pretended: through the host.
const LINK: u64 = 12;

/// The head of `ncclConfig_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Config {
    size: usize,
    magic: u32,
    version: u32,
    blocking: i32,
}

thread_local! {
    static GROUPED: Cell<u32> = const { Cell::new(0) };
}

fn collective(handle: u64, call: Call, send: u64, receive: u64, stream: u64) -> Result<(), i32> {
    ready(handle)?;
    let mut all = registry();
    let communicator = all.communicators.get_mut(&handle).ok_or(INVALID_ARGUMENT)?;
    communicator.calls += 1;
    let communicator = communicator.clone();
    drop(all);
    let (number, rank) = (communicator.calls, communicator.rank);
    if bytes_of(call.ty).is_none() || !(SUM..=AVERAGE).contains(&call.operation) {
        return Err(INVALID_ARGUMENT);
    }
    let (_, id) = stream_now(stream).map_err(|_| CUDA_ERROR)?;
    if let Some(link) = communicator.link.get() {
        let size = locked(&communicator.group).size;
        afar(link, rank, size, call, [send, receive], id)?;
        return answer(handle);
    }
    let mut group = locked(&communicator.group);
    let (size, group_id) = (group.size, group.id);
    let new = || {
        let run = move |driver: &Driver, parts: &[Part]| {
            perform(&mut driver.view(), &call, parts).map_err(|f| {
                Failure::new(
                    codes::ERROR_ILLEGAL_ADDRESS,
                    format!("{:?}: {f}", call.kind),
                )
            })?;
            let nanoseconds = call.count * bytes_of(call.ty).unwrap_or(1) as u64 / LINK;
            for part in parts {
                let device = driver.world().streams.get(&part.stream).map(|s| s.device);
                if let Some(device) = device {
                    driver.ran(device, nanoseconds, || Ran {
                        name: format!("ncclDevKernel_{:?}", call.kind),
                        grid: [1; 3],
                        block: [512, 1, 1],
                        registers: 96,
                        ..Ran::default()
                    });
                }
            }
            Ok(nanoseconds)
        };
        let parts = Mutex::new(vec![None; size]);
        (
            call,
            Arc::new(Meeting {
                name: format!("collective {number} ({call})"),
                group: group_id,
                size,
                parts,
                run: Box::new(run),
            }),
        )
    };
    let (known, meeting) = group.open.entry(number).or_insert_with(new).clone();
    if known != call {
        log(&format!(
            "NCCL call {number}: rank {rank} makes {call}, another rank {known}"
        ));
        return Err(INVALID_USAGE);
    }
    let complete = {
        let mut parts = meeting.parts();
        parts[rank] = Some(Part {
            stream: id,
            send,
            receive,
            count: call.count,
        });
        parts.iter().flatten().count() == size
    };
    if complete {
        group.open.remove(&number);
    }
    drop(group);
    driver()
        .enqueue(id, Work::Meet(meeting, rank))
        .map_err(|_| CUDA_ERROR)?;
    answer(handle)
}

/// A collective with ranks of other processes: each brings its part when its stream comes to it.
fn afar(
    link: &Arc<Link>,
    rank: usize,
    size: usize,
    call: Call,
    at: [u64; 2],
    stream: u64,
) -> Result<(), i32> {
    let link = link.clone();
    let begin = move |driver: &Driver, device: usize, _| {
        match faults::of_collective(driver, &mut driver.world(), device) {
            None => {}
            Some(Trouble::RemoteError) => link.part(),
            Some(trouble) => return faults::strike(&mut driver.world(), device, trouble),
        }
        let exchange: Box<dyn Begun> = Box::new(link.begin(driver, rank, size, call, at)?);
        Ok(exchange)
    };
    driver()
        .enqueue(stream, Work::Begin(Arc::new(begin)))
        .map_err(|_| CUDA_ERROR)
}

fn here() -> Result<usize, i32> {
    device_now().map_err(|_| CUDA_ERROR)
}

export! {
    fn ncclGetVersion(version: *mut i32) {
        put(version, VERSION)
    }
    fn ncclGetUniqueId(id: *mut UniqueId) {
        put(id, UniqueId::new())
    }
    fn ncclCommInitRank(out: *mut u64, ranks: i32, id: UniqueId, rank: i32) {
        join(out, &Coming { wait: GROUPED.get() == 0, ..Coming::by(&id, ranks, rank, here()?) })
    }
    fn ncclCommInitRankConfig(out: *mut u64, ranks: i32, id: UniqueId, rank: i32, config: *const Config) {
        let eager = !config.is_null() && {
            let config = take(config)?;
            if config.magic != MAGIC {
                return Err(INVALID_ARGUMENT);
            }
            config.blocking == 0
        };
        join(out, &Coming { wait: GROUPED.get() == 0, eager, ..Coming::by(&id, ranks, rank, here()?) })
    }
    fn ncclCommInitAll(out: *mut u64, count: i32, devices: *const i32) {
        let group = number();
        for rank in 0..count {
            let device = if devices.is_null() { rank } else { take(devices.wrapping_add(rank as usize))? };
            let coming = Coming { ranks: count, rank, device: device as usize, group, address: None, wait: false, eager: false };
            join(out.wrapping_add(rank as usize), &coming)?;
        }
        Ok(())
    }
    fn ncclCommDestroy(handle: u64) {
        let gone = communicator(handle)?;
        let group = locked(&gone.group).id;
        if !driver().wait_for_graphs(group, gone.rank) {
            log(&format!("ncclCommDestroy: rank {}: a graph still holds its collectives", gone.rank));
            return Err(SYSTEM_ERROR);
        }
        registry().communicators.remove(&handle).ok_or(INVALID_ARGUMENT)?;
        gone.link.get().inspect(|link| link.leave());
        Ok(())
    }
    /// What its device waits for peers in ends at once, whatever the communicator does.
    fn ncclCommAbort(handle: u64) {
        let gone = registry().communicators.remove(&handle).ok_or(INVALID_ARGUMENT)?;
        let group = locked(&gone.group).id;
        driver().leave(group, gone.rank);
        gone.link.get().inspect(|link| link.leave());
        Ok(())
    }
    fn ncclCommFinalize(handle: u64) {
        ready(handle)?;
        answer(handle)
    }
    fn ncclCommCount(handle: u64, count: *mut i32) {
        put(count, locked(&communicator(handle)?.group).size as i32)
    }
    fn ncclCommCuDevice(handle: u64, device: *mut i32) {
        put(device, communicator(handle)?.device as i32)
    }
    fn ncclCommUserRank(handle: u64, rank: *mut i32) {
        put(rank, communicator(handle)?.rank as i32)
    }
    fn ncclCommGetAsyncError(handle: u64, error: *mut i32) {
        let asked = communicator(handle)?;
        let all = asked.is_whole();
        let id = locked(&asked.group).id;
        let apart = asked.link.get().is_some_and(|link| link.broken());
        let world = driver().world();
        let state = if world.cards[asked.device].error.is_some() {
            CUDA_ERROR
        } else if apart || world.broken.contains(&id) {
            REMOTE_ERROR
        } else if !all || asked.busy {
            IN_PROGRESS
        } else {
            0
        };
        drop(world);
        if all && let Some(asked) = registry().communicators.get_mut(&handle) {
            asked.busy = false;
        }
        put(error, state)
    }
    fn ncclGroupStart() {
        GROUPED.set(GROUPED.get() + 1);
        Ok(())
    }
    fn ncclGroupEnd() {
        GROUPED.set(GROUPED.get().checked_sub(1).ok_or(INVALID_USAGE)?);
        Ok(())
    }
    fn ncclAllReduce(send: u64, receive: u64, count: usize, ty: i32, operation: i32, handle: u64, stream: u64) {
        collective(handle, Call { kind: Kind::AllReduce, ty, operation, count: count as u64 }, send, receive, stream)
    }
    fn ncclReduce(send: u64, receive: u64, count: usize, ty: i32, operation: i32, root: i32, handle: u64, stream: u64) {
        collective(handle, Call { kind: Kind::Reduce(root as usize), ty, operation, count: count as u64 }, send, receive, stream)
    }
    fn ncclAllGather(send: u64, receive: u64, count: usize, ty: i32, handle: u64, stream: u64) {
        collective(handle, Call { kind: Kind::AllGather, ty, operation: SUM, count: count as u64 }, send, receive, stream)
    }
    fn ncclReduceScatter(send: u64, receive: u64, count: usize, ty: i32, operation: i32, handle: u64, stream: u64) {
        collective(handle, Call { kind: Kind::ReduceScatter, ty, operation, count: count as u64 }, send, receive, stream)
    }
    fn ncclBroadcast(send: u64, receive: u64, count: usize, ty: i32, root: i32, handle: u64, stream: u64) {
        collective(handle, Call { kind: Kind::Broadcast(root as usize), ty, operation: SUM, count: count as u64 }, send, receive, stream)
    }
}
