//! A load played against an engine: arrivals in, events out.

pub mod play;
pub mod scenario;
mod tracer;

pub use play::{Recording, Script, play, play_traced};
pub use scenario::{Load, Preset};
pub use tracer::Tracer;
