//! What the first process of a job tells the others, and what they answer.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::exec::StepPlan;
use crate::exec::graphs::GraphLimits;
use crate::exec::warm_up::WarmUp;
use crate::ground::recorder::{Cost, OpRecord};
use crate::ground::results::Process;
use crate::ops::cpu::rendezvous::Stopped;

/// Answered, where something is, with a [`Told`].
#[derive(Serialize, Deserialize)]
pub enum Command<'a> {
    /// The `RankMemory` of each rank, as [`Json`].
    Memory,
    /// `Option<Roofs>`.
    Roofs,
    /// The `Headroom` of each rank.
    WarmUp {
        warm_up: WarmUp,
        kv: Cow<'a, str>,
        graphs: Option<GraphLimits>,
    },
    /// `()`.
    AllocateKv {
        num_blocks: usize,
        block_size: usize,
        dtype: Cow<'a, str>,
    },
    /// `()`.
    Capture(GraphLimits),
    /// Not answered: what goes wrong is told by [`Self::Wait`].
    Submit(Cow<'a, StepPlan>),
    /// For the first step that was submitted and not waited for: its [`Cost`].
    Wait,
    /// `()`.
    TouchKv,
    /// The time on the process's own clock.
    Clock,
    /// Not answered.
    StartTimelines,
    /// A list of [`Operation`] for each rank.
    TakeTimelines,
    /// Not answered.
    StartWatching,
    /// A `Recorded`, as [`Json`].
    TakeWatched,
    End,
}

impl Command<'_> {
    /// Whether processes may be apart by minutes in it: what one compiles, another may have.
    pub fn is_of_the_start(&self) -> bool {
        matches!(
            self,
            Self::WarmUp { .. } | Self::AllocateKv { .. } | Self::Capture(_)
        )
    }
}

/// An answer, or which rank failed and why.
pub type Told<T> = Result<T, Failure>;

#[derive(Serialize, Deserialize)]
pub struct Failure {
    pub rank: usize,
    pub reason: String,
}

impl From<Failure> for Stopped {
    fn from(Failure { rank, reason }: Failure) -> Self {
        Self { rank, reason }
    }
}

/// What a process tells before the first command: that its ranks are loaded, or why they cannot serve.
pub type Ready = Result<Hello, String>;

#[derive(Serialize, Deserialize)]
pub struct Hello {
    pub identity: String,
    pub threads: usize,
    pub process: Json<Process>,
}

/// An [`OpRecord`] on its way.
#[derive(Serialize, Deserialize)]
pub struct Operation<'a> {
    name: Cow<'a, str>,
    layer: Option<usize>,
    queued: Duration,
    start: Duration,
    time: Duration,
    cost: Cost,
}

impl<'a> From<&'a OpRecord> for Operation<'a> {
    fn from(op: &'a OpRecord) -> Self {
        Self {
            name: op.name.into(),
            layer: op.layer,
            queued: op.queued,
            start: op.start,
            time: op.time,
            cost: op.cost,
        }
    }
}

impl Operation<'_> {
    /// With one of `names`, on a clock on which `own` is when the sender's showed `theirs`; `None`: no operation is
    /// called so.
    pub fn record(self, names: &[&'static str], moment: Moment) -> Option<OpRecord> {
        let name = *names.iter().find(|name| **name == self.name)?;
        Some(OpRecord {
            name,
            layer: self.layer,
            queued: moment.here(self.queued),
            start: moment.here(self.start),
            time: self.time,
            cost: self.cost,
            // A profile shows those of rank 0.
            launches: None,
        })
    }
}

/// One moment on the clocks of two processes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    pub here: Duration,
    pub there: Duration,
}

impl Moment {
    /// A time there, on the clock here.
    pub fn here(self, time: Duration) -> Duration {
        time.saturating_add(self.here).saturating_sub(self.there)
    }
}

/// For what leaves out fields: only names tell what is there.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(&self.0).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_there_is_a_time_here() {
        let (ms, moment) = (
            Duration::from_millis,
            Moment {
                here: Duration::from_millis(500),
                there: Duration::from_millis(20),
            },
        );
        assert_eq!(moment.here(ms(20)), ms(500));
        assert_eq!(moment.here(ms(35)), ms(515));
        assert_eq!(moment.here(ms(5)), ms(485));
    }

    #[test]
    fn what_leaves_fields_out_comes_back_whole() {
        let host = |host: &str| Process {
            host: host.to_owned(),
            ..Process::default()
        };
        let hello = Hello {
            identity: "me".to_owned(),
            threads: 3,
            process: Json(host("node7")),
        };
        let bytes = postcard::to_allocvec(&hello).unwrap();
        let back: Hello = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back.process.0, host("node7"));
        assert_eq!((back.identity.as_str(), back.threads), ("me", 3));
    }
}
