//! Many loads, one answer: the highest load within an objective, and grids of loads and settings with their frontier.
//!
//! `search` decides which load comes next from those that were played; `trial` plays one on a session and holds it against
//! the `objective`; `raise` plays the load that failed once more with each limit of the engine doubled; `find` does it all.
//!
//! `grid` spells out points; `sweep` plays those that the `store` has not got; the `frontier` is what no other point beats.

mod effort;
mod find;
mod frontier;
mod grid;
mod objective;
mod options;
mod plan;
mod raise;
mod result;
mod search;
mod store;
mod sweep;
mod swept;
mod title;
mod trial;

pub use find::edge;
pub use frontier::{Speeds, frontier};
pub use grid::{GridAxis, points};
pub use objective::{Bound, Objective, PERCENTILES};
pub use options::{CapacityOptions, Search};
pub use plan::CapacityPlan;
pub use result::{CAPACITY_SCHEMA, Capacity, Edge, LoadPoint, Raised, Trial};
pub use search::{Axis, Next, next};
pub use store::{Store, StoreError, StoredPoint};
pub use sweep::{Point, SweepError, sweep};
pub use swept::{PointRow, SWEEP, SWEEP_SCHEMA, Sweep};
