//! Where nothing holds: what comes nearest, why it does not, and what would.

use super::held::{Held, Missed, Walk, hold};
use super::judged::Judged;
use super::layout::Layout;
use super::predict::Predictor;
use super::result::Miss;
use super::target::{Demand, Target};
use crate::capacity::Bound;
use crate::fit::{Ask, Verdict, answer};
use crate::session::SessionError;

/// `beyond`: layouts that cost more than was to be paid. `None`: there was no layout at all.
///
/// # Errors
/// It was told to stop.
pub fn miss(
    beyond: Vec<Judged>,
    missed: Missed,
    max_price: Option<f64>,
    walk: &Walk,
    base: &Ask,
    target: &Target,
) -> Result<Option<Miss>, SessionError> {
    if let Some(most) = max_price {
        let dearer = hold(beyond, 1, walk, &mut Missed::default())?;
        if let Some(held) = dearer.first() {
            return Ok(Some(dear(&held.judged.layout, most)));
        }
    }
    let excess = |held: &Held| {
        let worst = held
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.worst.as_ref());
        worst.map_or(f64::INFINITY, Bound::excess)
    };
    let slow = missed.slow.iter();
    if let Some(held) = slow.min_by(|a, b| excess(a).total_cmp(&excess(b))) {
        return slow_one(held, walk.predictor, target).map(Some);
    }
    if let Some((layout, reason)) = missed.untimed.first() {
        return Ok(Some(untimed(layout, reason)));
    }
    Ok(roomiest(&missed.roomless).map(|judged| without_room(judged, base, target)))
}

fn dear(layout: &Layout, most: f64) -> Miss {
    let price = layout.price;
    let (reason, change) = match price {
        Some(price) => (
            format!("it costs {price:.2} US dollars an hour, and --max-price is {most}"),
            format!("--max-price {price:.2}"),
        ),
        None => (
            "no price is known of it, so --max-price leaves it out".to_owned(),
            format!("--price {}=USD", layout.gpu.name),
        ),
    };
    Miss {
        layout: layout.place(),
        price_per_hour: price,
        reason,
        changes: vec![change],
    }
}

fn untimed(layout: &Layout, reason: &str) -> Miss {
    Miss {
        layout: layout.place(),
        price_per_hour: layout.price,
        reason: format!("it has room, and its time is not known: {reason}"),
        changes: Vec::new(),
    }
}

fn slow_one(
    held: &Held,
    predictor: Option<&Predictor>,
    target: &Target,
) -> Result<Miss, SessionError> {
    let layout = &held.judged.layout;
    let worst = held
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.worst.as_ref());
    let reason = worst.map_or(
        "the load could not be played".to_owned(),
        |bound| match bound.value {
            Some(value) => format!(
                "{} is {value:.1}{}, and the limit {}",
                bound.name,
                bound.unit(),
                bound.limit
            ),
            None => format!("{} was not observed", bound.name),
        },
    );
    let below = match predictor {
        Some(predictor) => predictor.below(&held.judged)?,
        None => None,
    };
    let changes = below.map(|load| match target.demand {
        Demand::Concurrency(_) => format!("--concurrency {load}"),
        Demand::RequestRate(_) => format!("--request-rate {load:.3}"),
    });
    let changes = changes.into_iter().collect();
    Ok(Miss {
        layout: layout.place(),
        price_per_hour: layout.price,
        reason,
        changes,
    })
}

/// With the most room: requests that run at once, else the nearest to any, else the most memory.
fn roomiest(roomless: &[Judged]) -> Option<&Judged> {
    let nearness = |verdict: Verdict| match verdict {
        Verdict::Fits | Verdict::RunsQueued => 4,
        Verdict::GraphOom => 3,
        Verdict::Len => 2,
        Verdict::NoKv => 1,
        Verdict::NoWeights | Verdict::Unsupported => 0,
    };
    let room = |judged: &Judged| {
        let answer = &judged.answer;
        let memory = judged.layout.gpu.memory_gib * judged.layout.gpus as f64;
        let at_once = answer.max_concurrency.unwrap_or(0.0);
        (nearness(answer.verdict), at_once, memory)
    };
    roomless.iter().max_by(|a, b| {
        let (a, b) = (room(a), room(b));
        a.0.cmp(&b.0)
            .then(a.1.total_cmp(&b.1))
            .then(a.2.total_cmp(&b.2))
    })
}

fn without_room(judged: &Judged, base: &Ask, target: &Target) -> Miss {
    let full = answer(&judged.ask(base, target));
    let mut changes: Vec<String> = full.fixes.iter().map(|fix| fix.change.clone()).collect();
    let at_once = full
        .max_concurrency
        .filter(|&requests| full.fits && requests >= 1.0);
    if let (Some(requests), Demand::Concurrency(_)) = (at_once, target.demand) {
        changes.insert(0, format!("--concurrency {requests}"));
    }
    Miss {
        layout: judged.layout.place(),
        price_per_hour: judged.layout.price,
        reason: format!("{}: {}", full.verdict.name(), full.reason),
        changes,
    }
}
