//! Where the time of a step went, for its record.

use crate::exec::{StepOutput, Times};
use crate::ground::StepRecord;

/// How the time inside the executor divides, as far as it is known.
pub fn note(record: &mut StepRecord, output: &StepOutput) {
    let (compute, communication) = match output.times {
        Times::Untimed => return,
        Times::OnDevices(times) => {
            record.wait_seconds = Some(times.wait.as_secs_f64());
            (
                times.compute.as_secs_f64(),
                times.communication.as_secs_f64(),
            )
        }
        Times::OnHost => {
            let communication = output.traffic.time.as_secs_f64();
            let compute = (record.exec_seconds - communication).max(0.0);
            (compute, communication)
        }
    };
    record.compute_seconds = Some(compute);
    record.communication_seconds = Some(communication);
}
