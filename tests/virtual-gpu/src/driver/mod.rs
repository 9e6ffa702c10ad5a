//! The driver: devices, streams that run late and in any order the rules allow, memory, graphs.

pub mod capture;
pub mod codes;
pub mod config;
pub mod engine;
pub mod faults;
pub mod kernels;
pub mod launched;
mod locks;
mod perform;
pub mod pools;
mod ready;
mod report;
pub mod traced;
pub mod work;
pub mod world;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use crate::exec::counters::Counters;
use crate::memory::{Bus, Space, View};
use config::Config;
use world::World;

pub struct Driver {
    pub config: Config,
    world: Mutex<World>,
    changed: Condvar,
    pub counters: Mutex<BTreeMap<String, Counters>>,
    /// How often each function was called.
    pub calls: Mutex<BTreeMap<&'static str, u64>>,
    /// How often each range was opened that a program names for profilers.
    pub ranges: Mutex<BTreeMap<String, u64>>,
    pub bus: Arc<Bus>,
    /// Who is told of each kernel that has run.
    pub tracer: Mutex<Option<fn(traced::Record)>>,
}

thread_local! {
    /// The device whose context is current.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
    static THREAD: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

pub fn current() -> Option<usize> {
    CURRENT.get()
}

pub fn set_current(device: Option<usize>) {
    CURRENT.set(device);
}

pub fn thread() -> u64 {
    THREAD.with(|t| *t)
}

/// A line for whoever looks why something failed.
pub fn log(message: &str) {
    eprintln!("virtual GPU: {message}");
}

/// Stops the program: nothing sensible can follow.
pub fn give_up(message: &str) -> ! {
    log(message);
    std::process::abort()
}

pub fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        if !crate::exec::lanes::machine_is_able() {
            give_up(
                "this machine's processor lacks AVX2, FMA or F16C, which the interpreter needs",
            );
        }
        let config = Config::read().unwrap_or_else(|e| give_up(&e));
        crate::exec::approximate::disturb(config.disturb);
        let totals: Vec<u64> = config.device.iter().map(config::Device::memory).collect();
        let space = Space::new(&totals)
            .unwrap_or_else(|e| give_up(&format!("cannot reserve address space: {e}")));
        if config.report.is_some() {
            report::at_exit();
        }
        let world = World::new(space, config.device.len(), config.seed);
        Driver {
            config,
            world: Mutex::new(world),
            changed: Condvar::new(),
            counters: Mutex::default(),
            calls: Mutex::default(),
            ranges: Mutex::default(),
            bus: Arc::default(),
            tracer: Mutex::default(),
        }
    })
}

/// Counts a call, for the report.
pub fn called(name: &'static str) {
    let driver = driver();
    if driver.config.report.is_some() {
        let mut calls = driver.calls.lock().unwrap_or_else(|e| e.into_inner());
        *calls.entry(name).or_default() += 1;
    }
}

impl Driver {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A sight of all memory, for copies and libraries.
    pub fn view(&self) -> View {
        View::new(self.world().space.map())
    }

    /// A sight of memory as a device's kernels have it.
    pub fn device_view(&self, device: usize) -> View {
        let world = self.world();
        let mut view = View::new(world.space.map());
        view.looks = Some((device, world.cards[device].peers));
        drop(world);
        view.strict = self.config.strict;
        view
    }

    pub fn count(&self, device: usize, name: &str, counters: &Counters) {
        self.world().cards[device].bytes += counters.bytes();
        let mut all = self.counters.lock().unwrap_or_else(|e| e.into_inner());
        all.entry(name.to_owned()).or_default().add(counters);
    }
}
