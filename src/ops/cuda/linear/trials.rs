//! Which of cuBLASLt's first guesses is fastest, tried while a step runs: each layer of one shape takes another of them, so that
//! each finds its weights in memory, as it will, and not in a cache.

use std::collections::HashMap;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::CudaEvent;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;

use super::plan::{Plan, Shape};
use crate::ops::cuda::device::Gpu;

/// What was tried of each shape: a guess, and events around it.
#[derive(Default)]
pub struct Trials(HashMap<Shape, Vec<(usize, CudaEvent, CudaEvent)>>);

impl Trials {
    /// Queues `run` with the next guess of `plan`.
    pub fn run(
        &mut self,
        gpu: &Gpu,
        shape: Shape,
        plan: &Plan,
        run: impl FnOnce(usize) -> Result<()>,
    ) -> Result<()> {
        let tried = self.0.entry(shape).or_default();
        let guess = tried.len() % plan.guesses();
        let event = || gpu.stream.record_event(Some(CU_EVENT_DEFAULT)).w();
        let before = event()?;
        run(guess)?;
        tried.push((guess, before, event()?));
        Ok(())
    }

    /// Waits for what was tried, and keeps of each plan the guess whose shortest time was the shortest.
    pub fn decide(self, gpu: &Gpu, plans: &mut HashMap<Shape, Plan>) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        gpu.synchronize()?;
        for (shape, tried) in self.0 {
            let times = tried.iter().map(|(guess, before, after)| {
                let time = before.elapsed_ms(after).w()?;
                Ok((*guess, time))
            });
            let times = times.collect::<Result<Vec<_>>>()?;
            if let (Some(guess), Some(plan)) = (fastest(times), plans.get_mut(&shape)) {
                plan.keep(guess);
            }
        }
        Ok(())
    }
}

/// The guess of the shortest time: all others had something else in them.
fn fastest(times: Vec<(usize, f32)>) -> Option<usize> {
    let shortest = times.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
    shortest.map(|(guess, _)| guess)
}

#[cfg(test)]
mod tests {
    use super::fastest;

    #[test]
    fn the_shortest_time_decides() {
        let times = vec![(0, 5.0), (1, 9.0), (0, 4.0), (1, 3.0), (2, 3.5)];
        assert_eq!(fastest(times), Some(1));
        assert_eq!(fastest(Vec::new()), None);
    }
}
