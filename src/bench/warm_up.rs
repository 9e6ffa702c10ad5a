//! A few short requests of the same work, so that the window opens on a warm engine.

use std::sync::atomic::{AtomicBool, Ordering};

use super::player::Stopped;
use super::script::Script;
use crate::engine::Engine;
use crate::ground::{EventKind, FinishReason, Request, RequestId, StopRule};

/// Ids of warm-up requests start here, clear of the run's own.
const WARMUP_IDS: RequestId = 1 << 48;
/// Warm-up reaches every kernel within a few decode steps; more would only take time.
const WARMUP_OUTPUT: usize = 8;
/// More than run at once gain nothing, and so many are enough where more could run.
const MOST_IN_FLIGHT: usize = 1024;

/// Plays the requests of the warm-up. None is left when it ends, however it does.
///
/// # Errors
/// The engine failed, or it was asked to stop.
pub fn warm_up(engine: &mut Engine, script: &Script, stop: &AtomicBool) -> Result<(), Stopped> {
    let mut events = Vec::new();
    let most = engine.scheduler().config().max_num_seqs.min(MOST_IN_FLIGHT);
    let mut next = 0;
    let outcome = loop {
        while next < script.warmup && engine.in_flight() < most && !stopped(stop) {
            engine.submit(request(engine, script, next), &mut events);
            next += 1;
            events.clear();
        }
        if stopped(stop) {
            break Err(Stopped::AskedInWarmUp);
        }
        if engine.is_idle() {
            break Ok(());
        }
        if let Err(error) = engine.step(&mut events) {
            break Err(match stopped(stop) {
                true => Stopped::AskedInWarmUp,
                false => Stopped::WarmUp(error),
            });
        }
        events.clear();
    };
    // Whatever ended it, none of its requests may reach into the window.
    engine.abort_all(&EventKind::Finished(FinishReason::Cut), &mut events);
    outcome
}

fn request(engine: &Engine, script: &Script, index: usize) -> Request {
    let item = script.work.item(index, !script.seed);
    Request {
        id: WARMUP_IDS + index as RequestId,
        prompt: item.prompt,
        stop: StopRule {
            max_tokens: item.output_len.min(WARMUP_OUTPUT),
            end_tokens: Vec::new().into(),
        },
        sampling: script.sampling,
        arrival: engine.clock().now(),
    }
}

fn stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}
