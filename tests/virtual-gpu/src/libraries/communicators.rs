//! Communicators: who has come, from this process or another, and what their calls wait for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::collective::Call;
use super::hub::Hub;
use super::link::Link;
use crate::calls::put;
use crate::driver::work::Meeting;
use crate::driver::{driver, log};

pub const SYSTEM_ERROR: i32 = 2;
pub const INVALID_ARGUMENT: i32 = 4;
pub const IN_PROGRESS: i32 = 7;
const ID_BYTES: usize = 128;
/// Where an id has the length of the address in it, and the address.
const LENGTH_AT: usize = 8;
const ADDRESS_AT: usize = 16;
/// One call in so many of those that do not wait is not done when it returns.
const LATE_ONE_IN: usize = 3;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct UniqueId([u8; ID_BYTES]);

pub struct Group {
    pub id: u64,
    pub size: usize,
    /// Ranks of this process.
    pub joined: usize,
    /// Collectives that not all ranks have come to, by their number.
    pub open: HashMap<u64, (Call, Arc<Meeting>)>,
}

#[derive(Clone)]
pub struct Communicator {
    pub group: Arc<Mutex<Group>>,
    pub rank: usize,
    pub device: usize,
    pub calls: u64,
    /// The way to ranks of other processes, where there are any.
    pub link: Arc<OnceLock<Arc<Link>>>,
    address: Option<SocketAddr>,
    /// Do its calls return before they are done?
    eager: bool,
    /// The last one is not done.
    pub busy: bool,
}

#[derive(Default)]
pub struct Registry {
    next: u64,
    groups: HashMap<u64, Arc<Mutex<Group>>>,
    pub communicators: HashMap<u64, Communicator>,
}

static REGISTRY: LazyLock<(Mutex<Registry>, Condvar)> = LazyLock::new(Default::default);

pub fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.0.lock().unwrap_or_else(|e| e.into_inner())
}

pub fn locked(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(|e| e.into_inner())
}

/// Where this process is found by others, once it has made an id.
fn hub() -> Option<&'static (Arc<Hub>, SocketAddr)> {
    static HUB: OnceLock<Option<(Arc<Hub>, SocketAddr)>> = OnceLock::new();
    HUB.get_or_init(|| {
        Hub::open()
            .inspect_err(|e| log(&format!("NCCL: no address: {e}")))
            .ok()
    })
    .as_ref()
}

impl UniqueId {
    /// One that nobody else makes, with the address of this process.
    pub fn new() -> Self {
        let mut bytes = [0; ID_BYTES];
        bytes[..LENGTH_AT].copy_from_slice(&number().to_le_bytes());
        if let Some((_, address)) = hub() {
            let text = address.to_string();
            bytes[LENGTH_AT] = text.len() as u8;
            bytes[ADDRESS_AT..ADDRESS_AT + text.len()].copy_from_slice(text.as_bytes());
        }
        Self(bytes)
    }

    pub fn group(&self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| self.0[i]))
    }

    fn address(&self) -> Option<SocketAddr> {
        let end = ADDRESS_AT + usize::from(self.0[LENGTH_AT]);
        std::str::from_utf8(self.0.get(ADDRESS_AT..end)?)
            .ok()?
            .parse()
            .ok()
    }
}

/// Of a communicator, like no other on any machine.
pub fn number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let mut all = registry();
    all.next += 16;
    RandomState::new().hash_one((std::process::id(), all.next))
}

impl Communicator {
    /// Have all ranks come? Ranks of this process alone need no way to others.
    pub fn is_whole(&self) -> bool {
        let (id, size, joined) = {
            let group = locked(&self.group);
            (group.id, group.size, group.joined)
        };
        if joined == size {
            return true;
        }
        if let Some(link) = self.link.get() {
            return link.all_here();
        }
        let Some(address) = self.address else {
            return false;
        };
        let ours = hub().filter(|(_, own)| *own == address);
        if ours.is_none_or(|(hub, _)| hub.is_visited(id))
            && let Ok(link) = Link::connect(address, id, self.rank, size)
        {
            let _ = self.link.set(link);
        }
        false
    }
}

/// How a rank comes to a communicator.
pub struct Coming {
    pub ranks: i32,
    pub rank: i32,
    pub device: usize,
    pub group: u64,
    pub address: Option<SocketAddr>,
    /// Until all are there.
    pub wait: bool,
    pub eager: bool,
}

impl Coming {
    pub fn by(id: &UniqueId, ranks: i32, rank: i32, device: usize) -> Self {
        Self {
            ranks,
            rank,
            device,
            group: id.group(),
            address: id.address(),
            wait: true,
            eager: false,
        }
    }
}

pub fn join(out: *mut u64, coming: &Coming) -> Result<(), i32> {
    let Coming { ranks, rank, .. } = *coming;
    if ranks <= 0 || rank < 0 || rank >= ranks {
        return Err(INVALID_ARGUMENT);
    }
    let size = ranks as usize;
    let mut all = registry();
    let new = || {
        Arc::new(Mutex::new(Group {
            id: coming.group,
            size,
            joined: 0,
            open: HashMap::new(),
        }))
    };
    let group = all.groups.entry(coming.group).or_insert_with(new).clone();
    if locked(&group).size != size {
        return Err(INVALID_ARGUMENT);
    }
    locked(&group).joined += 1;
    all.next += 16;
    let handle = 0x9cc1_0000 + all.next;
    let communicator = Communicator {
        group,
        rank: rank as usize,
        device: coming.device,
        calls: 0,
        link: Arc::default(),
        address: coming.address,
        eager: coming.eager,
        busy: false,
    };
    all.communicators.insert(handle, communicator.clone());
    drop(all);
    REGISTRY.1.notify_all();
    put(out, handle)?;
    if coming.eager {
        return Err(IN_PROGRESS);
    }
    let started = Instant::now();
    while coming.wait && !communicator.is_whole() {
        if started.elapsed().as_secs() > driver().config.patience {
            log(&format!(
                "ncclCommInitRank: {} of {ranks} ranks came",
                locked(&communicator.group).joined
            ));
            return Err(SYSTEM_ERROR);
        }
        let waited = REGISTRY
            .1
            .wait_timeout(registry(), Duration::from_millis(5));
        drop(waited.unwrap_or_else(|e| e.into_inner()));
    }
    Ok(())
}

pub fn communicator(handle: u64) -> Result<Communicator, i32> {
    registry()
        .communicators
        .get(&handle)
        .cloned()
        .ok_or(INVALID_ARGUMENT)
}

/// One that does not wait must be asked whether the last call is done before there is another.
pub fn ready(handle: u64) -> Result<(), i32> {
    let asked = communicator(handle)?;
    if asked.eager && (asked.busy || !asked.is_whole()) {
        log(&format!(
            "NCCL: rank {} makes a call before its last one is done",
            asked.rank
        ));
        return Err(INVALID_ARGUMENT);
    }
    Ok(())
}

/// What a call that is well answers: one that does not wait may not be done.
pub fn answer(handle: u64) -> Result<(), i32> {
    let late = driver().world().roll(LATE_ONE_IN) == 0;
    match registry().communicators.get_mut(&handle) {
        Some(asked) if asked.eager && late => {
            asked.busy = true;
            Err(IN_PROGRESS)
        }
        _ => Ok(()),
    }
}
