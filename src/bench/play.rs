//! One run: submits requests when they are due, steps the engine, ends what takes too long.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::scenario::Load;
use super::tracer::Tracer;
use crate::engine::{Engine, EngineError};
use crate::ground::{
    Event, EventKind, ExpertLoad, Request, RequestId, RequestRecord, Sampling, StepRecord, StopRule,
};
use crate::metrics::Book;
use crate::workload::Work;

/// Ids of warm-up requests start here, clear of the run's own.
const WARMUP_IDS: RequestId = 1 << 48;
/// Warm-up reaches every kernel within a few decode steps; more would only take time.
const WARMUP_OUTPUT: usize = 8;
/// An idle player looks this often whether it is to stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Everything that decides a run.
#[derive(Debug, Clone)]
pub struct Script {
    /// What each request asks.
    pub work: Work,
    /// When each request arrives.
    pub load: Load,
    /// How many.
    pub requests: usize,
    /// Requests played before the window, with outputs cut to a few tokens.
    pub warmup: usize,
    /// From arrival; a request that takes longer is ended and counted as failed.
    pub request_timeout: Option<Duration>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Ids that end an output early; empty for exact lengths.
    pub end_tokens: Vec<u32>,
    /// Of synthetic prompts and drawn arrivals.
    pub seed: u64,
}

/// What was observed.
#[derive(Debug, Default)]
pub struct Recording {
    /// Seconds from the first scheduled arrival, as are all times below.
    pub requests: Vec<RequestRecord>,
    /// One entry a scheduler step.
    pub steps: Vec<StepRecord>,
    /// Of each sparse layer; empty where there is none, or nothing is known.
    pub experts: Vec<ExpertLoad>,
    /// Start of the window on the engine's clock.
    pub origin: Duration,
    /// Why the run ended before its last request, if it did.
    pub cut_short: Option<String>,
}

/// Plays `script`, on a cold prefix cache. `stop` or an error of the engine ends the run with a partial
/// recording; `progress` is told of each finished or failed request.
pub fn play(
    engine: &mut Engine,
    script: &Script,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(),
) -> Recording {
    play_traced(engine, script, stop, None, progress)
}

/// The same, with some steps seen by `tracer`.
pub fn play_traced(
    engine: &mut Engine,
    script: &Script,
    stop: &AtomicBool,
    mut tracer: Option<&mut Tracer>,
    progress: &mut dyn FnMut(),
) -> Recording {
    let warm = warm_up(engine, script, stop);
    engine.reset_prefix_cache();
    let before = engine.expert_load().unwrap_or_default();
    let origin = engine.clock().now();
    let mut player = Player {
        script,
        origin,
        due: arrivals(script),
        next: 0,
        in_flight: 0,
        arrivals: Vec::with_capacity(script.requests),
        next_deadline: 0,
        freed: VecDeque::new(),
        book: Book::new(origin),
        events: Vec::new(),
    };
    let mut steps = Vec::new();
    let mut cut_short = warm.err().map(|error| format!("warm-up failed: {error}"));
    while cut_short.is_none() {
        player.submit_due(engine);
        player.end_overdue(engine);
        player.note_events(progress);
        if engine.is_idle() {
            match player.next_arrival() {
                None => break,
                Some(time) => {
                    let clock = engine.clock();
                    clock.sleep_until(time.min(clock.now() + LONGEST_SLEEP));
                }
            }
        } else {
            let events = &mut player.events;
            let step = match &mut tracer {
                None => engine.step(events),
                Some(tracer) => tracer.step(steps.len(), engine, events),
            };
            match step {
                Ok(step) => steps.push(shift(step, origin)),
                Err(error) => cut_short = Some(error.to_string()),
            }
            player.note_events(progress);
        }
        if cut_short.is_none() && stop.load(Ordering::Relaxed) {
            cut_short = Some("interrupted".to_owned());
        }
    }
    if let Some(reason) = &cut_short {
        player.end_all(engine, reason);
        player.note_events(progress);
    }
    // Of an engine that failed, which the run has told, there is none.
    let after = engine.expert_load().unwrap_or_default();
    Recording {
        requests: player.book.into_records(),
        steps,
        experts: since(after, &before),
        origin,
        cut_short,
    }
}

/// What was added to the counts `before`.
fn since(mut after: Vec<ExpertLoad>, before: &[ExpertLoad]) -> Vec<ExpertLoad> {
    for (after, before) in after.iter_mut().zip(before) {
        for (now, then) in after.tokens.iter_mut().zip(&before.tokens) {
            // The counter may have begun again.
            *now = now.wrapping_sub(*then);
        }
    }
    after
}

