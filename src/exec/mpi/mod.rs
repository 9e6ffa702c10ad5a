//! Ranks in the processes of an MPI job: the first process tells the others what to do, as it does the same; they serve
//! it until it ends.

mod message;
mod post;
mod serve;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use candle_core::DType;
use serde::de::DeserializeOwned;

use super::graphs::GraphLimits;
use super::warm_up::{Headroom, WarmUp};
use super::{Build, ExecError, Executor, KvBound, KvLayout, Part, Ranks, Seat};
use super::{StepOutput, StepPlan, Ticket};
use crate::ground::recorder::{Cost, OpRecord};
use crate::ground::results::{Process, RankMemory, Roofs};
use crate::ground::{Clock, ExpertLoad, Progress, Recorded};
use crate::ops::cpu::rendezvous::Stopped;
use crate::parallel::mpi::{Link, Mpi};
use message::{Command, Json, Moment, Operation, Ready, Told};
use post::Post;

pub use serve::{decline, serve};

/// Looks at another process's clock, of which the shortest counts.
const LOOKS: usize = 8;

/// Watches the process that it is in.
pub trait Watcher {
    /// From now on, on `clock`.
    fn start(&mut self, clock: &Arc<dyn Clock>);

    /// What was seen; watching stops.
    fn stop(&mut self) -> Recorded;
}

/// What each process is loaded with.
pub struct Load {
    pub link: Rc<Link>,
    /// Of its ranks.
    pub seats: Vec<Seat>,
    /// Of the machine that this process is on.
    pub kv_bound: KvBound,
    /// Program, model and settings: the same in every process.
    pub identity: String,
    /// For a result.
    pub process: Process,
    pub watcher: Box<dyn Watcher>,
    pub build: Arc<Build>,
}

impl Load {
    fn threads(&self) -> usize {
        self.seats.iter().map(|seat| seat.threads).sum()
    }

    /// Processes may be apart by more than steps are, until the first command.
    fn ranks(&self) -> Result<Ranks, ExecError> {
        self.link.is_starting(true);
        let part = Part {
            between: Box::new(Mpi::new(self.link.clone())),
            seats: self.seats.clone(),
        };
        Ranks::load_part(part, self.kv_bound, self.build.clone())
    }
}

/// The ranks of the first process, and through it those of the others.
pub struct MpiRanks {
    post: Post,
    ranks: Ranks,
    threads: usize,
    processes: Vec<Process>,
    /// The others may no longer answer.
    has_failed: bool,
    /// Of the others, when they began to be timed, and to be watched.
    timed: Vec<Moment>,
    watched: Vec<Moment>,
}

impl MpiRanks {
    /// Builds the ranks here and waits until the others are ready.
    ///
    /// # Errors
    /// A rank here cannot be built, or another process tells that it cannot serve.
    pub fn load(load: Load) -> Result<Self, ExecError> {
        let ranks = load.ranks()?;
        let mut threads = load.threads();
        let mut post = Post::new(load.link);
        let mut processes = vec![load.process];
        let mut missing: Vec<usize> = (1..post.link.size()).collect();
        processes.resize(post.link.size(), Process::default());
        while !missing.is_empty() {
            let (other, ready) = post.await_answer::<Ready>(&missing);
            missing.retain(|process| *process != other);
            let failed = |reason: String| {
                let rank = post.link.first_rank(other);
                let stopped = Stopped { rank, reason };
                ExecError::from(post.link.placed(other, stopped))
            };
            match ready {
                Ok(hello) if hello.identity == load.identity => {
                    threads += hello.threads;
                    processes[other] = hello.process.0;
                }
                Ok(_) => {
                    let reason = "it was started with another program, model or flags than rank 0";
                    return Err(failed(reason.to_owned()));
                }
                Err(reason) => return Err(failed(reason)),
            }
        }
        Ok(Self {
            post,
            ranks,
            threads,
            processes,
            has_failed: false,
            timed: Vec::new(),
            watched: Vec::new(),
        })
    }

    /// CPU threads of all ranks.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// What they run on.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// What `own` makes here and the others by `command`, in the order of processes.
    fn together<T: DeserializeOwned>(
        &mut self,
        command: &Command,
        own: impl FnOnce(&mut Ranks) -> Result<T, ExecError>,
    ) -> Result<Vec<T>, ExecError> {
        self.tell(command)?;
        let own = own(&mut self.ranks);
        self.with_others(own)
    }

    /// # Errors
    /// The job has failed.
    fn tell(&mut self, command: &Command) -> Result<(), ExecError> {
        if self.has_failed {
            return Err(ExecError::Ended);
        }
        self.post.link.is_starting(command.is_of_the_start());
        self.post.command(command);
        Ok(())
    }

    /// The others' answers behind the own.
    fn with_others<T: DeserializeOwned>(
        &mut self,
        own: Result<T, ExecError>,
    ) -> Result<Vec<T>, ExecError> {
        let all = own.and_then(|own| {
            let mut all = vec![own];
            for (other, answer) in (1..).zip(self.post.answers::<Told<T>>()) {
                let placed =
                    |failure: message::Failure| self.post.link.placed(other, failure.into());
                all.push(answer.map_err(placed)?);
            }
            Ok(all)
        });
        self.noted(all)
    }

    /// Where another process has told of a failure, that is the cause of whatever went wrong here behind it.
    fn noted<T>(&mut self, outcome: Result<T, ExecError>) -> Result<T, ExecError> {
        outcome.map_err(|error| {
            self.has_failed = true;
            self.post.link.reported().map_or(error, ExecError::from)
        })
    }

