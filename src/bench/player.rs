//! The side of a run that sends: requests are made when they are due, ended when they are overdue, and their
//! events noted.

use std::io;
use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::cancel::Cancellations;
use super::places::Places;
use super::saturation::Queue;
use super::scenario::Load;
use super::script::Script;
use super::talks::Talks;
use crate::engine::{Engine, EngineError};
use crate::ground::clock::seconds;
use crate::ground::results::AtEnd;
use crate::ground::{
    Event, EventKind, FinishReason, Live, Log, Request, RequestId, RequestRecord, StopRule,
};
use crate::metrics::{Book, timing};
use crate::workload::WorkItem;

/// Part of the free memory that requests of an open loop may take while they are in flight, and bytes: more
/// than a million of the usual length.
const SHARE: u64 = 2;
const MOST_BYTES: u64 = 2 << 30;

/// Why a run ends before its last request.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error("interrupted")]
    Asked,
    #[error("interrupted in the warm-up")]
    AskedInWarmUp,
    #[error(
        "the virtual clock has come to its end after 584 years; ask for requests that arrive sooner"
    )]
    EndOfTime,
    #[error("warm-up failed: {0}")]
    WarmUp(EngineError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the records of the run cannot be kept ({0}); name a directory with room in TMPDIR")]
    Records(#[from] io::Error),
    #[error(
        "{requests} requests are in flight and take about {} MiB, and the engine falls further behind; ask for a lower rate",
        bytes >> 20
    )]
    TooMany { requests: usize, bytes: u64 },
    #[error(
        "saturated: {waiting} of {requests} requests wait, and their queue keeps growing; ask for a lower rate"
    )]
    Saturated { requests: usize, waiting: usize },
}

impl Stopped {
    /// What becomes of requests in flight: they failed with the engine, or are cut off.
    fn end(&self) -> EventKind {
        match self {
            Self::WarmUp(_) | Self::Engine(_) => EventKind::Failed(self.to_string()),
            _ => EventKind::Finished(FinishReason::Cut),
        }
    }
}

pub struct Player<'a> {
    script: &'a Script,
    origin: Duration,
    stop: &'a AtomicBool,
    /// When requests of an open loop arrive, seconds from `origin`.
    due: Peekable<Box<dyn Iterator<Item = f64> + 'a>>,
    next: usize,
    in_flight: usize,
    /// Bytes that requests in flight may take.
    budget: u64,
    /// The first request that may still miss its deadline: they fall due in order of arrival.
    next_deadline: RequestId,
    /// Where requests in flight are bounded.
    places: Option<Places>,
    /// From which on no request is sent.
    end: Duration,
    cancellations: Option<Cancellations>,
    /// Where it is watched.
    queue: Option<Queue>,
    /// Where requests are turns of conversations.
    talks: Option<Talks<'a>>,
    book: Book,
    events: Vec<Event>,
    /// Whoever looks on.
    live: Option<&'a Live>,
}

impl<'a> Player<'a> {
    /// `available`: bytes of free memory; 0 is unknown.
    pub fn new(
        script: &'a Script,
        origin: Duration,
        available: u64,
        stop: &'a AtomicBool,
        live: Option<&'a Live>,
    ) -> Self {
        Self {
            script,
            origin,
            stop,
            due: due(script).peekable(),
            next: 0,
            in_flight: 0,
            budget: match (&script.load, available) {
                // Looked at before the run.
                (Load::Closed { .. } | Load::Capped { .. }, _) => u64::MAX,
                (_, 0) => MOST_BYTES,
                (_, available) => MOST_BYTES.min(available / SHARE),
            },
            next_deadline: 0,
            places: Places::of(&script.load, origin),
            talks: Talks::of(&script.work, script.seed),
            end: script
                .limits
                .duration
                .map_or(Duration::MAX, |duration| origin.saturating_add(duration)),
            cancellations: script
                .limits
                .cancel
                .map(|cancel| Cancellations::new(cancel, script.seed)),
            queue: queue(script),
            book: Book::new(origin),
            events: Vec::new(),
            live,
        }
    }

