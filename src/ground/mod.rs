//! Plain data and clocks that every room may use: requests, events, records of a run, results.
//! Nothing here computes on tensors, prints, or knows a device.

pub mod clock;
pub mod event;
pub mod foreign;
pub mod gguf_header;
pub mod gpu;
pub mod json;
pub mod launch;
pub mod live;
pub mod log;
pub mod pending;
pub mod progress;
pub mod recorder;
pub mod records;
pub mod request;
pub mod results;
pub mod safetensors_header;
pub mod terminal;
pub mod timer;
pub mod version;

pub use clock::{Clock, ClockReading, ClockSpan, VirtualClock, WallClock};
pub use event::{Event, EventKind, FinishReason};
pub use gpu::{GpuCounter, GpuIdentity, GpuSample, Refused, WatchedGpu};
pub use live::{Live, Look};
pub use log::Log;
pub use progress::{Progress, Silent, Task, Unwatched};
pub use records::{
    ExpertLoad, ProcessSample, RankSeconds, Recorded, RequestRecord, StepRecord, TelemetrySample,
};
pub use request::{Request, RequestId, Sampling, StopRule, TokenLogprobs};
pub use version::{VERSION, revision};
