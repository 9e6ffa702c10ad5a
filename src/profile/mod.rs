//! Where the time of a step goes: operations timed one by one, held against the roofs of the device.
//!
//! `measure` runs one `Load` step after step; `profile` makes a table of what it saw; `trace` draws the
//! same records for Perfetto. They know an executor's timelines only, so a CPU, a GPU and the simulated
//! device give the same table.

pub mod counters;
mod load;
mod measure;
mod result;
mod rows;
mod steps;
mod table;
mod trace;
mod whole;

pub use counters::{Counters, Counts};
pub use load::{Load, Phase};
pub use measure::{Measured, Progress, StepCount, measure};
pub use result::{Bound, OpRow, Profile, RankRow, RoofRates, SCHEMA, Totals, Whole, WholeOp};
pub use table::{About, profile};
pub use trace::{Trace, TraceStep};

const MICRO: f64 = 1e6;
const GIGA: f64 = 1e9;
