//! The ways in which GPUs can add up what each of them has, and which of them a message takes: the one that was fastest
//! when all were measured at the start.

use std::fmt;
use std::str::FromStr;

use crate::ground::results;

/// Bytes of the least and the most that is tried.
pub const SMALLEST: u64 = 4 << 10;
pub const LARGEST: u64 = 64 << 20;

/// What adds up on GPUs, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AllReduce {
    /// Whatever was fastest for a message's size.
    #[default]
    Auto,
    /// NVIDIA's library.
    Nccl,
    /// Own kernels and copies, through host memory.
    Host,
    /// Own kernels, into the memory of the other GPUs.
    P2p,
}

impl AllReduce {
    pub const ALL: [Self; 4] = [Self::Nccl, Self::Host, Self::P2p, Self::Auto];

    /// Whether `one` of the others may be used.
    pub fn allows(self, one: Self) -> bool {
        self == one || self == Self::Auto
    }

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Nccl => "nccl",
            Self::Host => "host",
            Self::P2p => "p2p",
        }
    }
}

impl fmt::Display for AllReduce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// No way in which GPUs add up has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way in which GPUs add up: use nccl, host, p2p or auto")]
pub struct UnknownAllReduce(String);

impl FromStr for AllReduce {
    type Err = UnknownAllReduce;

    fn from_str(text: &str) -> Result<Self, UnknownAllReduce> {
        let found = Self::ALL.into_iter().find(|way| way.name() == text);
        found.ok_or_else(|| UnknownAllReduce(text.to_owned()))
    }
}

/// How one message is added up. See `kernels/all_reduce.cu` of the own ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Nccl,
    HostOneShot,
    HostTwoShot,
    HostCopies,
    P2pOneShot,
    P2pTwoShot,
}

impl Way {
    /// Of what is to be had.
    pub fn candidates(nccl: bool, host: bool, p2p: bool) -> Vec<Self> {
        let mut ways = Vec::new();
        if nccl {
            ways.push(Self::Nccl);
        }
        if host {
            ways.extend([Self::HostOneShot, Self::HostTwoShot, Self::HostCopies]);
        }
        if p2p {
            ways.extend([Self::P2pOneShot, Self::P2pTwoShot]);
        }
        ways
    }

    /// Bytes that each of `ranks` passes on for a message of `bytes`: all of it to every other in one shot, else its part
    /// of the others' chunks and the sum of its own.
    pub fn pushed(self, bytes: u64, ranks: usize) -> f64 {
        let (bytes, ranks) = (bytes as f64, ranks as f64);
        match self {
            Self::HostOneShot | Self::P2pOneShot => (ranks - 1.0) * bytes,
            Self::Nccl | Self::HostTwoShot | Self::HostCopies | Self::P2pTwoShot => {
                2.0 * (ranks - 1.0) * bytes / ranks
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Nccl => "nccl",
            Self::HostOneShot => "host one-shot",
            Self::HostTwoShot => "host two-shot",
            Self::HostCopies => "host copies",
            Self::P2pOneShot => "p2p one-shot",
            Self::P2pTwoShot => "p2p two-shot",
        }
    }
}

/// One size of a message, by every way.
#[derive(Debug, Clone, PartialEq)]
struct Size {
    bytes: u64,
    /// Microseconds of each way, in their order.
    us: Vec<f64>,
}

/// What each size takes. The same on all ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct Ways {
    candidates: Vec<Way>,
    /// Ascending.
    sizes: Vec<Size>,
}

impl Ways {
    /// Not measured yet: the first of `candidates` for all.
    pub fn new(candidates: Vec<Way>) -> Self {
        Self {
            candidates,
            sizes: Vec::new(),
        }
    }

    pub fn candidates(&self) -> &[Way] {
        &self.candidates
    }

    /// Of messages that are tried where the largest has `largest` bytes: doubling, and none beyond [`LARGEST`].
    pub fn sizes_up_to(largest: u64) -> impl Iterator<Item = u64> {
        let doubled = std::iter::successors(Some(SMALLEST), |bytes| Some(2 * bytes));
        doubled.take_while(move |&bytes| bytes <= LARGEST && bytes < 2 * largest.max(SMALLEST))
    }

    /// Adds a size above all that were added: the microseconds of each candidate, in their order.
    pub fn add(&mut self, bytes: u64, us: Vec<f64>) {
        self.sizes.push(Size { bytes, us });
    }

