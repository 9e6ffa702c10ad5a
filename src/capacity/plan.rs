//! A search that the model can play: where its loads lie, and how many requests each has.

use super::options::{CapacityOptions, Search};
use super::search::Axis;
use crate::bench::Content;
use crate::ground::Progress;
use crate::ground::results::Kind;
use crate::metrics::quantile::fewest_for;
use crate::session::{ModelFiles, SessionError, Wish};
use crate::workload::Lengths;

/// Requests in flight, of which nobody serves more on one machine.
const MOST_IN_FLIGHT: f64 = 1024.0;
/// Rates from the one of requests that follow each other, in both directions.
const LEAST_OF_ALONE: f64 = 1.0 / 64.0;
const MOST_OF_ALONE: f64 = 4096.0;
/// Requests of a closed loop: so many for each in flight.
const WAVES: usize = 4;
/// An open loop goes on for so many times what a request takes alone.
const SERVICES: f64 = 10.0;
/// No load has more requests, whatever its rate.
const MOST_REQUESTS: usize = 100_000;

/// A search that the model can play.
#[derive(Debug, Clone)]
pub struct CapacityPlan {
    pub(super) options: CapacityOptions,
    pub(super) content: Content,
    /// Seconds that a request takes alone; 0 until it is known.
    pub(super) service: f64,
}

impl CapacityPlan {
    /// # Errors
    /// The search contradicts itself, the dataset is malformed, or its requests are longer than the model's context.
    pub fn new(
        options: CapacityOptions,
        files: &ModelFiles,
        progress: &dyn Progress,
    ) -> Result<Self, SessionError> {
        options.check()?;
        if options.objective.slo.tpot_ms.is_some() && options.output_len == Some(Lengths::Fixed(1))
        {
            return Err(Wish::Load(
                "--slo tpot: a request of one output token has no time per output token; raise --output-len to 2 or more".to_owned(),
            )
            .into());
        }
        Ok(Self {
            content: Content::read(&options.content(), files, progress)?,
            options,
            service: 0.0,
        })
    }

    /// What a session must be opened for.
    pub fn max_model_len(&self) -> usize {
        self.content.max_model_len
    }

    /// What of the dataset is not used, in sentences.
    pub fn remarks(&self) -> &[String] {
        &self.content.remarks
    }

    /// Where its loads lie.
    pub(super) fn axis(&self, kind: Kind) -> Axis {
        let options = &self.options;
        // Nothing in a simulated closed loop is left to chance.
        let is_certain = kind == Kind::Predicted && options.search == Search::Concurrency;
        let repeats = match is_certain {
            true => 1,
            false => options.repeats,
        };
        let (low, high, start) = match options.search {
            Search::Concurrency => (1.0, MOST_IN_FLIGHT, 1.0),
            Search::Rate => {
                let alone = 1.0 / self.service;
                (alone * LEAST_OF_ALONE, alone * MOST_OF_ALONE, alone)
            }
        };
        let min = options
            .min
            .unwrap_or_else(|| low.min(options.max.unwrap_or(low)));
        let max = options.max.unwrap_or_else(|| high.max(min));
        Axis {
            min,
            max,
            start: match options.min {
                Some(min) => min,
                None => start.clamp(min, max),
            },
            is_whole: options.search == Search::Concurrency,
            repeats,
        }
    }

    /// Of a load: enough for the percentile, and for the engine to be in its stride.
    pub(super) fn requests(&self, value: f64) -> usize {
        if let Some(requests) = self.options.requests {
            return requests;
        }
        let fewest = fewest_for(self.options.objective.percentile);
        let own = match self.options.search {
            Search::Concurrency => value as usize * WAVES,
            Search::Rate => (value * self.service * SERVICES).ceil() as usize,
        };
        own.clamp(fewest, MOST_REQUESTS)
    }
}
