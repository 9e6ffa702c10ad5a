//! How long an all-reduce takes, from published NCCL tables.

use std::collections::BTreeSet;

use super::{AllReduceTable, HardwareError, HostLink, Interconnect, Link};

/// Which tables speak for a link, one curve a rank count; at equal sizes the first named one holds.
///
/// Not used, and why: ic-01 to ic-04 (PCIe without peer access, each of another host: see [`HostLink`]), ic-06 and
/// ic-11 (one size; ic-06 checks the scaling law in the tests), ic-09 (ic-10's machine, launched by one process, which
/// vLLM does not do), ic-13 (one size), ic-14 (two machines).
pub const LINKS: [(Link, &[&str]); 5] = [
    (Link::PcieP2p, &["ic-05"]),
    (Link::NvLinkBridge, &["ic-12"]),
    (Link::NvLink(3), &["ic-10"]),
    (Link::NvLink(4), &["ic-07", "ic-08", "mle-h200"]),
    (Link::NvLink(5), &["mle-b200"]),
];

/// At and below this size every table is flat: a time there holds for all smaller messages.
const FLAT_BYTES: u64 = 64 << 10;
/// Beyond so many times the largest measured rank count nothing is known.
const FARTHEST: usize = 2;

/// Times of an all-reduce over one link and rank count.
///
/// Between measured sizes the time is interpolated in log(bytes), log(time); above the largest the last
/// bus bandwidth goes on; below the smallest its time holds, if that size is small enough to be flat.
/// Where a larger message was measured as faster, the smaller one takes its time: that is noise.
///
/// A rank count without a table of its own is scaled from the nearest (in log) that has one:
/// `t(r, n) = f r / r0 + t(r0, m) - f`, where `f` is the table's least time (it grows by 5 to 6 us a GPU
/// through every table launched by one process) and `m` the size that moves as many bytes through each
/// link: `m (r0 - 1) / r0 = n (r - 1) / r`.
#[derive(Debug, Clone, PartialEq)]
pub struct AllReduceCurve {
    pub link: Link,
    pub ranks: usize,
    /// Ranks of the tables that it rests on; other than `ranks` where the times are scaled.
    pub measured_ranks: usize,
    /// `case_id`s of those tables.
    pub tables: Vec<String>,
    /// (bytes, seconds): both rise, no two sizes are equal.
    points: Vec<(f64, f64)>,
}

/// How GPUs of one machine sum.
#[derive(Debug, Clone, PartialEq)]
pub enum AllReduce {
    /// One rank has nothing to sum.
    Alone,
    Host {
        link: HostLink,
        ranks: usize,
    },
    Measured(AllReduceCurve),
}

impl AllReduce {
    /// # Errors
    /// `NoTable`: nothing is known of so many ranks on this link.
    pub fn new(link: Link, ranks: usize) -> Result<Self, HardwareError> {
        Ok(match (ranks, link) {
            (0 | 1, _) => Self::Alone,
            (_, Link::PcieHost) => Self::Host {
                link: HostLink::NCCL,
                ranks,
            },
            _ => Self::Measured(AllReduceCurve::new(link, ranks)?),
        })
    }

    /// Seconds for `bytes` of each rank.
    ///
    /// # Errors
    /// `TooSmall`: only larger messages were measured.
    pub fn seconds(&self, bytes: u64) -> Result<f64, HardwareError> {
        match self {
            Self::Alone => Ok(0.0),
            Self::Host { link, ranks } => Ok(link.seconds(*ranks, bytes)),
            Self::Measured(curve) => curve.seconds(bytes),
        }
    }
}

