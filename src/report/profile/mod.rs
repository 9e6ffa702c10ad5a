//! A profile as a table, as CSV, and as a roofline plot.

mod cells;
pub mod csv;
mod kernels;
pub mod plot;
pub mod text;

pub use csv::csv;
pub use text::text;
