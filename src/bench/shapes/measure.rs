//! One shape played a few times, alone on the engine.

use std::time::Duration;

use super::{Shape, ShapePlan};
use crate::engine::Engine;
use crate::ground::{
    Event, EventKind, FinishReason, Progress, Request, RequestId, Sampling, StopRule, Task,
};
use crate::session::{RunError, Session, SessionError, Wish};

/// Seconds of each repeat; `None`: it was told to stop before the last.
pub fn measure(
    session: &mut Session,
    plan: &ShapePlan,
    shape: Shape,
    depth: usize,
) -> Result<Option<Vec<f64>>, SessionError> {
    let options = &plan.options;
    let progress = session.progress.clone();
    let plays = options.warmup + options.repeats;
    progress.start(Task::Requests(shape.at(depth)), plays as u64);
    // Prompts of other shapes begin as this one's do.
    session.engine.reset_prefix_cache();
    let seed = session.settings.seed;
    let before = plan.pool.synthetic_prompt(depth, seed);
    let mut seconds = Vec::new();
    for play in 0..plays {
        let player = &mut Player {
            engine: &mut session.engine,
            progress: progress.as_ref(),
        };
        // Another prompt each time: nothing of it is in the cache but what lies before.
        let own = seed.wrapping_add(1 + play as u64);
        let own = plan.pool.synthetic_prompt(shape.prompt_len(0), own);
        let Some(time) = player.shape(shape, &before, &own)? else {
            progress.finish();
            return Ok(None);
        };
        if play >= options.warmup {
            seconds.push(time.as_secs_f64());
        }
        progress.advance(1);
    }
    progress.finish();
    Ok(Some(seconds))
}

struct Player<'a> {
    engine: &'a mut Engine,
    progress: &'a dyn Progress,
}

impl Player<'_> {
    /// The time that counts: of a prompt from its submission to its first token, of an answer from its first token to its
    /// last, of both from submission to the last.
    fn shape(
        &mut self,
        shape: Shape,
        before: &[u32],
        own: &[u32],
    ) -> Result<Option<Duration>, SessionError> {
        if !before.is_empty() && self.request(before, 1)?.is_none() {
            return Ok(None);
        }
        // An answer without a prompt of its own begins behind the last token of the depth.
        let own = match (shape.prompt, before.len()) {
            (0, 1..) => &own[..0],
            _ => own,
        };
        let prompt = [before, own].concat();
        let Some(times) = self.request(&prompt, shape.output_len())? else {
            return Ok(None);
        };
        let start = match shape.prompt {
            0 => times.first,
            _ => times.submitted,
        };
        Ok(Some(times.last.saturating_sub(start)))
    }

    /// One request from its submission to its end; `None`: it was told to stop.
    fn request(
        &mut self,
        prompt: &[u32],
        max_tokens: usize,
    ) -> Result<Option<Times>, SessionError> {
        const ID: RequestId = 0;
        let submitted = self.engine.clock().now();
        let request = Request {
            id: ID,
            prompt: prompt.into(),
            stop: StopRule {
                max_tokens,
                end_tokens: Vec::new().into(),
            },
            sampling: Sampling::GREEDY,
            arrival: submitted,
        };
        let mut events = Vec::new();
        self.engine.submit(request, &mut events);
        let mut tokens: Option<(Duration, Duration)> = None;
        loop {
            for Event { time, kind, .. } in events.drain(..) {
                match kind {
                    EventKind::Token { .. } => {
                        tokens = Some((tokens.map_or(time, |(first, _)| first), time));
                    }
                    EventKind::Failed(reason) => return Err(Wish::Request(reason).into()),
                    _ => {}
                }
            }
            if self.engine.is_idle() {
                break;
            }
            if self.progress.is_stopped() {
                let how = EventKind::Finished(FinishReason::Cut);
                self.engine.abort(ID, how, &mut events);
                return Ok(None);
            }
            match self.engine.step(&mut events) {
                Ok(_) => {}
                // A step that was left in the middle failed for that.
                Err(_) if self.progress.is_stopped() => return Ok(None),
                Err(error) => return Err(RunError::from(error).into()),
            }
        }
        let (first, last) = tokens.unwrap_or((submitted, submitted));
        Ok(Some(Times {
            submitted,
            first,
            last,
        }))
    }
}

struct Times {
    submitted: Duration,
    first: Duration,
    last: Duration,
}
