//! One pass over the requests of a run: all that its metrics and checks need of them.

use super::MeasureInput;
use super::goodput::Goodput;
use super::in_flight::InFlight;
use super::laws::{breaks_identity, breaks_order};
use super::quantile::{Sample, Values, ratio};
use super::schedule::{Follower, Late};
use super::timing::{self, BusiestSecond, Window};
use crate::ground::results::{Failure, Slo};
use crate::ground::{FinishReason, RequestId, RequestRecord};

/// Of values that come one a request so many are kept: there are several sets of them.
const MOST_EXACT: usize = 1_000_000;
/// Failures that are listed one by one.
const MOST_FAILURES: usize = 10_000;

/// The sets of values that are summarised, of successful requests unless said otherwise, in seconds.
#[derive(Debug, Default)]
pub(crate) struct Each<T> {
    pub ttft: T,
    pub tpot: T,
    pub itl: T,
    pub e2el: T,
    pub queue: T,
    pub ttft_service: T,
    pub normalized_latency: T,
    /// Output tokens over latency, tokens a second.
    pub throughput: T,
    /// Of all requests.
    pub submit_delay: T,
}

/// What the requests of a run come to.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub count: usize,
    pub successful: usize,
    pub failed: usize,
    pub cancelled: usize,
    pub cut_off: usize,
    /// `None` when no request generated a token.
    pub window: Option<Window>,
    /// Of successful requests.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Of the input tokens, those found in the prefix cache; `None`: it was off.
    pub cached_tokens: Option<u64>,
    pub failed_output_tokens: u64,
    /// Of those that were cancelled or cut off.
    pub cancelled_output_tokens: u64,
    /// Of all requests.
    pub preemptions: u64,
    pub failures: Vec<Failure>,
    pub samples: Each<Option<Sample>>,
    /// Latencies of successful requests, summed.
    pub latencies: f64,
    /// From hand-over to last token, summed over all requests.
    pub stamped: f64,
    /// Successful requests.
    pub in_flight: InFlight,
    pub busiest_second: Option<u64>,
    /// Tokens of successful requests that came inside the steady window.
    pub steady_tokens: usize,
    /// `None` without an objective.
    pub goodput: Option<Goodput>,
    /// The request that was handed over furthest behind its schedule; `None` in a closed loop.
    pub latest: Option<Late>,
    /// The first request that breaks the law, and how.
    pub identity: Option<String>,
    pub order: Option<String>,
}

impl Requests {
    /// `steady`: the steady window by the steps.
    pub fn of(input: &MeasureInput, steady: Option<Window>) -> Self {
        let mut pass = Pass::new(input, steady);
        for record in input.requests {
            pass.add(&record);
        }
        pass.finish()
    }

    /// Those that completed or failed: nothing is said of the engine by others, which the load itself ended.
    pub fn judged(&self) -> usize {
        self.successful + self.failed
    }
}

struct Pass<'a> {
    sums: Requests,
    values: Each<Values>,
    steady: Option<Window>,
    slo: Option<Slo>,
    follower: Option<Follower<'a>>,
    busiest: BusiestSecond,
    start: f64,
    end: Option<f64>,
    /// Of the request before.
    arrival: f64,
}

impl<'a> Pass<'a> {
    fn new(input: &MeasureInput<'a>, steady: Option<Window>) -> Self {
        let is_open = input.scenario.concurrency.is_none();
        let few = || Values::exact_to(MOST_EXACT);
        let slo = input.scenario.goodput;
        let slo = slo.filter(|slo| slo != &Slo::default());
        Self {
            sums: Requests {
                goodput: slo.map(|_| Goodput::default()),
                ..Requests::default()
            },
            values: Each {
                ttft: few(),
                tpot: few(),
                itl: Values::default(),
                e2el: few(),
                queue: few(),
                ttft_service: few(),
                normalized_latency: few(),
                throughput: few(),
                submit_delay: few(),
            },
            steady,
            slo,
            follower: is_open.then(|| Follower::new(input.steps)),
            busiest: BusiestSecond::default(),
            start: f64::INFINITY,
            end: None,
            arrival: f64::NEG_INFINITY,
        }
    }

