//! How long points take, roughly, before any was played: their steps read the weights, their tokens are multiplied with
//! them, at part of what the machine was measured to do at most.

use crate::bench::{BenchPlan, RunPlan};
use crate::session::Session;

/// Of its roofs what an engine reaches over a run: about what the bench's own figures show.
const REACHED: f64 = 0.5;
/// Multiplications and additions of a token with each weight.
const FLOPS: f64 = 2.0;
/// Tokens that a simulated device draws in a second of one core: 49 million in 11.6 s of two EPYC Milan cores.
const SIMULATED_TOKENS: f64 = 4e6;

/// What one point, or several, ask of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Effort {
    steps: f64,
    tokens: f64,
    /// For which requests come, whatever the engine does.
    seconds: f64,
}

/// Seconds of a step for its weights, and of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    step: f64,
    token: f64,
}

impl Effort {
    /// Of all runs of a point on an engine that runs so many requests at a time.
    pub fn of(plan: &BenchPlan, max_num_seqs: usize) -> Self {
        let runs = plan.runs.iter().map(|run| Self::of_run(run, max_num_seqs));
        runs.fold(Self::default(), |sum, run| Self {
            steps: sum.steps + run.steps,
            tokens: sum.tokens + run.tokens,
            seconds: sum.seconds + run.seconds,
        })
    }

    fn of_run(run: &RunPlan, max_num_seqs: usize) -> Self {
        let scenario = &run.scenario;
        let duration = scenario.duration_s.unwrap_or(0.0);
        let Some(requests) = scenario.requests else {
            return Self {
                seconds: duration,
                ..Self::default()
            };
        };
        let longest = run.script.work.longest();
        let output = scenario.output_len.unwrap_or(longest) as f64;
        let input = scenario.input_len.unwrap_or(0) as f64;
        let in_flight = run.script.load.most_in_flight().unwrap_or(max_num_seqs);
        let in_flight = in_flight.min(max_num_seqs).min(requests).max(1);
        let requests = requests as f64;
        let arrivals = scenario.request_rate.map_or(0.0, |rate| requests / rate);
        Self {
            steps: requests * output / in_flight as f64,
            tokens: requests * (input + output),
            seconds: arrivals.max(duration),
        }
    }

    /// Seconds.
    pub fn at(self, pace: Pace) -> f64 {
        let busy = self.steps * pace.step + self.tokens * pace.token;
        busy.max(self.seconds)
    }

    /// Seconds of one core on a simulated device.
    pub fn simulated(self) -> f64 {
        self.tokens / SIMULATED_TOKENS
    }
}

impl Pace {
    /// Of a loaded engine, whose machine is measured for it, as the first run of a session would do behind its last step;
    /// `None`: it cannot be.
    pub fn of(session: &mut Session) -> Option<Self> {
        if session.hardware.roofs.is_none() {
            session.hardware.roofs = session.engine.measure_roofs();
        }
        let roofs = session.hardware.roofs?;
        let ranks = session.settings.ranks.iter();
        let bytes: u64 = ranks.map(|rank| rank.weights_bytes).sum();
        let flops = FLOPS * session.model.parameters as f64;
        Some(Self {
            step: bytes as f64 / (REACHED * roofs.read_bytes_per_s),
            token: flops / (REACHED * roofs.flop_per_s),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_tokens_and_arrivals_take_time() {
        let effort = Effort {
            steps: 100.0,
            tokens: 4000.0,
            seconds: 3.0,
        };
        let pace = |step, token| Pace { step, token };
        assert_eq!(effort.at(pace(0.05, 0.0)), 5.0);
        assert_eq!(effort.at(pace(0.05, 0.001)), 9.0);
        assert_eq!(effort.at(pace(0.001, 0.0)), 3.0, "requests come no sooner");
    }
}
