//! What is asked for: a model, a load, limits, and where it may run.

use crate::capacity::Objective;
use crate::hardware::Prices;
use crate::session::Question;

/// Layouts that are told of by default.
pub const TOP: usize = 5;

/// A model, a load and limits, for which cards are looked for.
#[derive(Debug, Clone)]
pub struct RecommendOptions {
    /// The model, the engine and its limits, the numbers of GPUs (none: 1, 2, 4 and 8), the load. Its card is not read;
    /// its context is what every request must have room for.
    pub question: Question,
    /// Names of cards, or `.toml` files of them; none: all that are known.
    pub cards: Vec<String>,
    /// Requests a second, in place of the question's concurrency.
    pub request_rate: Option<f64>,
    /// What the load must keep; it may be empty.
    pub objective: Objective,
    /// Of cards, an hour.
    pub prices: Prices,
    /// US dollars an hour, of all GPUs of a layout.
    pub max_price: Option<f64>,
    /// Layouts to tell of.
    pub top: usize,
}
