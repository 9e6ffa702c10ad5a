//! Facts about this machine, for a run's environment.

use std::sync::OnceLock;

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    pub os: String,
    /// Brand of the first CPU.
    pub cpu: String,
    /// Physical cores.
    pub cores: usize,
    pub ram_gib: f64,
}

/// Read once a process: nothing in it changes.
pub fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(read)
}

fn read() -> Machine {
    let system = System::new().ok().map(|mut system| {
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        system
    });
    let cpus = system.as_ref().map_or(&[][..], System::cpus);
    let brand = cpus.first().map(|cpu| cpu.brand().trim());
    let ram = system.as_ref().map_or(0, System::total_memory);
    Machine {
        os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
        cpu: match brand {
            Some(brand) if !brand.is_empty() => brand.to_owned(),
            _ => std::env::consts::ARCH.to_owned(),
        },
        cores: System::physical_core_count().unwrap_or(cpus.len().max(1)),
        ram_gib: ram as f64 / GIB,
    }
}

/// Date and time, UTC, RFC 3339, to the second.
pub fn utc_now() -> String {
    let now = OffsetDateTime::now_utc();
    let whole = now.replace_nanosecond(0).unwrap_or(now);
    // RFC 3339 can write every year up to 9999.
    whole.format(&Rfc3339).unwrap_or_default()
}
