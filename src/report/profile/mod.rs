//! A profile as a table, as CSV, and as a roofline plot.

pub mod csv;
pub mod plot;
pub mod text;

pub use csv::csv;
pub use text::text;
