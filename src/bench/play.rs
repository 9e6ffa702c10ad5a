//! One run: submits requests when they are due, steps the engine, ends what takes too long.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::player::{Player, Stopped};
use super::scenario::Load;
use super::tracer::Tracer;
use super::warm_up::warm_up;
use crate::engine::Engine;
use crate::ground::{ClockSpan, ExpertLoad, Log, RequestRecord, Sampling, StepRecord};
use crate::metrics::records::bytes_in_flight;
use crate::telemetry;
use crate::workload::Work;

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

/// More than a machine can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--concurrency {concurrency}: {requests} requests in flight take about {} MiB, and {} MiB of memory are free; ask for {most} at most",
    bytes >> 20,
    available >> 20
)]
pub struct TooMany {
    /// That was asked for.
    pub concurrency: usize,
    /// That would be in flight.
    pub requests: usize,
    /// That they would take.
    pub bytes: u64,
    /// That are free.
    pub available: u64,
    /// Requests that fit.
    pub most: u64,
}

impl Script {
    /// Refuses a closed loop whose requests in flight do not fit into `available` bytes of memory; 0 is
    /// unknown. Those of an open loop are counted as they come.
    ///
    /// # Errors
    /// `TooMany`.
    pub fn check(&self, available: u64) -> Result<(), TooMany> {
        let Load::Closed { concurrency } = self.load else {
            return Ok(());
        };
        let requests = concurrency.min(self.requests);
        let each = bytes_in_flight(0, self.work.longest());
        let bytes = each.saturating_mul(requests as u64);
        match available > 0 && bytes > available {
            true => Err(TooMany {
                concurrency,
                requests,
                bytes,
                available,
                most: available / each,
            }),
            false => Ok(()),
        }
    }
}

/// What was observed.
#[derive(Debug, Default)]
pub struct Recording {
    /// In order of arrival. Seconds from the first scheduled arrival, as are all times below.
    pub requests: Log<RequestRecord>,
    /// One entry a scheduler step.
    pub steps: Log<StepRecord>,
    /// Of each sparse layer; empty where there is none, or nothing is known.
    pub experts: Vec<ExpertLoad>,
    /// Start of the window on the engine's clock.
    pub origin: Duration,
    /// Of the run; `None` in virtual time.
    pub clocks: Option<ClockSpan>,
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
    let available = telemetry::memory().available;
    if let Err(refusal) = script.check(available) {
        return Recording {
            cut_short: Some(refusal.to_string()),
            ..Recording::default()
        };
    }
    let mut cut_short = warm_up(engine, script, stop).err();
    engine.reset_prefix_cache();
    let before = engine.expert_load().unwrap_or_default();
    let origin = engine.clock().now();
    let start = engine.clock().reading();
    let mut player = Player::new(script, origin, available, stop);
    let mut steps = Log::default();
    let mut number = 0;
    while cut_short.is_none() {
        cut_short = player.turn(engine, progress).err();
        if cut_short.is_some() {
            break;
        }
        if engine.is_idle() {
            match player.next_arrival() {
                None => break,
                Some(time) => {
                    let clock = engine.clock();
                    let now = clock.now();
                    clock.sleep_until(time.min(now.saturating_add(LONGEST_SLEEP)));
                    if time > now && clock.now() == now {
                        cut_short = Some(Stopped::EndOfTime);
                    }
                }
            }
        } else {
            let events = player.events();
            let step = match &mut tracer {
                None => engine.step(events),
                Some(tracer) => tracer.step(number, engine, events),
            };
            number += 1;
            let kept = step.map_err(Stopped::from);
            let kept = kept.and_then(|step| Ok(steps.push(shift(step, origin))?));
            cut_short = kept.and_then(|()| player.note_events(progress)).err();
        }
    }
    let clocks = engine.clock().reading().zip(start);
    let cut_short = cut_short.map(|reason| reason.to_string());
    let requests = player.finish(engine, cut_short.as_deref(), progress);
    // Of an engine that failed, which the run has told, there is none.
    let after = engine.expert_load().unwrap_or_default();
    Recording {
        requests,
        steps,
        experts: since(after, &before),
        origin,
        clocks: clocks.map(|(end, start)| end.since(&start)),
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

fn shift(mut step: StepRecord, origin: Duration) -> StepRecord {
    step.start -= origin.as_secs_f64();
    step.end -= origin.as_secs_f64();
    // What was idle before the run is not part of it.
    step.idle_seconds = step.idle_seconds.min(step.start);
    step
}
