//! When each request waited, was read, and answered.

use serde::Serialize;

use super::short;
use crate::ground::{Log, RequestRecord};

/// Requests on the page; of more, every second, third and so on.
const MOST: usize = 10_000;

#[derive(Debug, Default, Serialize)]
pub struct Requests {
    /// Requests of the run.
    count: usize,
    /// Of which every so-many-th is below.
    every: usize,
    /// In the order of arrival.
    rows: Vec<Row>,
    /// Why requests failed, each once.
    errors: Vec<String>,
}

/// Id, arrival, admission, first token, last token (seconds; null where that never came), output tokens, preemptions, and
/// the place of its error among all; null where it did not fail.
#[derive(Debug, Serialize)]
struct Row(
    u64,
    f64,
    Option<f64>,
    Option<f64>,
    Option<f64>,
    usize,
    u32,
    Option<usize>,
);

impl Requests {
    pub fn of(requests: &Log<RequestRecord>) -> Self {
        let count = requests.len();
        let mut shown = Self {
            count,
            every: count.div_ceil(MOST).max(1),
            ..Self::default()
        };
        for record in requests.iter().step_by(shown.every) {
            let error = record.error.as_ref().map(|error| shown.error(error));
            shown.rows.push(Row(
                record.id,
                short(record.arrival),
                record.admitted.map(short),
                record.tokens.first().copied().map(short),
                record.tokens.last().copied().map(short),
                record.tokens.len(),
                record.preemptions,
                error,
            ));
        }
        shown
    }

    fn error(&mut self, error: &str) -> usize {
        let known = self.errors.iter().position(|known| known == error);
        known.unwrap_or_else(|| {
            self.errors.push(error.to_owned());
            self.errors.len() - 1
        })
    }
}