    /// All that comes between two steps.
    ///
    /// # Errors
    /// Why the run is to end.
    pub fn turn(&mut self, engine: &mut Engine, progress: &mut dyn FnMut()) -> Result<(), Stopped> {
        self.give_up(engine, progress)?;
        self.submit_due(engine)?;
        self.end_overdue(engine);
        self.note_events(progress)?;
        match self.is_stopped() {
            true => Err(Stopped::Asked),
            false => Ok(()),
        }
    }

    /// Where the engine tells what happened.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// When the next request arrives; `None` when all have, or wait for others to end.
    pub fn next_arrival(&mut self) -> Option<Duration> {
        if self.next >= self.script.requests {
            return None;
        }
        let turn = self.talks.as_ref().and_then(Talks::next_turn);
        let next = turn.into_iter().chain(self.next_start()).min();
        next.filter(|arrival| *arrival < self.end)
    }

    /// Of a request that is no later turn of a conversation.
    fn next_start(&mut self) -> Option<Duration> {
        let talks = self.talks.as_ref();
        if talks.is_some_and(|talks| !talks.may_begin(self.script.requests)) {
            return None;
        }
        let free = match &self.places {
            None => self.origin,
            Some(places) => places.free_since()?,
        };
        let due = seconds(self.due.peek().copied()?);
        Some(self.origin.saturating_add(due).max(free))
    }

    /// Ends what the load itself gives up: those that are cancelled, and all when the time is over.
    fn give_up(&mut self, engine: &mut Engine, progress: &mut dyn FnMut()) -> Result<(), Stopped> {
        let now = engine.clock().now();
        if let Some(cancellations) = &mut self.cancellations {
            for id in cancellations.take(now) {
                let how = EventKind::Finished(FinishReason::Cancelled);
                engine.abort(id, how, &mut self.events);
            }
        }
        if now >= self.end && self.script.limits.at_end == AtEnd::Cut {
            self.end = Duration::ZERO;
            let how = EventKind::Finished(FinishReason::Cut);
            engine.abort_all(&how, &mut self.events);
        }
        // Their places are free for others.
        self.note_events(progress)
    }

    /// Of the request that arrives then.
    fn next_item(&mut self, arrival: Duration) -> WorkItem {
        let id = self.next as RequestId;
        let turn = self
            .talks
            .as_mut()
            .and_then(|talks| talks.go_on(arrival, id));
        if let Some(item) = turn {
            return item;
        }
        self.places.iter_mut().for_each(Places::take);
        self.due.next();
        match &mut self.talks {
            Some(talks) => talks.begin(id),
            None => self.script.work.item(self.next, self.script.seed),
        }
    }

    /// Everything that is due goes in before the next step.
    fn submit_due(&mut self, engine: &mut Engine) -> Result<(), Stopped> {
        // Once: where making requests takes longer than their gaps, the engine must have its turn all the same.
        let now = engine.clock().now();
        while let Some(arrival) = self.next_arrival().filter(|&arrival| arrival <= now) {
            if self.is_stopped() {
                return Err(Stopped::Asked);
            }
            let item = self.next_item(arrival);
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
            self.book.open(&request);
            if let Some(cancellations) = &mut self.cancellations {
                cancellations.sent(request.id, arrival, request.stop.max_tokens);
            }
            self.next += 1;
            self.in_flight += 1;
            engine.submit(request, &mut self.events);
            let waiting = engine.scheduler().waiting();
            if let Some(queue) = &mut self.queue
                && queue.grows(waiting)
            {
                let requests = self.next;
                return Err(Stopped::Saturated { requests, waiting });
            }
            if self.book.bytes() > self.budget {
                return Err(Stopped::TooMany {
                    requests: self.in_flight,
                    bytes: self.book.bytes(),
                });
            }
        }
        Ok(())
    }

