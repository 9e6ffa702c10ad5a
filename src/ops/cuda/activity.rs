//! A timer that puts nothing on the stream: CUPTI's records of kernels tell what the GPU was doing when, also within graphs.

use std::sync::Arc;
use std::time::Duration;

use super::cupti::{Record, Tracing, matched};
use super::device::Gpu;
use super::launches::{Kept, Launched};
use super::nvtx::Watched;
use super::occupancy;
use crate::ground::launch::{Launch, LaunchShape};
use crate::ground::recorder::Timer;

pub struct Activity {
    gpu: Gpu,
    tracing: Tracing,
    kept: Arc<Kept>,
    /// Of the first mark, on CUPTI's clock.
    origin: u64,
    /// What was launched before each mark, since the one before it.
    marks: Vec<Vec<Launch>>,
    watched: Watched,
}

impl Activity {
    /// # Errors
    /// Why kernels cannot be traced, as a sentence.
    pub fn new(gpu: &Gpu) -> Result<Self, String> {
        let tracing = Tracing::start(gpu)?;
        Ok(Self {
            gpu: gpu.clone(),
            kept: gpu.launches.keep(false),
            origin: tracing.now()?,
            tracing,
            marks: Vec::new(),
            watched: Watched::default(),
        })
    }

    /// An own kernel as it was launched, or what a library's call launched, behind what ended at `before`.
    fn ran(&self, launch: &Launch, records: &[Record], before: &mut Option<u64>) -> Vec<Launch> {
        let ran = |record: &Record| {
            let (kernel, shape) = match launch.shape {
                Some(_) => (launch.kernel.clone(), launch.shape),
                None => (record.name.clone(), Some(self.judged(record.shape))),
            };
            let before = before.replace(record.end).unwrap_or(record.start);
            Launch {
                kernel,
                shape,
                gap: Duration::from_nanos(record.start.saturating_sub(before)),
                time: Duration::from_nanos(record.end - record.start),
                bytes: record.bytes,
            }
        };
        records.iter().map(ran).collect()
    }

    fn judged(&self, shape: LaunchShape) -> LaunchShape {
        let registers = shape.registers.unwrap_or_default();
        let occupancy = occupancy::of(&self.gpu, shape.block, registers, shape.shared_bytes);
        LaunchShape { occupancy, ..shape }
    }
}

impl Timer for Activity {
    fn enter(&mut self, name: &str, layer: Option<usize>) {
        self.watched.enter(name, layer);
    }

    fn leave(&mut self) {
        self.watched.leave();
    }

    fn mark(&mut self) -> Result<(), String> {
        let launch = |Launched { described, .. }: Launched| Launch {
            kernel: described.kernel,
            shape: described.shape,
            gap: Duration::ZERO,
            time: Duration::ZERO,
            bytes: None,
        };
        let launches = self.kept.take().into_iter().map(launch);
        self.marks.push(launches.collect());
        Ok(())
    }

    /// An operation begins with its first kernel and ends with its last one; one without kernels takes no time.
    fn times(&mut self) -> Result<Vec<Duration>, String> {
        let launched: Vec<&Launch> = self.marks.iter().flatten().collect();
        let records = self.tracing.take()?;
        let mut parts = matched(&launched, &records)?.into_iter();
        let marks = self.marks.iter();
        let seen = marks.map(|launches| parts.by_ref().take(launches.len()).collect::<Vec<_>>());
        let seen: Vec<_> = seen.collect();
        let span = |mark: usize| {
            let parts = seen.get(mark)?;
            let (first, last) = (parts.first()?, parts.last()?);
            Some((records[first.start].start, records[last.end - 1].end))
        };
        let mut times = Vec::new();
        let mut end = self.origin;
        for mark in 0..seen.len() {
            // Of an operation the mark at its end has the launches.
            let is_begin = mark % 2 == 1;
            let at = match is_begin {
                true => span(mark + 1).map_or(end, |(start, _)| start),
                false => {
                    end = span(mark).map_or(end, |(_, end)| end);
                    end
                }
            };
            times.push(Duration::from_nanos(at.saturating_sub(self.origin)));
        }
        let ran = self.marks.iter().zip(&seen).map(|(launches, parts)| {
            let mut before = None;
            let each = launches.iter().zip(parts);
            let each = each
                .flat_map(|(launch, part)| self.ran(launch, &records[part.clone()], &mut before));
            each.collect()
        });
        self.marks = ran.collect();
        Ok(times)
    }

    fn launches(&mut self) -> Result<Option<Vec<Vec<Launch>>>, String> {
        Ok(Some(std::mem::take(&mut self.marks)))
    }

    fn sees_replays(&self) -> bool {
        true
    }

    fn take_back(&mut self, marks: usize) -> Vec<Vec<Launch>> {
        self.marks.split_off(self.marks.len().saturating_sub(marks))
    }

    fn replayed(&mut self, marks: &[Vec<Launch>]) {
        self.marks.extend_from_slice(marks);
    }
}
