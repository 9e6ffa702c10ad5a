//! A load played against an engine: arrivals in, events out.

pub mod play;
mod player;
pub mod scenario;
pub mod simulation;
mod tracer;
mod warm_up;

pub use play::{Recording, Script, TooMany, play, play_traced};
pub use scenario::{Load, Preset};
pub use simulation::{Simulation, SimulationError, Started};
pub use tracer::Tracer;