    fn add(&mut self, record: &RequestRecord) {
        let sums = &mut self.sums;
        sums.count += 1;
        sums.preemptions += u64::from(record.preemptions);
        sums.stamped += timing::service(record).unwrap_or(0.0);
        self.start = self.start.min(record.arrival);
        let last = record.tokens.last().copied();
        self.end = self.end.into_iter().chain(last).reduce(f64::max);
        let delay = timing::submit_delay(record);
        self.values.submit_delay.extend(delay);
        if let Some(follower) = &mut self.follower {
            sums.latest = Late::later(sums.latest, follower.late(record));
        }
        note(&mut sums.identity, record.id, || breaks_identity(record));
        let before = std::mem::replace(&mut self.arrival, record.arrival);
        note(&mut sums.order, record.id, || breaks_order(record, before));
        self.busiest.begin(self.start);
        let ended = record.finish.filter(|_| record.error.is_none());
        let sums = &mut self.sums;
        match ended {
            Some(FinishReason::Cancelled) => sums.cancelled += 1,
            Some(FinishReason::Cut) => sums.cut_off += 1,
            Some(FinishReason::Length | FinishReason::Stop) => self.add_successful(record),
            None => self.add_failed(record),
        }
        if ended.is_some_and(|reason| !reason.is_whole()) {
            self.sums.cancelled_output_tokens += record.output_tokens as u64;
        }
    }

    fn add_failed(&mut self, record: &RequestRecord) {
        self.sums.failed += 1;
        self.sums.failed_output_tokens += record.output_tokens as u64;
        if self.sums.failures.len() < MOST_FAILURES {
            let cut_short = || "the run ended before the request did".to_owned();
            self.sums.failures.push(Failure {
                id: record.id,
                reason: record.error.clone().unwrap_or_else(cut_short),
            });
        }
    }

    fn add_successful(&mut self, record: &RequestRecord) {
        let (sums, values) = (&mut self.sums, &mut self.values);
        sums.successful += 1;
        sums.input_tokens += record.prompt_tokens as u64;
        sums.output_tokens += record.output_tokens as u64;
        if let Some(cached) = record.cached_tokens {
            *sums.cached_tokens.get_or_insert(0) += cached as u64;
        }
        let latency = timing::latency(record);
        sums.latencies += latency.unwrap_or(0.0);
        let throughput = latency.and_then(|l| ratio(record.output_tokens as f64, l));
        values.ttft.extend(timing::ttft(record));
        values.tpot.extend(timing::tpot(record));
        values.itl.extend(timing::gaps(record));
        values.e2el.extend(latency);
        values.queue.extend(timing::queue(record));
        values.ttft_service.extend(timing::ttft_service(record));
        let normalized = timing::normalized_latency(record);
        values.normalized_latency.extend(normalized);
        values.throughput.extend(throughput);
        sums.in_flight.add(record);
        self.busiest.add(record);
        if let Some(steady) = self.steady {
            let inside = |&&t: &&f64| t > steady.start && t <= steady.end;
            sums.steady_tokens += record.tokens.iter().filter(inside).count();
        }
        if let Some((goodput, slo)) = sums.goodput.as_mut().zip(self.slo) {
            goodput.add(record, slo);
        }
    }

    fn finish(self) -> Requests {
        let values = self.values;
        let mut sums = self.sums;
        sums.in_flight.finish();
        Requests {
            window: self.end.map(|end| Window {
                start: self.start,
                end,
            }),
            busiest_second: self.busiest.most(),
            samples: Each {
                ttft: values.ttft.sample(),
                tpot: values.tpot.sample(),
                itl: values.itl.sample(),
                e2el: values.e2el.sample(),
                queue: values.queue.sample(),
                ttft_service: values.ttft_service.sample(),
                normalized_latency: values.normalized_latency.sample(),
                throughput: values.throughput.sample(),
                submit_delay: values.submit_delay.sample(),
            },
            ..sums
        }
    }
}

/// Keeps the first offence.
fn note(first: &mut Option<String>, id: RequestId, breaks: impl FnOnce() -> Option<String>) {
    if first.is_none() {
        *first = breaks().map(|how| format!("request {id}: {how}"));
    }
}