    fn end_overdue(&mut self, engine: &mut Engine) {
        let Some(timeout) = self.script.limits.request_timeout else {
            return;
        };
        let now = engine.clock().now();
        // Of requests whose records are closed the engine knows nothing any more.
        let oldest = self.book.oldest().unwrap_or(self.next as RequestId);
        self.next_deadline = self.next_deadline.max(oldest);
        while let Some(arrival) = self.book.arrival(self.next_deadline) {
            if arrival.saturating_add(timeout) > now {
                break;
            }
            let id = self.next_deadline;
            let how = EventKind::Failed(timed_out(timeout));
            engine.abort(id, how, &mut self.events);
            self.next_deadline += 1;
        }
    }

    /// # Errors
    /// The records cannot be kept.
    pub fn note_events(&mut self, progress: &mut dyn FnMut()) -> Result<(), Stopped> {
        for mut event in self.events.drain(..) {
            if let (EventKind::Finished(reason), Some(timeout)) =
                (&event.kind, self.script.limits.request_timeout)
                && reason.is_whole()
                && let Some(arrival) = self.book.arrival(event.request)
                && event.time > arrival.saturating_add(timeout)
            {
                // It ended inside the step that passed its deadline: too late all the same.
                event.kind = EventKind::Failed(timed_out(timeout));
            }
            self.book.apply(&event);
            let goes_on = self.talks.as_mut().is_some_and(|talks| talks.note(&event));
            if let (EventKind::Token { .. }, Some(cancellations)) =
                (&event.kind, &mut self.cancellations)
                && let Some(record) = self.book.record(event.request)
            {
                cancellations.token(event.request, record.tokens.len());
            }
            if let Some(live) = self.live {
                tell(live, &self.book, &event);
            }
            if let EventKind::Finished(_) | EventKind::Failed(_) = event.kind {
                self.in_flight -= 1;
                if let Some(cancellations) = &mut self.cancellations {
                    cancellations.ended(event.request);
                }
                if let Some(places) = self.places.as_mut().filter(|_| !goes_on) {
                    places.give_back(event.time);
                }
                progress();
            }
        }
        Ok(self.book.settle()?)
    }

    /// The records of all requests; `reason` ends those that are left.
    pub fn finish(
        mut self,
        engine: &mut Engine,
        reason: Option<&Stopped>,
        progress: &mut dyn FnMut(),
    ) -> Log<RequestRecord> {
        if let Some(reason) = reason {
            engine.abort_all(&reason.end(), &mut self.events);
        }
        // A file that cannot be written has ended the run already, and its records stay in memory.
        let _ = self.note_events(progress);
        self.book.into_log().0
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a request's times so far come to.
fn tell(live: &Live, book: &Book, event: &Event) {
    let Some(record) = book.record(event.request) else {
        return;
    };
    match event.kind {
        EventKind::Token { .. } if record.tokens.len() == 1 => {
            live.first_token(timing::ttft(record));
        }
        EventKind::Finished(reason) if reason.is_whole() => live.finished(timing::tpot(record)),
        _ => {}
    }
}

/// Scheduled arrivals in seconds; in a closed loop every request is due.
fn due(script: &Script) -> Box<dyn Iterator<Item = f64> + '_> {
    match &script.load {
        Load::Closed { .. } => Box::new(std::iter::repeat(0.0)),
        Load::Open(arrivals) | Load::Capped { arrivals, .. } => {
            Box::new(arrivals.times(script.seed))
        }
        Load::Trace => Box::new(
            (0..script.requests).map(|i| script.work.item(i, script.seed).arrival.unwrap_or(0.0)),
        ),
    }
}

/// Of an open loop that is to end when it grows; where requests in flight are bounded the queue is outside, and no one
/// waits in it.
fn queue(script: &Script) -> Option<Queue> {
    let burstiness = match &script.load {
        Load::Open(arrivals) => arrivals.burstiness(),
        Load::Trace => 1.0,
        Load::Closed { .. } | Load::Capped { .. } => return None,
    };
    let watched = script.limits.stop_when_saturated;
    watched.then(|| Queue::new(burstiness))
}

fn timed_out(timeout: Duration) -> String {
    format!("timed out after {} s", timeout.as_secs_f64())
}
