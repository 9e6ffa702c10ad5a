//! The walk along the layouts, cheapest first, until enough of them hold.

use std::cmp::Ordering;
use std::collections::HashSet;

use rayon::prelude::*;

use super::judged::Judged;
use super::layout::Layout;
use super::predict::{Outcome, Predictor};
use crate::session::SessionError;

/// Layouts that are played beside each other.
const BATCH: usize = 8;

/// A layout that holds, and how it does.
pub struct Held {
    pub judged: Judged,
    /// `None`: simulated cards do not play it.
    pub outcome: Option<Outcome>,
}

/// Layouts that do not hold.
#[derive(Default)]
pub struct Missed {
    /// They have room, and are too slow.
    pub slow: Vec<Held>,
    /// They have no room for all requests at once.
    pub roomless: Vec<Judged>,
    /// They have room, and cannot be simulated, with the reason.
    pub untimed: Vec<(Layout, String)>,
}

/// The first that hold, of `judged` in the order of cost; those that do not go to `missed`.
///
/// # Errors
/// A simulation failed.
pub fn hold(
    judged: Vec<Judged>,
    top: usize,
    walk: &Walk,
    missed: &mut Missed,
) -> Result<Vec<Held>, SessionError> {
    let (mut open, roomless): (Vec<Judged>, Vec<Judged>) =
        judged.into_iter().partition(Judged::holds);
    missed.roomless.extend(roomless);
    let mut held: Vec<Held> = Vec::new();
    loop {
        let batch = batch(&mut open, &held, top);
        if batch.is_empty() {
            break;
        }
        let played: Result<Vec<Played>, SessionError> = batch
            .into_par_iter()
            .map(|judged| walk.play(judged))
            .collect();
        for played in played? {
            match played {
                Played::Holds(layout) => held.push(layout),
                Played::Slow(layout) => missed.slow.push(layout),
                Played::Untimed(layout, reason) => missed.untimed.push((layout, reason)),
            }
        }
        held.sort_by(|a, b| by_cost(a, b).then(faster(a, b)));
        one_a_card(&mut held);
    }
    held.truncate(top);
    Ok(held)
}

/// How layouts are played.
pub struct Walk<'a> {
    /// `None`: simulated cards do not run the model.
    pub predictor: Option<&'a Predictor<'a>>,
    /// Room alone does not tell.
    pub needs_time: bool,
}

enum Played {
    Holds(Held),
    Slow(Held),
    Untimed(Layout, String),
}

impl Walk<'_> {
    fn play(&self, judged: Judged) -> Result<Played, SessionError> {
        let Some(predictor) = self.predictor else {
            let outcome = None;
            return Ok(Played::Holds(Held { judged, outcome }));
        };
        let outcome = match predictor.at_wish(&judged) {
            Ok(outcome) => Some(outcome),
            // Of this card and link something is not known.
            Err(error) if error.is_usage() && self.needs_time => {
                return Ok(Played::Untimed(judged.layout, error.to_string()));
            }
            Err(error) if error.is_usage() => None,
            Err(error) => return Err(error),
        };
        let holds = outcome.as_ref().is_none_or(|outcome| outcome.holds);
        let held = Held { judged, outcome };
        Ok(match holds {
            true => Played::Holds(held),
            false => Played::Slow(held),
        })
    }
}

fn by_cost(a: &Held, b: &Held) -> Ordering {
    a.judged.layout.by_cost(&b.judged.layout)
}

/// Of a card the fewest GPUs, and of as many the fastest layout.
fn one_a_card(held: &mut Vec<Held>) {
    let mut cards = HashSet::new();
    held.retain(|held| cards.insert(held.judged.layout.card.clone()));
}

/// Of as much cost, the one that draws more tokens.
fn faster(a: &Held, b: &Held) -> Ordering {
    let rate = |held: &Held| {
        let predicted = held.outcome.as_ref().map(|outcome| &outcome.predicted);
        predicted
            .and_then(|predicted| predicted.output_throughput)
            .unwrap_or(0.0)
    };
    rate(b).total_cmp(&rate(a))
}

/// Takes the next ones that may be among the first `top`: none that costs more than `top` that hold, and of a card none
/// with more GPUs than hold, or than are tried now.
fn batch(open: &mut Vec<Judged>, held: &[Held], top: usize) -> Vec<Judged> {
    let last = top.checked_sub(1).and_then(|last| held.get(last));
    let mut batch: Vec<Judged> = Vec::new();
    let mut rest = Vec::new();
    for judged in open.drain(..) {
        let layout = &judged.layout;
        let is_dear = last.is_some_and(|last| layout.by_cost(&last.judged.layout).is_gt());
        let is_more = |other: &Layout| other.card == layout.card && other.gpus < layout.gpus;
        if is_dear || held.iter().any(|held| is_more(&held.judged.layout)) {
            continue;
        }
        let waits = batch.iter().any(|judged| is_more(&judged.layout));
        match batch.len() < BATCH && !waits {
            true => batch.push(judged),
            false => rest.push(judged),
        }
    }
    *open = rest;
    batch
}
