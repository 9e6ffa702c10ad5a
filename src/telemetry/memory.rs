//! Memory of the machine, within the limits of its container.

use sysinfo::{MemoryRefreshKind, System};

/// Bytes that this process may count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    /// Not in use now.
    pub available: u64,
}

/// Zeros where the system does not tell.
pub fn memory() -> Memory {
    let Ok(mut system) = System::new() else {
        return Memory {
            total: 0,
            available: 0,
        };
    };
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let limits = system.cgroup_limits();
    let within = |own: u64, limit: Option<u64>| limit.map_or(own, |limit| own.min(limit));
    Memory {
        total: within(
            system.total_memory(),
            limits.as_ref().map(|l| l.total_memory),
        ),
        available: within(
            system.available_memory(),
            limits.as_ref().map(|l| l.free_memory),
        ),
    }
}
