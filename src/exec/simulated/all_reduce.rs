//! What adds up between simulated cards: the ways that own engines choose from, each by its link, and the choice by size
//! that a session on real cards makes.

use crate::hardware::{AllReduce as Nccl, HardwareError, Link, PushLink};
use crate::ops::scratch::{MOST_RANKS, PIECE_BYTES};
use crate::parallel::{AllReduce, Way, Ways};

/// Kernels and copies of one piece beside those between two ranks: two of what the others brought, twice, the sum, and
/// two meetings.
const LAUNCHES_OF_PIECE: u32 = 7;

/// The newest NVLink.
const LAST_NVLINK: u32 = 5;

/// Between the ranks of one machine.
#[derive(Debug, Clone)]
pub struct Exchange {
    ranks: usize,
    nccl: Nccl,
    peers: Option<PushLink>,
    /// Start and end of a kernel or a copy.
    start: f64,
    ways: Ways,
}

impl Exchange {
    /// Adding up as `asked`, messages of up to `largest` bytes; a kernel's start takes `start` seconds.
    ///
    /// # Errors
    /// `NoTable`: nothing is known of an all-reduce over so many of these cards; `NoWay`: not of what is asked for.
    pub fn new(
        link: Link,
        ranks: usize,
        asked: AllReduce,
        start: f64,
        largest: u64,
    ) -> Result<Self, HardwareError> {
        let (link, nccl) = known(link, ranks)?;
        let own = (2..=MOST_RANKS).contains(&ranks);
        let peers = match own && asked.allows(AllReduce::P2p) {
            true => PushLink::peers(link, ranks)?,
            false => None,
        };
        let candidates = Way::candidates(
            ranks > 1 && asked.allows(AllReduce::Nccl),
            own && asked.allows(AllReduce::Host),
            peers.is_some(),
        );
        if candidates.is_empty() && ranks > 1 {
            return Err(HardwareError::NoWay {
                asked: asked.to_string(),
                link,
                ranks,
            });
        }
        let mut exchange = Self {
            ranks,
            nccl,
            peers,
            start,
            ways: Ways::new(candidates),
        };
        exchange.fill(largest);
        Ok(exchange)
    }

    /// What a session on real cards would measure. Sizes below those of NCCL's tables go as the least of them.
    fn fill(&mut self, largest: u64) {
        const US: f64 = 1e6;
        if self.ways.candidates().len() < 2 {
            return;
        }
        for bytes in Ways::sizes_up_to(largest) {
            let each = self.ways.candidates().iter();
            let us = each.map(|way| self.by(*way, bytes).map(|seconds| US * seconds));
            if let Ok(us) = us.collect() {
                self.ways.add(bytes, us);
            }
        }
    }

    /// `None`: there is one rank.
    pub fn ways(&self) -> Option<&Ways> {
        (self.ranks > 1).then_some(&self.ways)
    }

    /// Seconds of an all-reduce of `bytes`, by the way that a message of that size takes; 0 on one rank.
    ///
    /// # Errors
    /// `TooSmall`: only larger messages were measured.
    pub fn seconds(&self, bytes: u64) -> Result<f64, HardwareError> {
        self.ways
            .of(bytes)
            .map_or(Ok(0.0), |way| self.by(way, bytes))
    }

    /// The same by NCCL, whatever was asked for: what servers gather with.
    ///
    /// # Errors
    /// As there.
    pub fn nccl(&self, bytes: u64) -> Result<f64, HardwareError> {
        self.nccl.seconds(bytes)
    }

    fn by(&self, way: Way, bytes: u64) -> Result<f64, HardwareError> {
        let pushed = way.pushed(bytes, self.ranks);
        let host = PushLink::HOST;
        let (peers, start) = (self.peers.unwrap_or(host), self.start);
        Ok(match way {
            Way::Nccl => self.nccl(bytes)?,
            Way::HostOneShot => host.by_kernel(start, 1, pushed),
            Way::HostTwoShot => host.by_kernel(start, 2, pushed),
            Way::P2pOneShot => peers.by_kernel(start, 1, pushed),
            Way::P2pTwoShot => peers.by_kernel(start, 2, pushed),
            Way::HostCopies => {
                // A meeting before the first piece, and two in each.
                let pieces = bytes.div_ceil(PIECE_BYTES as u64).max(1) as u32;
                let copies = 2 * (self.ranks as u32 - 1) + LAUNCHES_OF_PIECE;
                host.by_copies(start, 1 + pieces * copies, 1 + 2 * pieces, pushed)
            }
        })
    }
}

/// A link of which there are tables, and NCCL over it. An NVLink that nobody published a table of is taken for the next
/// newer one that has one: messages of a step are bound by latency, which changes little from one to the next.
fn known(link: Link, ranks: usize) -> Result<(Link, Nccl), HardwareError> {
    let of = |link| Ok((link, Nccl::new(link, ranks)?));
    let own = of(link);
    let Link::NvLink(generation) = link else {
        return own;
    };
    let mut newer = generation + 1..=LAST_NVLINK;
    own.or_else(|error: HardwareError| newer.find_map(|g| of(Link::NvLink(g)).ok()).ok_or(error))
}
