//! All-reduces of own kernels and copies, which push into memory that the others read.

use super::{AllReduceCurve, HardwareError, HostLink, Link};

/// How ranks push, by a few constants that hold for any number of them.
///
/// `t = k + e m + s / b`: a kernel's start, `m` meetings of all ranks, and the `s` bytes that a rank pushes, which another
/// rank reads meanwhile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PushLink {
    /// `e`: seconds until a flag that is written is seen by whoever polls it.
    pub meeting_seconds: f64,
    /// `b` of kernels: bytes a second that each rank pushes while all of them do.
    pub kernel_bytes_per_s: f64,
    /// `b` of the cards' copy engines.
    pub copy_bytes_per_s: f64,
}

/// A posted write over PCIe and a read that comes back: some 0.6 and 1.2 us on current hosts, and a poll that has just
/// missed it. None of these was measured by candlepower.
const HOST_MEETING_SECONDS: f64 = 2.5e-6;
/// From card to card only the write crosses the link.
const PEER_MEETING_SECONDS: f64 = 1.5e-6;
/// Loads of kernels from host memory wait longer than copy engines, which ask for more at a time.
const KERNEL_OF_COPY: f64 = 0.85;

impl PushLink {
    /// `k` of own kernels and copies: one in a graph begins behind the one before it.
    pub const START_SECONDS: f64 = 1.0e-6;

    /// Through the memory of a host as [`HostLink::NCCL`] has it: the same bytes a second.
    pub const HOST: Self = Self {
        meeting_seconds: HOST_MEETING_SECONDS,
        kernel_bytes_per_s: KERNEL_OF_COPY * HostLink::NCCL.rank_bytes_per_s,
        copy_bytes_per_s: HostLink::NCCL.rank_bytes_per_s,
    };

    /// Into each other's memory, at the rate that the largest messages of the link's tables reach; `None`: cards do not
    /// reach each other.
    ///
    /// # Errors
    /// `NoTable`: nothing is known of so many ranks on this link.
    pub fn peers(link: Link, ranks: usize) -> Result<Option<Self>, HardwareError> {
        if link == Link::PcieHost {
            return Ok(None);
        }
        let rate = AllReduceCurve::new(link, ranks)?.bytes_per_s();
        Ok(Some(Self {
            meeting_seconds: PEER_MEETING_SECONDS,
            kernel_bytes_per_s: rate,
            copy_bytes_per_s: rate,
        }))
    }

    /// Of one kernel, whose start takes `start` seconds.
    pub fn by_kernel(&self, start: f64, meetings: u32, bytes: f64) -> f64 {
        start + self.meeting_seconds * f64::from(meetings) + bytes / self.kernel_bytes_per_s
    }

    /// Of so many kernels and copies in a row.
    pub fn by_copies(&self, start: f64, launches: u32, meetings: u32, bytes: f64) -> f64 {
        let starts = start * f64::from(launches);
        starts + self.meeting_seconds * f64::from(meetings) + bytes / self.copy_bytes_per_s
    }
}
