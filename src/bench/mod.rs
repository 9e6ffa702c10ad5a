//! A load played against an engine: arrivals in, events out.

pub mod play;
pub mod scenario;

pub use play::{Recording, Script, play};
pub use scenario::{Load, Preset};
