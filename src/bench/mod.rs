//! A load played against an engine: arrivals in, events out.

pub mod play;
pub mod scenario;
pub mod simulation;

pub use play::{Recording, Script, play};
pub use scenario::{Load, Preset};
pub use simulation::{Simulation, SimulationError, Started};
