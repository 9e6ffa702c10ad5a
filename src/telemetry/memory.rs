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
    let (total, available) = (system.total_memory(), system.available_memory());
    match system.cgroup_limits() {
        None => Memory { total, available },
        // Page cache counts against a container, but it gives way: what is in use is the rest.
        Some(limits) => Memory {
            total: total.min(limits.total_memory),
            available: available.min(limits.total_memory.saturating_sub(limits.rss)),
        },
    }
}
