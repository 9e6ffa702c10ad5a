//! The cheapest cards that hold a model and a load, with what they would do and the commands to run there.
//!
//! `layout` lists every way to lay the model on every card, in the order of cost; `judged` asks fit of each, `predict`
//! plays the load on a simulated card; `held` walks the list until enough of them hold, and `nearest` says of none what
//! comes closest. `command` spells out how to start it; `find` does it all.

mod command;
mod find;
mod held;
mod judged;
mod layout;
mod nearest;
mod options;
mod predict;
mod result;
mod target;
mod words;

pub use command::is_gguf;
pub use find::recommend;
pub use layout::placed;
pub use options::{RecommendOptions, TOP};
pub use result::{
    Commands, Miss, Predicted, RECOMMENDATION_SCHEMA, Recommendation, Recommended, Rent,
};
pub use target::{Demand, Target};
