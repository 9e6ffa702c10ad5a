//! The loop: scheduler -> step plan -> executor -> tokens -> events.

mod kept;
mod pack;
mod tell;
mod times;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::exec::{ExecError, Executor, StepOutput, StepPlan, Ticket};
use crate::ground::results::Roofs;
use crate::ground::{
    Clock, Event, EventKind, ExpertLoad, FinishReason, Request, RequestId, StepRecord, StopRule,
    TokenLogprobs, pending,
};
use crate::ops::Sampled;
use crate::scheduler::{
    Decision, Outcome, Recorded, Scheduler, SchedulerConfig, SchedulerError, Submission,
};

/// One step of so many is timed on devices that run behind the host: to read their events takes the host's time.
const TIMED_EVERY: u64 = 8;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error("step {step}: {source}")]
    Step { step: u64, source: Box<ExecError> },
    #[error("the executor returned {found} tokens for {expected} rows")]
    Tokens { expected: usize, found: usize },
    #[error("{waiting} requests wait and none could be scheduled; this is a bug of the scheduler")]
    Stuck { waiting: usize },
}

struct Active {
    request: Request,
    generated: usize,
}

/// A continuous-batching engine over one executor. Every event carries the time it was seen at.
pub struct Engine {
    scheduler: Recorded,
    executor: Box<dyn Executor>,
    clock: Arc<dyn Clock>,
    active: HashMap<RequestId, Active>,
    steps: u64,
    /// Submitted before the step before it was waited for.
    ahead: Option<Flight>,
    /// When the latest step was done.
    done: Duration,
    /// Since when no request is held; `None` while one is.
    idle_since: Option<Duration>,
    /// Time without a request since the latest step.
    idle: Duration,
    // Reused between steps.
    flights: Vec<Flight>,
    output: StepOutput,
    outcomes: Vec<Outcome>,
}

/// A step on its way.
#[derive(Default)]
struct Flight {
    decision: Decision,
    plan: Arc<StepPlan>,
    ticket: Option<Ticket>,
    record: StepRecord,
    start: Duration,
    /// When the executor was given it.
    launched: Duration,
}

