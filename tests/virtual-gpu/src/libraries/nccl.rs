//! NCCL: ranks are threads of this process, each with its device. A collective is one piece of work that
//! runs when all ranks' streams have come to it; it adds up in rank order, in f32 for small floats.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::collective::{AVERAGE, Call, Kind, SUM, bytes_of, perform};
use crate::calls::{device_now, export, offer, put, stream_now, take};
use crate::driver::work::{Failure, Meeting, Part, Work};
use crate::driver::{Driver, codes, driver, log};

const CUDA_ERROR: i32 = 1;
const SYSTEM_ERROR: i32 = 2;
const INVALID_ARGUMENT: i32 = 4;
const INVALID_USAGE: i32 = 5;
const VERSION: i32 = 23004;
const ID_BYTES: usize = 128;
/// Bytes a nanosecond between devices, pretended: through the host.
const LINK: u64 = 12;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct UniqueId([u8; ID_BYTES]);

struct Group {
    id: u64,
    size: usize,
    joined: usize,
    /// Collectives that not all ranks have come to, by their number.
    open: HashMap<u64, (Call, Arc<Meeting>)>,
}

#[derive(Clone)]
struct Communicator {
    group: Arc<Mutex<Group>>,
    rank: usize,
    device: usize,
    calls: u64,
}

#[derive(Default)]
struct Registry {
    next: u64,
    groups: HashMap<u64, Arc<Mutex<Group>>>,
    communicators: HashMap<u64, Communicator>,
}

static REGISTRY: LazyLock<(Mutex<Registry>, Condvar)> = LazyLock::new(Default::default);

thread_local! {
    static GROUPED: Cell<u32> = const { Cell::new(0) };
}

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.0.lock().unwrap_or_else(|e| e.into_inner())
}

fn locked(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(|e| e.into_inner())
}

fn new_group(id: u64, size: usize) -> Arc<Mutex<Group>> {
    Arc::new(Mutex::new(Group {
        id,
        size,
        joined: 0,
        open: HashMap::new(),
    }))
}

fn join(
    out: *mut u64,
    ranks: i32,
    id: u64,
    rank: i32,
    device: usize,
    wait: bool,
) -> Result<(), i32> {
    if ranks <= 0 || rank < 0 || rank >= ranks {
        return Err(INVALID_ARGUMENT);
    }
    let mut all = registry();
    let group = all
        .groups
        .entry(id)
        .or_insert_with(|| new_group(id, ranks as usize))
        .clone();
    all.next += 16;
    let handle = 0x9cc1_0000 + all.next;
    let communicator = Communicator {
        group: group.clone(),
        rank: rank as usize,
        device,
        calls: 0,
    };
    all.communicators.insert(handle, communicator);
    if locked(&group).size != ranks as usize {
        return Err(INVALID_ARGUMENT);
    }
    locked(&group).joined += 1;
    REGISTRY.1.notify_all();
    put(out, handle)?;
    let started = Instant::now();
    while wait && locked(&group).joined < ranks as usize {
        if started.elapsed().as_secs() > driver().config.patience {
            log(&format!(
                "ncclCommInitRank: {} of {ranks} ranks came",
                locked(&group).joined
            ));
            return Err(SYSTEM_ERROR);
        }
        let pause = Duration::from_millis(100);
        all = REGISTRY
            .1
            .wait_timeout(all, pause)
            .unwrap_or_else(|e| e.into_inner())
            .0;
    }
    Ok(())
}

fn id_of(id: &UniqueId) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| id.0[i]))
}

fn collective(handle: u64, call: Call, send: u64, receive: u64, stream: u64) -> Result<(), i32> {
    let mut all = registry();
    let communicator = all.communicators.get_mut(&handle).ok_or(INVALID_ARGUMENT)?;
    communicator.calls += 1;
    let (number, rank, group) = (
        communicator.calls,
        communicator.rank,
        communicator.group.clone(),
    );
    drop(all);
    if bytes_of(call.ty).is_none() || !(SUM..=AVERAGE).contains(&call.operation) {
        return Err(INVALID_ARGUMENT);
    }
    let (_, id) = stream_now(stream).map_err(|_| CUDA_ERROR)?;
    let mut group = locked(&group);
    let (size, group_id) = (group.size, group.id);
    let new = || {
        let run = move |driver: &Driver, parts: &[Part]| {
            perform(&mut driver.view(), &call, parts).map_err(|f| {
                Failure::new(
                    codes::ERROR_ILLEGAL_ADDRESS,
                    format!("{:?}: {f}", call.kind),
                )
            })?;
            Ok(call.count * bytes_of(call.ty).unwrap_or(1) as u64 / LINK)
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
        .map_err(|_| CUDA_ERROR)
}

fn communicator(handle: u64) -> Result<Communicator, i32> {
    registry()
        .communicators
        .get(&handle)
        .cloned()
        .ok_or(INVALID_ARGUMENT)
}

fn here() -> Result<usize, i32> {
    device_now().map_err(|_| CUDA_ERROR)
}

export! {
    fn ncclGetVersion(version: *mut i32) {
        put(version, VERSION)
    }
    fn ncclGetUniqueId(id: *mut UniqueId) {
        let mut all = registry();
        all.next += 16;
        let mut bytes = [0; ID_BYTES];
        bytes[..8].copy_from_slice(&all.next.to_le_bytes());
        put(id, UniqueId(bytes))
    }
    fn ncclCommInitRank(out: *mut u64, ranks: i32, id: UniqueId, rank: i32) {
        join(out, ranks, id_of(&id), rank, here()?, GROUPED.get() == 0)
    }
    fn ncclCommInitRankConfig(out: *mut u64, ranks: i32, id: UniqueId, rank: i32, _config: u64) {
        join(out, ranks, id_of(&id), rank, here()?, GROUPED.get() == 0)
    }
    fn ncclCommInitAll(out: *mut u64, count: i32, devices: *const i32) {
        let mut all = registry();
        all.next += 16;
        let id = all.next;
        drop(all);
        for rank in 0..count {
            let device = if devices.is_null() { rank } else { take(devices.wrapping_add(rank as usize))? };
            join(out.wrapping_add(rank as usize), count, id, rank, device as usize, false)?;
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
        registry().communicators.remove(&handle).map(|_| ()).ok_or(INVALID_ARGUMENT)
    }
    fn ncclCommAbort(handle: u64) {
        registry().communicators.remove(&handle).map(|_| ()).ok_or(INVALID_ARGUMENT)
    }
    fn ncclCommFinalize(handle: u64) {
        communicator(handle).map(|_| ())
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
        let device = communicator(handle)?.device;
        let failed = driver().world().cards[device].error.is_some();
        offer(error, if failed { CUDA_ERROR } else { 0 });
        Ok(())
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
