//! The load, made whole: how many requests, and how long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::RecommendOptions;
use crate::bench::scenario::{REPORT_INPUT_LEN, REPORT_OUTPUT_LEN};
use crate::capacity::Search;
use crate::session::{SessionError, Wish};

/// Of a context of which nobody said what requests hold, this part is prompt, in quarters.
const PROMPT_QUARTERS: usize = 3;

/// How many requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// In flight at a time.
    Concurrency(usize),
    /// A second, however busy the engine is.
    RequestRate(f64),
}

impl Demand {
    /// Of each of `replicas`, the busiest of them.
    pub fn share(self, replicas: usize) -> f64 {
        match self {
            Self::Concurrency(requests) => requests.div_ceil(replicas) as f64,
            Self::RequestRate(rate) => rate / replicas as f64,
        }
    }

    /// What a search raises.
    pub fn search(self) -> Search {
        match self {
            Self::Concurrency(_) => Search::Concurrency,
            Self::RequestRate(_) => Search::Rate,
        }
    }

    /// Requests that must have room at once; of a rate that is known when it was played.
    pub fn at_once(self) -> usize {
        match self {
            Self::Concurrency(requests) => requests,
            Self::RequestRate(_) => 1,
        }
    }
}

/// The load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Tokens that the longest request may have.
    pub context: usize,
    /// Prompt tokens of each request that is played.
    pub input_len: usize,
    /// Output tokens of each.
    pub output_len: usize,
    #[serde(flatten)]
    pub demand: Demand,
}

impl Target {
    /// `positions`: those of the model.
    ///
    /// # Errors
    /// Requests are longer than the context, or the context is longer than the model's.
    pub fn new(options: &RecommendOptions, positions: usize) -> Result<Self, SessionError> {
        let question = &options.question;
        let said = question.input_len.is_some() || question.output_len.is_some();
        let (input_len, output_len) = match question.max_model_len.filter(|_| !said) {
            Some(context) => {
                let input = (context * PROMPT_QUARTERS / 4).max(1);
                (input, context.saturating_sub(input).max(1))
            }
            None => (
                question.input_len.unwrap_or(REPORT_INPUT_LEN),
                question.output_len.unwrap_or(REPORT_OUTPUT_LEN),
            ),
        };
        let tokens = input_len.saturating_add(output_len);
        let context = question.max_model_len.unwrap_or(tokens);
        let wrong = |text: String| Err(Wish::Question(text).into());
        if tokens > context {
            return wrong(format!(
                "a request of {input_len} + {output_len} tokens is longer than the {context} of --max-model-len; raise it or shorten the request"
            ));
        }
        if context > positions {
            return wrong(format!(
                "--max-model-len {context} is beyond the model's {positions} positions; lower it"
            ));
        }
        if options.objective.slo.tpot_ms.is_some() && output_len == 1 {
            return wrong(
                "--slo tpot: a request of one output token has no time per output token; raise --output-len to 2 or more".to_owned(),
            );
        }
        Ok(Self {
            context,
            input_len,
            output_len,
            demand: match options.request_rate {
                Some(rate) => Demand::RequestRate(rate),
                None => Demand::Concurrency(question.concurrency.unwrap_or(1)),
            },
        })
    }
}