    /// When it is what on the others' clocks.
    fn moments(&mut self, clock: &Arc<dyn Clock>) -> Result<Vec<Moment>, ExecError> {
        let mut best: Vec<Option<(Duration, Moment)>> = vec![None; self.post.link.size() - 1];
        for _ in 0..LOOKS {
            for (other, best) in (1..).zip(&mut best) {
                let asked = clock.now();
                self.post.command_one(other, &Command::Clock);
                let there = self.post.answer_of(other);
                let took = clock.now().saturating_sub(asked);
                let here = asked + took / 2;
                if best.is_none_or(|(shortest, _)| took < shortest) {
                    *best = Some((took, Moment { here, there }));
                }
            }
        }
        Ok(best
            .into_iter()
            .flatten()
            .map(|(_, moment)| moment)
            .collect())
    }
}

impl Drop for MpiRanks {
    fn drop(&mut self) {
        if !self.has_failed {
            self.post.command(&Command::End);
        }
    }
}

impl Executor for MpiRanks {
    fn memory(&mut self) -> Result<Vec<RankMemory>, ExecError> {
        let own = |ranks: &mut Ranks| Ok(Json(ranks.memory()?));
        let all = self.together(&Command::Memory, own)?;
        let placed = all
            .into_iter()
            .zip(&self.processes)
            .flat_map(|(ranks, process)| {
                ranks.0.into_iter().map(|rank| RankMemory {
                    host: Some(process.host.clone()),
                    ..rank
                })
            });
        Ok(placed.collect())
    }

    fn measure_roofs(&mut self) -> Option<Roofs> {
        let all = self.together(&Command::Roofs, |ranks| Ok(ranks.measure_roofs()));
        all.ok()?.into_iter().sum()
    }

    fn warm_up(
        &mut self,
        warm_up: WarmUp,
        kv: DType,
        graphs: Option<GraphLimits>,
    ) -> Result<Vec<Headroom>, ExecError> {
        let command = Command::WarmUp {
            warm_up,
            kv: kv.as_str().into(),
            graphs,
        };
        let own = |ranks: &mut Ranks| ranks.warm_up(warm_up, kv, graphs);
        Ok(self.together(&command, own)?.concat())
    }

    fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError> {
        let command = Command::AllocateKv {
            num_blocks: layout.num_blocks,
            block_size: layout.block_size,
            dtype: layout.dtype.as_str().into(),
        };
        self.together(&command, |ranks| ranks.allocate_kv(layout))?;
        Ok(())
    }

    fn capture(
        &mut self,
        graphs: GraphLimits,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), ExecError> {
        let own = |ranks: &mut Ranks| ranks.capture(graphs, progress);
        self.together(&Command::Capture(graphs), own)?;
        Ok(())
    }

    fn submit(&mut self, plan: Arc<StepPlan>) -> Result<Ticket, ExecError> {
        self.tell(&Command::Submit(Cow::Borrowed(&plan)))?;
        let submitted = self.ranks.submit(plan);
        self.noted(submitted)
    }

    fn runs_ahead(&self, plan: &StepPlan) -> bool {
        self.ranks.runs_ahead(plan)
    }

    fn wait(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError> {
        self.tell(&Command::Wait)?;
        let own = self.ranks.wait(ticket, output).map(|()| Cost::default());
        for cost in self.with_others(own)? {
            output.cost += cost;
        }
        Ok(())
    }

    fn start_timelines(&mut self, clock: &Arc<dyn Clock>) -> Result<(), ExecError> {
        self.timed = self.moments(clock)?;
        self.tell(&Command::StartTimelines)?;
        self.ranks.start_timelines(clock)
    }

    fn take_timelines(&mut self) -> Result<Vec<Vec<OpRecord>>, ExecError> {
        self.tell(&Command::TakeTimelines)?;
        let mut all = self.ranks.take_timelines()?;
        let mut names: Vec<&'static str> = all.iter().flatten().map(|op| op.name).collect();
        names.sort_unstable();
        names.dedup();
        let theirs = self.with_others(Ok(Vec::<Vec<Operation>>::new()))?;
        for (timelines, &moment) in theirs.into_iter().skip(1).zip(&self.timed) {
            for operations in timelines {
                let records = operations.into_iter().map(|op| op.record(&names, moment));
                let records: Option<Vec<OpRecord>> = records.collect();
                all.push(records.ok_or(ExecError::Unlike)?);
            }
        }
        Ok(all)
    }

    fn start_watching(&mut self, clock: &Arc<dyn Clock>) -> Result<(), ExecError> {
        self.watched = self.moments(clock)?;
        self.tell(&Command::StartWatching)
    }

    fn take_watched(&mut self) -> Result<Vec<Recorded>, ExecError> {
        if self.has_failed {
            return Ok(Vec::new());
        }
        let own = |_: &mut Ranks| Ok(Json(Recorded::default()));
        let all = self
            .together(&Command::TakeWatched, own)?
            .into_iter()
            .skip(1);
        let processes = self.processes[1..].iter().zip(&self.watched);
        let placed = all
            .zip(processes)
            .map(|(Json(mut seen), (process, moment))| {
                let shift = moment.here.as_secs_f64() - moment.there.as_secs_f64();
                seen.samples
                    .iter_mut()
                    .for_each(|sample| sample.time += shift);
                let hosts = seen.gpus.iter_mut().map(|gpu| &mut gpu.host);
                hosts.for_each(|host| *host = Some(process.host.clone()));
                seen
            });
        Ok(placed.collect())
    }

    fn touch_kv(&mut self) -> Result<(), ExecError> {
        self.together(&Command::TouchKv, |ranks| ranks.touch_kv())?;
        Ok(())
    }

    fn expert_load(&mut self) -> Result<Vec<ExpertLoad>, ExecError> {
        self.ranks.expert_load()
    }
}
