//! Where the time of a step went, for its record.

use std::time::Duration;

use crate::exec::{StepOutput, Times};
use crate::ground::{RankSeconds, StepRecord};

/// How the time inside the executor divides, as far as it is known.
pub fn note(record: &mut StepRecord, output: &StepOutput) {
    let exec = record.exec_seconds;
    let rest = |communication: f64| (exec - communication).max(0.0);
    let (compute, communication, wait) = match output.times {
        Times::Untimed => return,
        Times::OnDevices(times) => (
            times.compute.as_secs_f64(),
            times.communication.as_secs_f64(),
            Some(times.wait),
        ),
        Times::OnHost => {
            let communication = output.traffic.time.as_secs_f64();
            (rest(communication), communication, output.traffic.wait)
        }
    };
    record.compute_seconds = Some(compute);
    record.communication_seconds = Some(communication);
    record.wait_seconds = wait.map(|wait| wait.as_secs_f64());
    let ranks = output.ranks.iter().map(|rank| {
        let communication_seconds = rank.communication.as_secs_f64();
        let compute = rank.compute.map(|compute| compute.as_secs_f64());
        RankSeconds {
            compute_seconds: compute.unwrap_or_else(|| rest(communication_seconds)),
            communication_seconds,
            wait_seconds: rank.wait.as_ref().map(Duration::as_secs_f64),
        }
    });
    record.ranks = ranks.collect();
}
