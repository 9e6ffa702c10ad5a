//! What the processor and the system count while steps run: one number an event, for all threads.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod none;

use std::collections::BTreeMap;

#[cfg(target_os = "linux")]
pub use linux::Counters;
#[cfg(not(target_os = "linux"))]
pub use none::Counters;

/// Events by name; of one that was not counted, the reason.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counts(pub BTreeMap<&'static str, Result<f64, String>>);

/// What is counted, by the names in the results.
pub const EVENTS: [&str; 8] = [
    "cycles",
    "instructions",
    "cache_references",
    "cache_misses",
    "branch_misses",
    "context_switches",
    "cpu_migrations",
    "page_faults",
];
