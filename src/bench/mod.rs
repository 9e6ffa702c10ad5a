//! A load played against an engine: arrivals in, events out.

pub mod play;
pub mod scenario;
pub mod simulation;
mod tracer;

pub use play::{Recording, Script, play, play_traced};
pub use scenario::{Load, Preset};
pub use simulation::{Simulation, SimulationError, Started};
pub use tracer::Tracer;