impl AllReduceCurve {
    /// # Errors
    /// `NoTable`: the link was not measured, or only over far fewer ranks; also for fewer than 2 ranks.
    pub fn new(link: Link, ranks: usize) -> Result<Self, HardwareError> {
        let named = LINKS.iter().find(|(own, _)| *own == link);
        let named = named.map_or(&[][..], |(_, names)| *names);
        let all = Interconnect::load()?.tables;
        let find = |name: &&str| all.iter().find(|table| table.case_id == **name);
        let tables: Vec<&AllReduceTable> = named.iter().filter_map(find).collect();

        let counts = tables.iter().map(|table| table.gpu_count);
        let nearest = counts
            .clone()
            .min_by(|a, b| distance(*a, ranks).total_cmp(&distance(*b, ranks)));
        let most = counts.max().unwrap_or_default();
        // A bridge joins two cards and no more.
        let farthest = if link == Link::NvLinkBridge {
            1
        } else {
            FARTHEST
        };
        let within = (2..=most * farthest).contains(&ranks);
        let measured_ranks = nearest
            .filter(|_| within)
            .ok_or_else(|| no_table(link, ranks, &all))?;
        let used = tables
            .iter()
            .filter(|table| table.gpu_count == measured_ranks);
        Ok(Self {
            link,
            ranks,
            measured_ranks,
            tables: used.clone().map(|table| table.case_id.clone()).collect(),
            points: points(used.copied()),
        })
    }

    /// Seconds of an all-reduce of `bytes`.
    ///
    /// # Errors
    /// `TooSmall`: only larger messages were measured.
    pub fn seconds(&self, bytes: u64) -> Result<f64, HardwareError> {
        let (least_bytes, least_seconds) = self.points[0];
        let (ranks, measured) = (self.ranks as f64, self.measured_ranks as f64);
        let equal = bytes as f64 * (1.0 - 1.0 / ranks) / (1.0 - 1.0 / measured);
        if equal < least_bytes && least_bytes > FLAT_BYTES as f64 {
            return Err(HardwareError::TooSmall {
                link: self.link,
                ranks: self.ranks,
                bytes,
                least: least_bytes as u64,
            });
        }
        Ok(least_seconds * (ranks / measured - 1.0) + self.measured(equal))
    }

    /// Bytes a second that a rank passes on in the largest message of the tables; nccl-tests' bus bandwidth.
    pub fn bytes_per_s(&self) -> f64 {
        let (bytes, seconds) = self.points[self.points.len() - 1];
        let measured = self.measured_ranks as f64;
        2.0 * (1.0 - 1.0 / measured) * bytes / seconds
    }

    fn measured(&self, bytes: f64) -> f64 {
        let above = self.points.partition_point(|(size, _)| *size < bytes);
        let Some(&(size, seconds)) = self.points.get(above) else {
            let (size, seconds) = self.points[self.points.len() - 1];
            return seconds * bytes / size;
        };
        if above == 0 {
            return seconds;
        }
        let (size_below, seconds_below) = self.points[above - 1];
        let part = (bytes / size_below).ln() / (size / size_below).ln();
        seconds_below * (seconds / seconds_below).powf(part)
    }
}

fn distance(a: usize, b: usize) -> f64 {
    (a as f64 / b as f64).ln().abs()
}

/// The rows of all tables by size, each no slower than a larger one.
fn points<'a>(tables: impl Iterator<Item = &'a AllReduceTable>) -> Vec<(f64, f64)> {
    const SECONDS_PER_US: f64 = 1e-6;
    let rows = tables.flat_map(|table| &table.rows);
    let mut points: Vec<(f64, f64)> = rows
        .map(|row| (row.size_bytes as f64, row.time_us * SECONDS_PER_US))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: the first table's row stays first
    points.dedup_by_key(|(size, _)| *size);
    for at in (1..points.len()).rev() {
        points[at - 1].1 = points[at - 1].1.min(points[at].1);
    }
    points
}

fn no_table(link: Link, ranks: usize, all: &[AllReduceTable]) -> HardwareError {
    let known = LINKS.map(|(link, names)| {
        let used = all.iter().filter(|table| names.contains(&&*table.case_id));
        let counts: BTreeSet<usize> = used.map(|table| table.gpu_count).collect();
        let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
        format!("{link} ({} ranks)", counts.join(", "))
    });
    HardwareError::NoTable {
        link,
        ranks,
        known: known.join(", "),
    }
}
