//! What a device was told to run: the kernels behind an operation.

use std::sync::Arc;
use std::time::Duration;

/// One kernel that an operation launched.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Its function's name; of a library that picks a kernel of its own, the call's.
    pub kernel: Arc<str>,
    /// `None`: a library's own.
    pub shape: Option<LaunchShape>,
    /// Between it and what was launched before it in the operation; nothing where events between them time both.
    pub gap: Duration,
    pub time: Duration,
    /// Moved to and from memory, where the device counts it.
    pub bytes: Option<u64>,
}

/// How a kernel was launched, and what that leaves of a multiprocessor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaunchShape {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Of a thread; `None`: the device does not tell.
    pub registers: Option<u32>,
    /// Of a block, declared and asked for.
    pub shared_bytes: u32,
    /// Threads that a multiprocessor holds at once, of those that it can at most; `None`: the device does not tell.
    pub occupancy: Option<f64>,
}
