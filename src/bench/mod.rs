//! A load played against an engine: arrivals in, events out, results at the end.

mod cancel;
mod content;
mod named;
mod options;
mod places;
mod plan;
pub mod play;
mod player;
mod run;
mod saturation;
pub mod scenario;
mod script;
pub mod shapes;
mod talks;
mod tracer;
mod warm_up;

pub use content::Content;
pub use options::LoadOptions;
pub use plan::{BenchPlan, RunPlan};
pub use play::{Recording, play, play_traced};
pub use run::{Played, RawRun, environment, play_all, results};
pub use scenario::{Load, Preset};
pub use script::{Limits, Script, TooMany};
pub use shapes::{Shape, ShapeOptions, ShapePlan, ShapeTest, Shapes};
pub use tracer::Tracer;
