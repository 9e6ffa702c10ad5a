//! Laws that the records of any run obey. One that fails says that the harness is wrong, not the
//! machine slow.

use super::quantile::ratio;
use super::timing::{self, Window};
use super::{MeasureInput, reason};
use crate::ground::RequestRecord;
use crate::ground::results::Check;

/// Relative difference that float sums may leave.
const LITTLE_TOLERANCE: f64 = 1e-6;
/// Share of the load that pauses between steps may leave.
const LOAD_TOLERANCE: f64 = 0.01;
/// Seconds.
const IDENTITY_TOLERANCE: f64 = 1e-6;

pub(crate) fn checks(input: &MeasureInput) -> Vec<Check> {
    let mut checks = vec![
        littles_law(input),
        first_offender(
            "e2el_identity",
            "E2EL = TTFT + (n - 1) x TPOT to 1 us for every request",
            input.requests,
            breaks_identity,
        ),
        first_offender(
            "event_order",
            "arrival, hand-over, first scheduling and tokens follow each other",
            input.requests,
            breaks_order,
        ),
    ];
    checks.extend(concurrency(input));
    checks.extend(engine_load(input));
    checks
}

/// Mean in flight, from the integral over arrivals and ends, against throughput times latency.
fn littles_law(input: &MeasureInput) -> Check {
    let name = "littles_law".to_owned();
    let successful = input.successful();
    let latencies: f64 = successful.iter().filter_map(|r| timing::latency(r)).sum();
    let sides = input.window().and_then(|window| {
        let in_flight = InFlight::of(&successful).mean(window)?;
        let rate = ratio(successful.len() as f64, window.length())?;
        let latency = ratio(latencies, successful.len() as f64)?;
        Some((in_flight, rate, latency))
    });
    match sides {
        Some((in_flight, rate, latency)) => Check {
            name,
            ok: (in_flight - rate * latency).abs() <= LITTLE_TOLERANCE * in_flight.max(1.0),
            detail: format!(
                "{in_flight:.6} in flight on average; {rate:.6} requests/s x {latency:.6} s = {:.6}",
                rate * latency
            ),
        },
        None => Check {
            name,
            ok: true,
            detail: format!("nothing to check: {}", reason::NO_SUCCESS),
        },
    }
}

/// The engine's count of its requests, step by step, against what the requests' own stamps say: two
/// observers of one run. A pause between steps counts for the next one's requests, but for what of it the
/// engine held none. `None` where a request failed, for its end has no stamp.
fn engine_load(input: &MeasureInput) -> Option<Check> {
    let everyone = input.requests.iter().all(timing::succeeded);
    if input.steps.is_empty() || !everyone {
        return None;
    }
    let mut counted = 0.0;
    let mut before: Option<f64> = None;
    for step in input.steps {
        let since = before.map_or(step.start, |end| end + step.idle_seconds);
        counted += (step.running + step.waiting) as f64 * (step.end - since);
        before = Some(step.end);
    }
    let stamped: f64 = input
        .requests
        .iter()
        .filter_map(|r| Some(r.tokens.last()? - r.submitted?))
        .sum();
    // A request may come or go at any moment of a step, and the count changes between steps only.
    let lengths = input.steps.iter().map(|step| step.end - step.start);
    let longest = lengths.fold(0.0, f64::max);
    let allowed = input.requests.len() as f64 * longest + LOAD_TOLERANCE * stamped;
    Some(Check {
        name: "engine_load".to_owned(),
        ok: (counted - stamped).abs() <= allowed,
        detail: format!(
            "{counted:.3} request-seconds by the engine's steps, {stamped:.3} by the requests' stamps, {allowed:.3} allowed between them"
        ),
    })
}

/// In a closed loop no more requests are in flight than were asked for.
fn concurrency(input: &MeasureInput) -> Option<Check> {
    let limit = input.scenario.concurrency?;
    let most = InFlight::of(&input.successful()).max();
    Some(Check {
        name: "concurrency_limit".to_owned(),
        ok: most <= limit,
        detail: format!("at most {most} in flight, {limit} asked for"),
    })
}

fn first_offender(
    name: &str,
    law: &str,
    requests: &[RequestRecord],
    breaks: fn(&RequestRecord) -> Option<String>,
) -> Check {
    let offence = requests
        .iter()
        .find_map(|r| breaks(r).map(|how| format!("request {}: {how}", r.id)));
    Check {
        name: name.to_owned(),
        ok: offence.is_none(),
        detail: offence.unwrap_or_else(|| law.to_owned()),
    }
}

fn breaks_identity(record: &RequestRecord) -> Option<String> {
    let e2el = timing::latency(record)?;
    let rest = timing::gaps(record).count() as f64 * timing::tpot(record).unwrap_or(0.0);
    let sum = timing::ttft(record)? + rest;
    // Not a number is not equal either.
    let holds = (e2el - sum).abs() <= IDENTITY_TOLERANCE;
    (!holds).then(|| format!("E2EL {e2el} s, but TTFT + (n - 1) x TPOT = {sum} s"))
}

fn breaks_order(record: &RequestRecord) -> Option<String> {
    if record.tokens.len() != record.output_tokens {
        return Some(format!(
            "{} output tokens, but {} time stamps",
            record.output_tokens,
            record.tokens.len()
        ));
    }
    let stamps = std::iter::once(record.arrival)
        .chain(record.submitted)
        .chain(record.admitted)
        .chain(record.tokens.iter().copied());
    let mut before = f64::NEG_INFINITY;
    for stamp in stamps {
        if stamp < before {
            return Some(format!("{stamp} s follows {before} s"));
        }
        before = stamp;
    }
    None
}

/// How many requests are between arrival and last token.
pub struct InFlight {
    /// Time and change, in order; ends before arrivals of the same instant, as in a closed loop.
    changes: Vec<(f64, isize)>,
}

impl InFlight {
    pub fn of(records: &[&RequestRecord]) -> Self {
        let mut changes: Vec<(f64, isize)> = records
            .iter()
            .filter_map(|r| Some([(r.arrival, 1), (*r.tokens.last()?, -1)]))
            .flatten()
            .collect();
        changes.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Self { changes }
    }

    /// Over the window; `None` when it has no length.
    pub fn mean(&self, window: Window) -> Option<f64> {
        let (mut now, mut since, mut area) = (0, window.start, 0.0);
        for &(time, change) in &self.changes {
            area += now as f64 * (time - since);
            since = time;
            now += change;
        }
        ratio(area, window.length())
    }

    pub fn max(&self) -> usize {
        let running = self.changes.iter().scan(0, |now, &(_, change)| {
            *now += change;
            Some(*now)
        });
        running.max().unwrap_or(0).max(0).unsigned_abs()
    }
}
