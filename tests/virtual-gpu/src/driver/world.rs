//! Everything the driver knows, behind one lock.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Instant;

use super::config::{Planned, Trouble};
use super::kernels::{Function, Loaded};
use super::pools::Pool;
use super::work::{Begun, Work};
use super::{Driver, codes, log};
use crate::memory::{Footprint, Space};

pub struct World {
    pub space: Space,
    pub cards: Vec<Card>,
    pub streams: HashMap<u64, Stream>,
    pub events: HashMap<u64, Event>,
    pub pools: HashMap<u64, Pool>,
    pub captures: HashMap<u64, Capture>,
    pub graphs: HashMap<u64, Graph>,
    pub executables: HashMap<u64, Graph>,
    pub modules: HashMap<u64, Arc<Loaded>>,
    pub functions: HashMap<u64, Arc<Function>>,
    /// Communicators of which a peer is gone.
    pub broken: HashSet<u64>,
    /// By start: bytes, and the pool they came from.
    pub allocations: BTreeMap<u64, Allocation>,
    pub random: u64,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    pub bytes: u64,
    pub device: usize,
    pub pool: Option<u64>,
}

/// What faults are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Launch,
    Allocation,
    Collective,
}

#[derive(Default)]
pub struct Card {
    pub retained: u32,
    /// The first failure; every later call answers with it.
    pub error: Option<i32>,
    pub direct: u64,
    pub pool: u64,
    pub default_pool: u64,
    pub launches: u64,
    pub allocated: u64,
    pub collectives: u64,
    /// It does nothing more.
    pub hangs: bool,
    /// Devices whose memory its context was given access to, one bit each.
    pub peers: u64,
    /// Pretended time.
    pub nanoseconds: u64,
    /// That kernels moved, where traffic is counted.
    pub bytes: u64,
}

pub struct Stream {
    pub device: usize,
    pub queue: VecDeque<Work>,
    pub enqueued: u64,
    pub done: u64,
    pub busy: bool,
    /// What its front has begun and waits for others, and since when in vain.
    pub begun: Option<(Box<dyn Begun>, Option<Instant>)>,
    pub capture: Option<u64>,
    /// What its last works have touched, where they are kernels.
    pub touched: Footprint,
    /// Does it wait for the legacy stream, and that for it?
    pub blocking: bool,
    pub priority: i32,
}

#[derive(Clone, Debug, Default)]
pub struct Event {
    pub device: usize,
    /// Stream and how much of it must be done.
    pub recorded: Option<(u64, u64)>,
    /// Capture, stream and how much that stream had captured.
    pub captured: Option<(u64, u64, usize)>,
    pub at: u64,
    /// Of its device's kernels until then.
    pub bytes: u64,
    pub timed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

pub struct Capture {
    pub origin: u64,
    pub thread: ThreadId,
    pub mode: Mode,
    pub works: Vec<Work>,
    pub invalid: bool,
    /// Streams that were drawn in: how much each has captured, and how much of it was joined.
    pub forks: HashMap<u64, (usize, usize)>,
    pub allocations: Vec<u64>,
}

#[derive(Clone, Default)]
pub struct Graph {
    pub works: Vec<Work>,
    pub allocations: Arc<HashSet<u64>>,
    pub device: usize,
}

/// Of streams that need no creation.
pub const LEGACY: u64 = 1;
pub const PER_THREAD: u64 = 2;
const FIRST_HANDLE: u64 = 0x7_0000;
const HANDLE_STEP: u64 = 16;

impl World {
    pub fn new(space: Space, devices: usize, seed: u64) -> Self {
        let mut world = Self {
            space,
            cards: Vec::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            pools: HashMap::new(),
            captures: HashMap::new(),
            graphs: HashMap::new(),
            executables: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            broken: HashSet::new(),
            allocations: BTreeMap::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            next: FIRST_HANDLE,
        };
        for device in 0..devices {
            let pool = world.handle();
            world.pools.insert(
                pool,
                Pool {
                    device,
                    reuse: [1; 3],
                    ..Pool::default()
                },
            );
            world.cards.push(Card {
                pool,
                default_pool: pool,
                ..Card::default()
            });
        }
        world
    }

    pub fn handle(&mut self) -> u64 {
        self.next += HANDLE_STEP;
        self.next
    }

    pub fn roll(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    pub fn new_stream(&mut self, device: usize, blocking: bool, priority: i32) -> u64 {
        let id = self.handle();
        self.put_stream(id, device, blocking, priority);
        id
    }

    fn put_stream(&mut self, id: u64, device: usize, blocking: bool, priority: i32) {
        let stream = Stream {
            device,
            queue: VecDeque::new(),
            enqueued: 0,
            done: 0,
            busy: false,
            begun: None,
            capture: None,
            touched: Footprint::default(),
            blocking,
            priority,
        };
        self.streams.insert(id, stream);
    }

    /// The stream that a handle means on this thread, made if it has none yet.
    pub fn stream(&mut self, handle: u64, device: usize, thread: u64) -> Result<u64, i32> {
        // Streams without creation get numbers below every handle.
        let id = match handle {
            0 | LEGACY => LEGACY + device as u64 * HANDLE_STEP,
            PER_THREAD => (1 << 62) + thread * 4096 + device as u64,
            other => {
                return if self.streams.contains_key(&other) {
                    Ok(other)
                } else {
                    Err(codes::ERROR_INVALID_HANDLE)
                };
            }
        };
        if !self.streams.contains_key(&id) {
            self.put_stream(id, device, true, 0);
        }
        Ok(id)
    }

    pub fn legacy(&self, device: usize) -> u64 {
        LEGACY + device as u64 * HANDLE_STEP
    }

    /// Memory of the card that nobody holds.
    pub fn free_memory(&self, device: usize, driver: &Driver) -> u64 {
        let config = &driver.config.device[device];
        let pools: u64 = self
            .pools
            .values()
            .filter(|p| p.device == device)
            .map(|p| p.reserved)
            .sum();
        config
            .memory()
            .saturating_sub((config.context_mib << 20) + self.cards[device].direct + pools)
    }

    /// Is a planned fault due, by what a device has come to for the n-th time? Says so.
    pub fn due(&self, driver: &Driver, device: usize, what: Count) -> Option<Trouble> {
        let card = &self.cards[device];
        let planned = driver.config.fault.iter().filter(|f| f.device == device);
        let due = |f: &&Planned| match what {
            Count::Launch => f.at == card.launches && f.kind != Trouble::OutOfMemory,
            Count::Allocation => f.at == card.allocated && f.kind == Trouble::OutOfMemory,
            Count::Collective => f.collective == card.collectives,
        };
        let kind = planned.filter(due).map(|f| f.kind).next()?;
        log(&format!(
            "device {device}: {kind:?}, as the configuration asks"
        ));
        Some(kind)
    }

    /// What a synchronisation does to pools.
    pub fn trim(&mut self, device: usize) {
        for pool in self.pools.values_mut().filter(|p| p.device == device) {
            pool.trim(pool.threshold);
        }
    }
}
