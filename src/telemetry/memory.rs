//! Memory of the machine, within the limits of this process.

use sysinfo::{MemoryRefreshKind, System};

use super::limits::limits;

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
    let machine = Memory {
        total: system.total_memory(),
        available: system.available_memory(),
    };
    limits().iter().fold(machine, |memory, limit| Memory {
        total: memory.total.min(limit.total),
        available: memory.available.min(limit.left),
    })
}
