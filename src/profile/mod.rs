//! Where the time of a step goes: operations timed one by one, held against the roofs of the device.
//!
//! `plan` runs the loads that were asked for on a session: `measure` runs one `Load` step after step; `profile` makes a
//! table of what it saw; `trace` draws the same records for Perfetto. They know an executor's timelines only, so a CPU,
//! a GPU and the simulated device give the same table.

mod about;
pub mod counters;
mod kernels;
mod load;
mod measure;
mod options;
mod plan;
mod result;
mod rows;
mod steps;
mod table;
mod trace;
mod whole;

pub use about::About;
pub use counters::{Counters, Counts};
pub use load::{Load, Phase};
pub use measure::{Measured, StepCount, Steps, measure};
pub use options::ProfileOptions;
pub use plan::{ProfilePlan, Profiled};
pub use result::{
    Bound, KernelRow, OpRow, Profile, RankRow, RoofRates, SCHEMA, TimedBy, Totals, Whole, WholeOp,
};
pub use table::profile;
pub use trace::{Trace, TraceStep};

const MICRO: f64 = 1e6;
const GIGA: f64 = 1e9;
