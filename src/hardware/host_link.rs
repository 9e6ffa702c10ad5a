//! All-reduces between cards without peer access: everything goes through the host's memory.

/// NCCL over host memory, by four constants that hold for any number of ranks.
///
/// `t(r, n) = r a + min(1.75 m / b, r c + m / b)` with `m = 2 (r - 1) / r n`, the bytes that a rank passes on. The first
/// form is that of small messages, which carry flags beside their words; in the second ranks meet more often.
///
/// With `a` of 5 us, `c` of 8 us and one rate a host, ic-01 to ic-04 (2, 2, 4 and 8 RTX 4090) are met within 25 % from
/// 8 bytes to 1 GiB: the hosts differ in their rate alone, 2.1, 3.7, 2.7 and 14.5 GB/s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostLink {
    /// `a`: seconds a rank.
    pub rank_seconds: f64,
    /// `c`: seconds a rank.
    pub large_rank_seconds: f64,
    /// `b`: bytes a second that each rank passes on while all of them do; nccl-tests' bus bandwidth.
    pub rank_bytes_per_s: f64,
}

/// What flags take of a small message.
const FLAGGED: f64 = 1.75;

impl HostLink {
    /// As in published servers on cards that were sold for games.
    ///
    /// In those tables one process launches on every card in turn; servers have a process a card and launch graphs.
    /// The report's rows of one request at a time ask for 2.5 us a rank. Its rows under load ask for 3.2 to 3.6 GB/s, over
    /// two ranks and over eight: what containers on such hosts were seen to give (ic-01 to ic-03). A host with every
    /// lane wired (ic-04) gives four times as much.
    pub const NCCL: Self = Self {
        rank_seconds: 2.5e-6,
        large_rank_seconds: 8.0e-6,
        rank_bytes_per_s: 3.4e9,
    };

    /// Seconds of an all-reduce of `bytes` (of each rank).
    pub fn seconds(&self, ranks: usize, bytes: u64) -> f64 {
        let ranks = ranks as f64;
        let passed = 2.0 * (ranks - 1.0) / ranks * bytes as f64 / self.rank_bytes_per_s;
        let large = ranks * self.large_rank_seconds + passed;
        ranks * self.rank_seconds + large.min(FLAGGED * passed)
    }
}
