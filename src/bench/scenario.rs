//! How requests come: the report's loads, and loads by hand.

use std::str::FromStr;

use crate::workload::Arrivals;

/// When a request is handed to the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// A fixed number in flight: the next one comes when one ends.
    Closed {
        /// Requests in flight.
        concurrency: usize,
    },
    /// At drawn times, however busy the engine is.
    Open(Arrivals),
    /// At drawn times, but no more in flight than so many: the next is sent as one ends.
    Capped {
        /// When requests would be sent without the cap.
        arrivals: Arrivals,
        /// Requests in flight at most.
        concurrency: usize,
    },
    /// At the times of the dataset.
    Trace,
}

impl Load {
    /// Requests in flight at most, where the load says so.
    pub fn most_in_flight(&self) -> Option<usize> {
        match self {
            Self::Closed { concurrency } | Self::Capped { concurrency, .. } => Some(*concurrency),
            Self::Open(_) | Self::Trace => None,
        }
    }
}

/// One named load of the source report, or the quick one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// 2 requests one at a time, then 16 with 8 in flight: under a minute on two CPU cores.
    Quick,
    /// 10 requests, one at a time.
    C1,
    /// 200 requests, 50 in flight.
    C50,
    /// 1,500 requests, 300 in flight.
    C300,
    /// 5,000 requests, 1,000 in flight.
    C1000,
    /// The report's four loads, one after another.
    All,
}

/// Tokens in and out of the report's requests.
pub const REPORT_INPUT_LEN: usize = 100;
/// Tokens out of each of the report's requests.
pub const REPORT_OUTPUT_LEN: usize = 601;
const QUICK_OUTPUT_LEN: usize = 32;

impl Preset {
    /// As the flag takes them.
    pub const NAMES: [&'static str; 6] = ["quick", "c1", "c50", "c300", "c1000", "all"];

    /// `(concurrency, requests)` of each of its runs.
    pub fn loads(self) -> &'static [(usize, usize)] {
        const REPORT: [(usize, usize); 4] = [(1, 10), (50, 200), (300, 1500), (1000, 5000)];
        match self {
            Self::Quick => &[(1, 2), (8, 16)],
            Self::C1 => &REPORT[..1],
            Self::C50 => &REPORT[1..2],
            Self::C300 => &REPORT[2..3],
            Self::C1000 => &REPORT[3..],
            Self::All => &REPORT,
        }
    }

    /// Prompt tokens of each request.
    pub fn input_len(self) -> usize {
        REPORT_INPUT_LEN
    }

    /// Output tokens of each request.
    pub fn output_len(self) -> usize {
        match self {
            Self::Quick => QUICK_OUTPUT_LEN,
            _ => REPORT_OUTPUT_LEN,
        }
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "quick" => Ok(Self::Quick),
            "c1" => Ok(Self::C1),
            "c50" => Ok(Self::C50),
            "c300" => Ok(Self::C300),
            "c1000" => Ok(Self::C1000),
            "all" => Ok(Self::All),
            other => Err(format!(
                "{other:?} is not a scenario; choose one of {}",
                Self::NAMES.join(", ")
            )),
        }
    }
}