    /// For a message of so many bytes: what was fastest for the next larger size that was measured, or else the largest.
    /// `None`: there are no candidates.
    pub fn of(&self, bytes: u64) -> Option<Way> {
        let size = self.sizes.iter().find(|size| size.bytes >= bytes);
        match size.or(self.sizes.last()) {
            Some(size) => self.fastest(size),
            None => self.candidates.first().copied(),
        }
    }

    /// Of equals the first.
    fn fastest(&self, size: &Size) -> Option<Way> {
        let ways = self.candidates.iter().zip(&size.us);
        ways.min_by(|a, b| a.1.total_cmp(b.1)).map(|(way, _)| *way)
    }

    /// For a result.
    pub fn told(&self, asked: AllReduce) -> results::AllReduce {
        let name = |way: &Way| way.name().to_owned();
        let sizes = self.sizes.iter().map(|size| results::AllReduceSize {
            bytes: size.bytes,
            way: self.fastest(size).map_or("", Way::name).to_owned(),
            us: self
                .candidates
                .iter()
                .map(name)
                .zip(size.us.clone())
                .collect(),
        });
        results::AllReduce {
            asked: asked.to_string(),
            ways: self.candidates.iter().map(name).collect(),
            sizes: sizes.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    fn measured() -> Ways {
        let ways = Way::candidates(true, true, false);
        let mut ways = Ways::new(ways);
        ways.add(4 * KIB, vec![40.0, 12.0, 15.0, 60.0]);
        ways.add(64 * KIB, vec![45.0, 40.0, 22.0, 60.0]);
        ways.add(1024 * KIB, vec![500.0, 900.0, 300.0, 180.0]);
        ways
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for way in AllReduce::ALL {
            assert_eq!(way.to_string().parse(), Ok(way));
        }
        let error = "ring".parse::<AllReduce>().unwrap_err().to_string();
        assert!(error.contains("`ring`") && error.contains("nccl, host, p2p or auto"));
    }

    #[test]
    fn only_what_is_there_is_a_candidate() {
        use Way::*;
        assert_eq!(Way::candidates(true, false, false), [Nccl]);
        let host = [HostOneShot, HostTwoShot, HostCopies];
        assert_eq!(Way::candidates(false, true, false), host);
        assert_eq!(
            Way::candidates(false, false, true),
            [P2pOneShot, P2pTwoShot]
        );
        assert_eq!(Way::candidates(true, true, true).len(), 6);
    }

    #[test]
    fn auto_allows_all_and_the_others_themselves() {
        for one in AllReduce::ALL {
            assert!(AllReduce::Auto.allows(one) && one.allows(one));
            assert_eq!(AllReduce::Host.allows(one), one == AllReduce::Host);
        }
    }

    /// (R - 1) n in one shot, 2 (R - 1) n / R in two.
    #[test]
    fn ways_push_what_the_formulas_say() {
        for (ranks, one, two) in [(2, 1.0, 1.0), (4, 3.0, 1.5), (8, 7.0, 1.75)] {
            let of = |way: Way| way.pushed(KIB, ranks) / KIB as f64;
            assert_eq!([Way::HostOneShot, Way::P2pOneShot].map(of), [one; 2]);
            let pieces = [
                Way::Nccl,
                Way::HostTwoShot,
                Way::HostCopies,
                Way::P2pTwoShot,
            ];
            assert_eq!(pieces.map(of), [two; 4]);
        }
    }

    #[test]
    fn a_message_goes_as_the_next_larger_size_was_fastest() {
        let ways = measured();
        let at = |bytes| ways.of(bytes);
        assert_eq!(at(1), Some(Way::HostOneShot));
        assert_eq!(at(4 * KIB), Some(Way::HostOneShot));
        assert_eq!(at(4 * KIB + 1), Some(Way::HostTwoShot));
        assert_eq!(at(65 * KIB), Some(Way::HostCopies));
        assert_eq!(at(1 << 30), Some(Way::HostCopies));
    }

    #[test]
    fn what_was_not_measured_has_its_first_way() {
        assert_eq!(Ways::new(vec![Way::Nccl]).of(7), Some(Way::Nccl));
        assert_eq!(Ways::new(Vec::new()).of(7), None);
        let mut equal = Ways::new(vec![Way::Nccl, Way::HostOneShot]);
        equal.add(KIB, vec![9.0, 9.0]);
        assert_eq!(equal.of(7), Some(Way::Nccl));
    }

    #[test]
    fn a_result_tells_every_time_and_the_choice() {
        let told = measured().told(AllReduce::Auto);
        assert_eq!(told.asked, "auto");
        assert_eq!(told.ways[0], "nccl");
        assert_eq!(told.sizes[2].way, "host copies");
        assert_eq!(told.sizes[2].us["host two-shot"], 300.0);
    }
}