/// Runs a few short requests of the same work, so that the window opens on a warm engine.
fn warm_up(engine: &mut Engine, script: &Script, stop: &AtomicBool) -> Result<(), EngineError> {
    let mut events = Vec::new();
    for index in 0..script.warmup {
        let item = script.work.item(index, !script.seed);
        let request = Request {
            id: WARMUP_IDS + index as RequestId,
            prompt: item.prompt,
            stop: StopRule {
                max_tokens: item.output_len.min(WARMUP_OUTPUT),
                end_tokens: Vec::new().into(),
            },
            sampling: script.sampling,
            arrival: engine.clock().now(),
        };
        engine.submit(request, &mut events);
    }
    let mut outcome = Ok(());
    while outcome.is_ok() && !engine.is_idle() && !stop.load(Ordering::Relaxed) {
        outcome = engine.step(&mut events).map(drop);
        events.clear();
    }
    // Whatever ended it, none of its requests may reach into the window.
    for id in engine.unfinished() {
        engine.abort(id, "warm-up ended", &mut events);
    }
    outcome
}

/// Scheduled arrivals in seconds; empty for a closed loop.
fn arrivals(script: &Script) -> Vec<f64> {
    match script.load {
        Load::Closed { .. } => Vec::new(),
        Load::Open(arrivals) => arrivals.times(script.requests, script.seed),
        Load::Trace => (0..script.requests)
            .map(|i| script.work.item(i, script.seed).arrival.unwrap_or(0.0))
            .collect(),
    }
}

struct Player<'a> {
    script: &'a Script,
    origin: Duration,
    due: Vec<f64>,
    next: usize,
    in_flight: usize,
    /// Of each request so far.
    arrivals: Vec<Duration>,
    /// The first request that may still miss its deadline: they fall due in order of arrival.
    next_deadline: usize,
    /// When each free place of the closed loop fell free.
    freed: VecDeque<Duration>,
    book: Book,
    events: Vec<Event>,
}

impl Player<'_> {
    /// When the next request arrives; `None` when all have.
    fn next_arrival(&self) -> Option<Duration> {
        if self.next >= self.script.requests {
            return None;
        }
        match self.script.load {
            Load::Closed { concurrency } => (self.in_flight < concurrency)
                .then(|| self.freed.front().copied().unwrap_or(self.origin)),
            Load::Open(_) | Load::Trace => {
                Some(self.origin + Duration::from_secs_f64(self.due[self.next]))
            }
        }
    }

    /// Everything that is due goes in before the next step.
    fn submit_due(&mut self, engine: &mut Engine) {
        while let Some(arrival) = self.next_arrival() {
            if arrival > engine.clock().now() {
                break;
            }
            self.freed.pop_front();
            let item = self.script.work.item(self.next, self.script.seed);
            let request = Request {
                id: self.next as RequestId,
                prompt: item.prompt,
                stop: StopRule {
                    max_tokens: item.output_len,
                    end_tokens: self.script.end_tokens.as_slice().into(),
                },
                sampling: self.script.sampling,
                arrival,
            };
            self.arrivals.push(arrival);
            self.book.open(&request);
            self.next += 1;
            self.in_flight += 1;
            engine.submit(request, &mut self.events);
        }
    }

    fn end_overdue(&mut self, engine: &mut Engine) {
        let Some(timeout) = self.script.request_timeout else {
            return;
        };
        let now = engine.clock().now();
        while let Some(&arrival) = self.arrivals.get(self.next_deadline) {
            if arrival + timeout > now {
                break;
            }
            // Of a request that has finished in time the engine knows nothing any more.
            let id = self.next_deadline as RequestId;
            engine.abort(id, &timed_out(timeout), &mut self.events);
            self.next_deadline += 1;
        }
    }

    fn end_all(&mut self, engine: &mut Engine, reason: &str) {
        for id in engine.unfinished() {
            engine.abort(id, reason, &mut self.events);
        }
    }

    fn note_events(&mut self, progress: &mut dyn FnMut()) {
        for mut event in self.events.drain(..) {
            if let (EventKind::Finished(_), Some(timeout)) =
                (&event.kind, self.script.request_timeout)
                && event.time > self.arrivals[event.request as usize] + timeout
            {
                // It ended inside the step that passed its deadline: too late all the same.
                event.kind = EventKind::Failed(timed_out(timeout));
            }
            self.book.apply(&event);
            if let EventKind::Finished(_) | EventKind::Failed(_) = event.kind {
                self.in_flight -= 1;
                self.freed.push_back(event.time);
                progress();
            }
        }
    }
}

fn timed_out(timeout: Duration) -> String {
    format!("timed out after {} s", timeout.as_secs_f64())
}

fn shift(mut step: StepRecord, origin: Duration) -> StepRecord {
    step.start -= origin.as_secs_f64();
    step.end -= origin.as_secs_f64();
    // What was idle before the run is not part of it.
    step.idle_seconds = step.idle_seconds.min(step.start);
    step
}
