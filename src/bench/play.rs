//! One run: submits requests when they are due, steps the engine, ends what takes too long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::player::{Player, Stopped};
use super::script::Script;
use super::tracer::Tracer;
use super::warm_up::warm_up;
use crate::engine::Engine;
use crate::ground::{ClockSpan, ExpertLoad, Live, Log, RequestRecord, StepRecord};
use crate::telemetry;

/// An idle player looks this often whether it is to stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

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
    play_traced(engine, script, stop, None, None, progress)
}

/// The same, with some steps seen by `tracer`, and `live` told of each.
pub fn play_traced(
    engine: &mut Engine,
    script: &Script,
    stop: &AtomicBool,
    mut tracer: Option<&mut Tracer>,
    live: Option<&Live>,
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
    let mut player = Player::new(script, origin, available, stop, live);
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
            // A step that was left in the middle failed for that.
            let kept = step.map_err(|error| match stop.load(Ordering::Relaxed) {
                true => Stopped::Asked,
                false => Stopped::from(error),
            });
            let kept = kept.and_then(|step| {
                let step = shift(step, number, origin);
                if let Some(live) = live {
                    live.step(&step);
                }
                Ok(steps.push(step)?)
            });
            number += 1;
            cut_short = kept.and_then(|()| player.note_events(progress)).err();
        }
    }
    let clocks = engine.clock().reading().zip(start);
    let requests = player.finish(engine, cut_short.as_ref(), progress);
    let cut_short = cut_short.map(|reason| reason.to_string());
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

/// As the run counts steps and time: from its own start.
fn shift(mut step: StepRecord, number: usize, origin: Duration) -> StepRecord {
    step.step = number as u64;
    step.start -= origin.as_secs_f64();
    step.end -= origin.as_secs_f64();
    // What was idle before the run is not part of it.
    step.idle_seconds = step.idle_seconds.min(step.start);
    step
}