impl Engine {
    /// `executor` must have its KV cache of `config.num_blocks` allocated.
    pub fn new(
        config: SchedulerConfig,
        executor: Box<dyn Executor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            scheduler: Recorded::new(config)?,
            executor,
            idle_since: Some(clock.now()),
            idle: Duration::ZERO,
            clock,
            active: HashMap::new(),
            steps: 0,
            ahead: None,
            done: Duration::ZERO,
            flights: Vec::new(),
            output: StepOutput::default(),
            outcomes: Vec::new(),
        })
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub fn executor(&self) -> &dyn Executor {
        self.executor.as_ref()
    }

    /// For steps that no scheduler planned, while the engine is idle.
    pub fn executor_mut(&mut self) -> &mut dyn Executor {
        self.executor.as_mut()
    }

    /// Forgets cached prefixes, so that a run profits from none before it. Does nothing while requests run.
    pub fn reset_prefix_cache(&mut self) {
        self.scheduler.reset_prefix_cache();
    }

    /// See [`Executor::measure_roofs`]. For an idle engine: it takes the devices to their limits.
    pub fn measure_roofs(&mut self) -> Option<Roofs> {
        self.executor.measure_roofs()
    }

    /// See [`Executor::expert_load`].
    ///
    /// # Errors
    /// The devices have failed.
    pub fn expert_load(&mut self) -> Result<Vec<ExpertLoad>, EngineError> {
        Ok(self.executor.expert_load()?)
    }

    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// No request is left, and no step is under way.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.ahead.is_none()
    }

    /// Queues a request. One that can never fit fails at once, as an event, with the numbers.
    pub fn submit(&mut self, request: Request, events: &mut Vec<Event>) {
        let time = self.clock.now();
        let mut emit = |kind| {
            events.push(Event {
                time,
                request: request.id,
                kind,
            });
        };
        emit(EventKind::Queued);
        let submission = Submission {
            id: request.id,
            prompt: request.prompt.clone(),
            max_tokens: request.stop.max_tokens,
        };
        match self.scheduler.add(submission) {
            Ok(()) => {
                let active = Active {
                    generated: 0,
                    request,
                };
                self.active.insert(active.request.id, active);
                if let Some(since) = self.idle_since.take() {
                    self.idle += time.saturating_sub(since);
                }
            }
            Err(refusal) => emit(EventKind::Failed(refusal.to_string())),
        }
    }

    /// Ends a request that has not finished, and frees its blocks; `how`: it failed, or was given up.
    pub fn abort(&mut self, id: RequestId, how: EventKind, events: &mut Vec<Event>) {
        if self.active.remove(&id).is_some() {
            self.scheduler.abort(id);
            let time = self.clock.now();
            events.push(Event {
                time,
                request: id,
                kind: how,
            });
            self.note_idle(time);
        }
    }

    /// Ends all that have not finished, the oldest first.
    pub fn abort_all(&mut self, how: &EventKind, events: &mut Vec<Event>) {
        for id in self.unfinished() {
            self.abort(id, how.clone(), events);
        }
    }

    /// How many requests have neither finished nor failed.
    pub fn in_flight(&self) -> usize {
        self.active.len()
    }

    /// Requests that have neither finished nor failed, the oldest first where ids ascend.
    pub fn unfinished(&self) -> Vec<RequestId> {
        let mut ids: Vec<_> = self.active.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// One scheduler step and one pass of the executor, whose next step may be under way already. Appends what
    /// happened to `events`.
    pub fn step(&mut self, events: &mut Vec<Event>) -> Result<StepRecord, EngineError> {
        let flight = match self.ahead.take() {
            Some(flight) => Some(flight),
            None => self.launch(events)?,
        };
        let Some(mut flight) = flight else {
            return Err(EngineError::Stuck {
                waiting: self.active.len(),
            });
        };
        let looked_ahead = self.executor.runs_ahead(&flight.plan);
        if looked_ahead {
            self.assume(&flight.decision);
            self.ahead = self.launch(events)?;
        }
        if let Some(ticket) = flight.ticket.take() {
            let step = flight.record.step;
            let waited = self.executor.wait(ticket, &mut self.output);
            waited.map_err(failed(step))?;
        }
        let done = self.clock.now();
        self.complete(&flight.decision, looked_ahead, done, events)?;
        // A step that was submitted early began when the one before it was done.
        let (start, launched) = (flight.start.max(self.done), flight.launched.max(self.done));
        let mut record = std::mem::take(&mut flight.record);
        record.output_tokens = self.outcomes.len();
        record.bytes = self.output.cost.bytes;
        record.flops = self.output.cost.flops;
        record.communication_bytes = self.output.traffic.bytes;
        record.start = start.as_secs_f64();
        let pause = start.saturating_sub(self.done);
        record.idle_seconds = std::mem::take(&mut self.idle).min(pause).as_secs_f64();
        record.exec_seconds = done
            .saturating_sub(launched.saturating_add(self.output.host))
            .as_secs_f64();
        times::note(&mut record, &self.output);
        let end = self.clock.now();
        record.end = end.as_secs_f64();
        self.done = end;
        self.note_idle(end);
        self.flights.push(flight);
        Ok(record)
    }

    /// From `time` on no request is held, if none is left.
    fn note_idle(&mut self, time: Duration) {
        if self.active.is_empty() {
            self.idle_since = Some(time);
        }
    }

    /// Schedules a step and submits it; `None`: nothing can run.
    fn launch(&mut self, events: &mut Vec<Event>) -> Result<Option<Flight>, EngineError> {
        let mut flight = self.flights.pop().unwrap_or_default();
        let decision = &mut flight.decision;
        flight.start = self.clock.now();
        self.scheduler.schedule(decision);
        let finds_prefixes = self.scheduler.config().prefix_cache;
        tell::of_decision(decision, finds_prefixes, flight.start, events);
        if decision.entries.is_empty() {
            self.flights.push(flight);
            return Ok(None);
        }
        flight.record = self.describe(&flight.decision);
        self.steps += 1;
        pack::pack(
            &flight.decision,
            &self.scheduler,
            |id| self.active.get(&id).map(|a| a.request.sampling),
            Arc::make_mut(&mut flight.plan),
        );
        Arc::make_mut(&mut flight.plan).timed = flight.record.step.is_multiple_of(TIMED_EVERY);
        flight.launched = self.clock.now();
        let submitted = self.executor.submit(flight.plan.clone());
        let step = flight.record.step;
        flight.ticket = Some(submitted.map_err(failed(step))?);
        Ok(Some(flight))
    }

    /// Tells the scheduler of tokens that a step will draw, so that it can plan the next one.
    fn assume(&mut self, decision: &Decision) {
        let sampling = decision.entries.iter().filter(|entry| entry.samples);
        self.outcomes.clear();
        self.outcomes
            .extend(sampling.enumerate().map(|(pick, entry)| Outcome {
                id: entry.id,
                token: pending::of(pick),
                finished: false,
            }));
        self.scheduler.complete(&self.outcomes);
    }

    /// Hands the sampled tokens to the scheduler, which may have been told to expect them, and tells of them.
    fn complete(
        &mut self,
        decision: &Decision,
        expected_them: bool,
        time: Duration,
        events: &mut Vec<Event>,
    ) -> Result<(), EngineError> {
        let sampling = decision.entries.iter().filter(|entry| entry.samples);
        let expected = sampling.clone().count();
        let found = self.output.sampled.len();
        if found != expected {
            return Err(EngineError::Tokens { expected, found });
        }
        self.outcomes.clear();
        for (entry, Sampled { token, logprobs }) in sampling.zip(self.output.sampled.drain(..)) {
            let Some(active) = self.active.get_mut(&entry.id) else {
                continue;
            };
            active.generated += 1;
            let finish = finish(&active.request.stop, active.generated, token);
            events.push(token_event(time, entry.id, token, logprobs));
            if let Some(reason) = finish {
                events.push(Event {
                    time,
                    request: entry.id,
                    kind: EventKind::Finished(reason),
                });
                self.active.remove(&entry.id);
            }
            self.outcomes.push(Outcome {
                id: entry.id,
                token,
                finished: finish.is_some(),
            });
        }
        match expected_them {
            true => self.scheduler.settle(&self.outcomes),
            false => self.scheduler.complete(&self.outcomes),
        }
        Ok(())
    }

    /// What the decision looks like in `steps.jsonl`, before it has run.
    fn describe(&self, decision: &Decision) -> StepRecord {
        let tokens = |decode: bool| {
            let entries = decision.entries.iter();
            let chosen = entries.filter(|entry| entry.is_decode == decode);
            chosen.map(|entry| entry.num_tokens).sum()
        };
        StepRecord {
            step: self.steps,
            running: self.scheduler.running(),
            waiting: self.scheduler.waiting(),
            scheduled: decision.entries.len(),
            prefill_tokens: tokens(false),
            decode_tokens: tokens(true),
            preempted: decision.preempted.len(),
            kv_blocks_used: self.scheduler.blocks_used(),
            kv_blocks_total: self.scheduler.blocks_total(),
            ..StepRecord::default()
        }
    }
}

/// From what went wrong to the step that it went wrong in.
fn failed(step: u64) -> impl Fn(ExecError) -> EngineError {
    move |source| EngineError::Step {
        step,
        source: source.into(),
    }
}

fn finish(stop: &StopRule, generated: usize, token: u32) -> Option<FinishReason> {
    if stop.end_tokens.contains(&token) {
        Some(FinishReason::Stop)
    } else if generated >= stop.max_tokens {
        Some(FinishReason::Length)
    } else {
        None
    }
}

fn token_event(
    time: Duration,
    request: RequestId,
    token: u32,
    logprobs: Option<Box<TokenLogprobs>>,
) -> Event {
    Event {
        time,
        request,
        kind: EventKind::Token { token, logprobs },
    }
}
