//! Laws that the records of any run obey. One that fails says that the harness is wrong, not the
//! machine slow.

use super::quantile::ratio;
use super::requests::Requests;
use super::steps::Steps;
use super::{MeasureInput, reason};
use crate::ground::ClockSpan;
use crate::ground::results::Check;

/// Relative difference that float sums may leave.
const LITTLE_TOLERANCE: f64 = 1e-6;
/// Share of the load that pauses between steps may leave.
const LOAD_TOLERANCE: f64 = 0.01;
/// Seconds, and share of the run, by which a request may be handed over behind its schedule: what an
/// operating system takes a thread its processor away for.
const LATE_SECONDS: f64 = 0.25;
const LATE_SHARE: f64 = 0.02;
/// Seconds, and share of the run, by which two clocks may part.
const CLOCK_SECONDS: f64 = 1.0;
const CLOCK_SHARE: f64 = 0.001;

pub(crate) fn checks(input: &MeasureInput, requests: &Requests, steps: Steps) -> Vec<Check> {
    let mut checks = vec![
        littles_law(requests),
        unbroken(
            "e2el_identity",
            "E2EL = TTFT + (n - 1) x TPOT to 1 us for every request",
            requests.identity.clone(),
        ),
        unbroken(
            "event_order",
            "arrival, hand-over, first scheduling and tokens follow each other",
            requests.order.clone(),
        ),
    ];
    checks.extend(concurrency(input, requests));
    checks.extend(engine_load(requests, &steps));
    checks.extend(arrival_schedule(requests));
    checks.extend(input.clocks.map(clocks));
    if steps.totals.steps > 0 {
        checks.push(unbroken(
            "stalls",
            "no step, pause or sample is over a second late and far beyond its kind",
            steps.stalls.worst(input.telemetry).map(held_up),
        ));
    }
    let fault = input.requests.fault().or(input.steps.fault());
    checks.extend(fault.map(|fault| Check {
        name: "records".to_owned(),
        ok: false,
        detail: format!("the records of the run could not be read back to their end: {fault}"),
    }));
    checks
}

fn held_up(stall: String) -> String {
    format!(
        "{stall}: the process or the machine was held up, and the figures have that time in them"
    )
}

/// Mean in flight, from the integral over arrivals and ends, against throughput times latency.
fn littles_law(requests: &Requests) -> Check {
    let name = "littles_law".to_owned();
    let successful = requests.successful as f64;
    let sides = requests.window.and_then(|window| {
        let in_flight = requests.in_flight.mean(window)?;
        let rate = ratio(successful, window.length())?;
        let latency = ratio(requests.latencies, successful)?;
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
/// observers of one run. `None` where a request failed, for its end has no stamp.
fn engine_load(requests: &Requests, steps: &Steps) -> Option<Check> {
    let everyone = requests.successful == requests.count;
    if steps.totals.steps == 0 || !everyone {
        return None;
    }
    let (counted, stamped) = (steps.counted, requests.stamped);
    // A request may come or go at any moment of a step, and the count changes between steps only.
    let allowed = requests.count as f64 * steps.longest + LOAD_TOLERANCE * stamped;
    Some(Check {
        name: "engine_load".to_owned(),
        ok: (counted - stamped).abs() <= allowed,
        detail: format!(
            "{counted:.3} request-seconds by the engine's steps, {stamped:.3} by the requests' stamps, {allowed:.3} allowed between them"
        ),
    })
}

/// In a closed loop no more requests are in flight than were asked for.
fn concurrency(input: &MeasureInput, requests: &Requests) -> Option<Check> {
    let limit = input.scenario.concurrency?;
    let most = requests.in_flight.max();
    Some(Check {
        name: "concurrency_limit".to_owned(),
        ok: most <= limit,
        detail: format!("at most {most} in flight, {limit} asked for"),
    })
}

/// In an open loop requests come when they are due: one that comes late makes the load lower than asked for.
fn arrival_schedule(requests: &Requests) -> Option<Check> {
    let late = requests.latest?;
    let length = requests.window.map_or(0.0, |window| window.length());
    let allowed = LATE_SECONDS.max(LATE_SHARE * length);
    let seconds = late.seconds;
    let request = late.id;
    Some(Check {
        name: "arrival_schedule".to_owned(),
        ok: seconds <= allowed,
        detail: match seconds <= allowed {
            true => format!(
                "every request came when it was due, or with the end of the step under way: at most {seconds:.6} s later"
            ),
            false => format!(
                "request {request} came {seconds:.3} s after it was due and no step was under way, {allowed:.3} s allowed: the load was lower than asked for"
            ),
        },
    })
}

/// Clocks that went on while others stood, or jumped.
fn clocks(span: ClockSpan) -> Check {
    let ClockSpan {
        monotonic,
        boot,
        calendar,
    } = span;
    let allowed = CLOCK_SECONDS + CLOCK_SHARE * monotonic;
    let suspended = boot.map(|boot| boot - monotonic);
    let set = calendar - monotonic;
    let fault = if let Some(seconds) = suspended.filter(|seconds| seconds.abs() > allowed) {
        Some(format!("the machine was suspended for {seconds:.3} s"))
    } else if set.abs() > allowed {
        Some(format!(
            "the time of day was set by {set:.3} s, or the machine was stopped from outside"
        ))
    } else {
        None
    };
    unbroken(
        "clocks",
        &format!("monotonic clock and time of day went on alike for {monotonic:.3} s"),
        fault.map(|fault| format!("{fault} during the run")),
    )
}

fn unbroken(name: &str, law: &str, offence: Option<String>) -> Check {
    Check {
        name: name.to_owned(),
        ok: offence.is_none(),
        detail: offence.unwrap_or_else(|| law.to_owned()),
    }
}
