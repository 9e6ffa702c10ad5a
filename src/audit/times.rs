//! Times: steps follow each other, tokens come with the steps that made them, and first tokens after their queues.

use std::collections::BTreeMap;

use super::{Evidence, held, name_of};
use crate::ground::results::{Check, Kind};
use crate::ground::{RequestRecord, StepRecord};
use crate::metrics::timing;

/// Seconds that turning durations into numbers may leave.
const ROUNDING: f64 = 2e-6;

pub fn checks(evidence: &Evidence, run: usize) -> Vec<Check> {
    let name = |check: &str| name_of(evidence, run, check);
    vec![
        held(name("steps follow each other"), in_order(evidence, run)),
        held(
            name("tokens come with their steps"),
            with_steps(evidence, run),
        ),
        held(
            name("first tokens follow their queues"),
            queues(evidence, run),
        ),
        held(
            name("telemetry goes with the run"),
            telemetry(evidence, run),
        ),
        held(name("time of day"), time_of_day(evidence, run)),
    ]
}

fn in_order(evidence: &Evidence, run: usize) -> Result<String, String> {
    let mut before: Option<StepRecord> = None;
    for step in &evidence.raw[run].steps {
        let number = step.step;
        let length = step.end - step.start;
        if length < 0.0 {
            return Err(format!("step {number} ends before it starts"));
        }
        if step.exec_seconds < 0.0 || step.exec_seconds > length + ROUNDING {
            return Err(format!(
                "step {number} was {} s in the executor, and {length} s long",
                step.exec_seconds
            ));
        }
        let parts = [step.communication_seconds, step.compute_seconds];
        let parts: f64 = parts.into_iter().flatten().sum();
        if parts > 1.1 * length + ROUNDING {
            return Err(format!(
                "step {number}: its parts take {parts} s of {length} s"
            ));
        }
        if let Some(before) = &before {
            let pause = step.start - before.end;
            if step.step != before.step + 1 {
                return Err(format!("step {number} follows step {}", before.step));
            }
            if pause < -ROUNDING {
                return Err(format!(
                    "step {number} starts before the one before it ends"
                ));
            }
            if step.idle_seconds > pause + ROUNDING {
                return Err(format!(
                    "step {number}: {} s idle in a pause of {pause} s",
                    step.idle_seconds
                ));
            }
        }
        before = Some(step.into_owned());
    }
    Ok("none overlaps another".to_owned())
}

/// Each token lies in a step that made as many as lie in it.
fn with_steps(evidence: &Evidence, run: usize) -> Result<String, String> {
    let raw = &evidence.raw[run];
    let steps: Vec<(f64, f64, u64, usize)> = raw
        .steps
        .iter()
        .map(|step| (step.start, step.end, step.step, step.output_tokens))
        .collect();
    let mut made: BTreeMap<usize, usize> = BTreeMap::new();
    for record in &raw.requests {
        for &time in &record.tokens {
            let at = steps.partition_point(|(_, end, ..)| *end < time - ROUNDING);
            match steps
                .get(at)
                .filter(|(start, ..)| *start <= time + ROUNDING)
            {
                Some(_) => *made.entry(at).or_default() += 1,
                None => {
                    return Err(format!(
                        "a token of request {} came at {time} s, in no step",
                        record.id
                    ));
                }
            }
        }
    }
    for (at, (_, _, number, tokens)) in steps.iter().enumerate() {
        let found = made.get(&at).copied().unwrap_or(0);
        if found != *tokens {
            return Err(format!(
                "step {number} made {tokens} tokens, {found} came in it"
            ));
        }
    }
    Ok(format!("{} steps", steps.len()))
}

fn queues(evidence: &Evidence, run: usize) -> Result<String, String> {
    let shortest = evidence.raw[run].steps.iter().map(|step| step.exec_seconds);
    let shortest = shortest.fold(f64::INFINITY, f64::min);
    let mut count = 0;
    for record in &evidence.raw[run].requests {
        let record: &RequestRecord = &record;
        let (Some(first), Some(queue)) = (timing::ttft(record), timing::queue(record)) else {
            continue;
        };
        if queue < -ROUNDING {
            return Err(format!(
                "request {} was scheduled before it came",
                record.id
            ));
        }
        if first + ROUNDING < queue + shortest {
            return Err(format!(
                "request {} waited {queue} s and had its first token after {first} s: no step is that short",
                record.id
            ));
        }
        count += 1;
    }
    Ok(format!("{count} requests"))
}

/// Samples are in order, and of the time of the run.
fn telemetry(evidence: &Evidence, run: usize) -> Result<String, String> {
    let raw = &evidence.raw[run];
    let samples = &raw.telemetry;
    if evidence.results.kind == Kind::Predicted {
        return match samples.is_empty() {
            true => Ok("a prediction has none".to_owned()),
            false => Err("a prediction has samples of a machine".to_owned()),
        };
    }
    let ends = raw.steps.iter().map(|step| step.end);
    let end = ends.fold(0.0, f64::max);
    for two in samples.windows(2) {
        if two[1].time < two[0].time {
            return Err(format!(
                "the sample at {} s follows one at {} s",
                two[1].time, two[0].time
            ));
        }
    }
    let ram = |percent: f64| (0.0..=100.0).contains(&percent);
    if let Some(sample) = samples
        .iter()
        .find(|s| !ram(s.ram_percent) || s.cpu_percent < 0.0)
    {
        return Err(format!("the sample at {} s is of no machine", sample.time));
    }
    if samples.is_empty() && end > 1.0 {
        return Err(format!("no sample in {end:.1} s"));
    }
    Ok(format!("{} samples", samples.len()))
}

/// Runs begin one after the other, after the result.
fn time_of_day(evidence: &Evidence, run: usize) -> Result<String, String> {
    let results = &evidence.results;
    let start = |run: usize| {
        results.runs[run]
            .metrics
            .timestamp
            .as_deref()
            .and_then(seconds)
    };
    let begun = seconds(&results.environment.time);
    let (Some(begun), Some(own)) = (begun, start(run)) else {
        return Err("the result or the run has no time of day".to_owned());
    };
    let played: f64 = match run.checked_sub(1) {
        None => 0.0,
        // Predictions take virtual time.
        Some(_) if results.kind == Kind::Predicted => 0.0,
        Some(before) => results.runs[before].extended.duration.unwrap_or(0.0),
    };
    let before = run.checked_sub(1).and_then(start).unwrap_or(begun);
    // Stamps may be whole seconds.
    if own + 1.0 < before + played {
        return Err(format!(
            "the run began {} s before it could",
            before + played - own
        ));
    }
    Ok(results.environment.time.clone())
}

/// Of a time in UTC as RFC 3339 has it, since some day.
fn seconds(text: &str) -> Option<f64> {
    let (date, time) = text.trim_end_matches('Z').split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days of the Gregorian calendar, years beginning in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day;
    Some(days as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_of_day() {
        let apart = |a, b| seconds(b).unwrap() - seconds(a).unwrap();
        assert_eq!(
            apart("2024-02-28T00:00:00Z", "2024-03-01T00:00:01.5Z"),
            172_801.5
        );
        assert_eq!(apart("2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"), 1.0);
        assert_eq!(seconds("yesterday"), None);
    }
}
