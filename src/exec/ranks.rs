//! CPU ranks as threads of this process: rank 0 on the caller's thread, the others on threads of their
//! own, each with its own workers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::guard::{caught, guarded};
use super::seat::{Build, Threads};
use super::tickets::Tickets;
use super::{ExecError, Executor, KvBound, KvLayout, Rank, StepOutput, StepPlan, Ticket};
use crate::ground::recorder::{Cost, OpRecord};
use crate::ground::results::{RankMemory, Roofs};
use crate::ground::{Clock, ExpertLoad};
use crate::ops::DeviceRoofs;
use crate::ops::cpu::rendezvous::Rendezvous;
use crate::ops::cpu::workers::Workers;
use crate::parallel::{self, Collective};

enum Command {
    Step(Arc<StepPlan>),
    Call(Box<dyn FnOnce(&mut Rank) + Send>),
}

/// A rank on a thread of its own.
struct Other {
    /// `None` once the rank is told to end.
    commands: Option<SyncSender<Command>>,
    steps: Receiver<Result<Cost, ExecError>>,
    thread: Option<JoinHandle<()>>,
}

pub struct Ranks {
    workers: Workers,
    first: Rank,
    others: Vec<Other>,
    rendezvous: Arc<Rendezvous>,
    kv_bound: KvBound,
    has_kv: bool,
    tickets: Tickets,
    /// Steps that rank 0 has queued and nobody has waited for.
    queued: VecDeque<u64>,
}

impl Ranks {
    /// Builds all ranks at once, each among its workers, so that packing uses the threads of the steps.
    ///
    /// `kv_elements_per_token` (of one rank) and `machine_memory` (bytes) bound the cache before it is
    /// allocated.
    ///
    /// # Errors
    /// A thread cannot be started or bound, or a rank cannot be built.
    pub fn load(
        ranks: usize,
        threads: impl Into<Threads>,
        machine_memory: u64,
        kv_elements_per_token: usize,
        build: Arc<Build>,
    ) -> Result<Self, ExecError> {
        let threads = threads.into();
        let rendezvous = Arc::new(Rendezvous::new(ranks, threads.fit(ranks)));
        let (ready, outcomes) = sync_channel(ranks);
        let mut others = Vec::new();
        for rank in 1..ranks {
            let (commands, inbox) = sync_channel(1);
            let (replies, steps) = sync_channel(1);
            let (ready, build) = (ready.clone(), build.clone());
            let meeting = rendezvous.clone();
            let life = move || {
                let built = caught(rank, || start(rank, &meeting, threads, build.as_ref()));
                // Whoever waits for it may have left; then the commands end at once.
                match built {
                    Err(error) => drop(ready.send(Err(error))),
                    Ok((mut workers, mut rank)) => {
                        let _ = ready.send(Ok(()));
                        drop(ready);
                        workers.install(|| serve(&mut rank, &meeting, &inbox, &replies));
                    }
                }
            };
            let thread = std::thread::Builder::new().name(format!("candlepower-rank-{rank}"));
            let thread = thread.spawn(life).map_err(|e| ExecError::Threads {
                threads: threads.count.max(ranks),
                reason: e.to_string(),
            })?;
            others.push(Other {
                commands: Some(commands),
                steps,
                thread: Some(thread),
            });
        }
        drop(ready);
        let first = caught(0, || start(0, &rendezvous, threads, build.as_ref()));
        // All of them, so that none is still loading when an error is told.
        let outcomes: Result<Vec<()>, ExecError> = outcomes.iter().take(ranks - 1).collect();
        let (workers, first) = first?;
        outcomes?;
        Ok(Self {
            workers,
            first,
            others,
            rendezvous,
            kv_bound: KvBound {
                memory: machine_memory,
                elements_per_token: (ranks * kv_elements_per_token) as u64,
            },
            has_kv: false,
            tickets: Tickets::default(),
            queued: VecDeque::new(),
        })
    }

    /// Rank 0 itself, among its workers: for one rank, and for operations without the others.
    pub fn with_first<R>(&mut self, f: impl FnOnce(&mut Rank) -> R) -> R {
        let rank = &mut self.first;
        self.workers.install(|| f(rank))
    }

    /// Calls `f` on every rank at once, on its thread; the results are in rank order.
    ///
    /// # Errors
    /// A rank has ended, or panics in `f`.
    pub fn on_all<R: Send + 'static>(
        &mut self,
        f: impl Fn(&mut Rank) -> R + Clone + Send + 'static,
    ) -> Result<Vec<R>, ExecError> {
        let mut answers = Vec::new();
        for other in &self.others {
            let (sender, answer) = sync_channel(1);
            let f = f.clone();
            other.send(Command::Call(Box::new(move |rank| {
                // Nobody takes the answer only after an error that is already told.
                let _ = sender.send(f(rank));
            })))?;
            answers.push(answer);
        }
        let mut results = vec![self.with_first(f)];
        for answer in answers {
            results.push(answer.recv().map_err(|_| ExecError::Ended)?);
        }
        Ok(results)
    }

    /// [`Self::on_all`] for what ranks do together: when one fails, the others stop waiting for it.
    ///
    /// # Errors
    /// That of the first rank that failed.
    pub fn together<R: Send + 'static>(
        &mut self,
        f: impl Fn(&mut Rank) -> Result<R, ExecError> + Clone + Send + 'static,
    ) -> Result<Vec<R>, ExecError> {
        let rendezvous = self.rendezvous.clone();
        let outcomes = self.on_all(move |rank| guarded(rank.number(), &rendezvous, || f(rank)))?;
        self.told(outcomes.into_iter().collect())
    }

    /// Of ranks that failed together, the error of the first: those that only stopped would say less.
    fn told<R>(&self, outcome: Result<R, ExecError>) -> Result<R, ExecError> {
        match (outcome, self.rendezvous.stopped()) {
            (Err(_), Some(stopped)) if !self.others.is_empty() => Err(stopped.into()),
            (outcome, _) => outcome,
        }
    }

    /// Runs the plan on every rank.
    fn step(&mut self, plan: Arc<StepPlan>, output: &mut StepOutput) -> Result<(), ExecError> {
        for other in &self.others {
            other.send(Command::Step(plan.clone()))?;
        }
        let (rendezvous, first) = (self.rendezvous.clone(), &mut self.first);
        let step = || guarded(0, &rendezvous, || first.step(&plan, output));
        let mut outcome = self.workers.install(step);
        drop(plan);
        for other in &self.others {
            match other.steps.recv().map_err(|_| ExecError::Ended).flatten() {
                Ok(cost) => output.cost += cost,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.told(outcome)
    }
}

/// A rank and its workers, on the calling thread.
fn start(
    rank: usize,
    rendezvous: &Arc<Rendezvous>,
    threads: Threads,
    build: &Build,
) -> Result<(Workers, Rank), ExecError> {
    let ranks = rendezvous.ranks();
    let collective: Box<dyn Collective> = match ranks {
        1 => Box::new(parallel::Solo),
        _ => Box::new(parallel::Threads::new(rank, rendezvous.clone())),
    };
    threads.seat(rank, ranks).build(collective, build)
}

/// The life of a rank that is not the first: until nobody commands it any more.
fn serve(
    rank: &mut Rank,
    rendezvous: &Rendezvous,
    inbox: &Receiver<Command>,
    replies: &SyncSender<Result<Cost, ExecError>>,
) {
    let mut output = StepOutput::default();
    let number = rank.number();
    for command in inbox {
        match command {
            Command::Call(call) => call(rank),
            Command::Step(plan) => {
                let step = || rank.step(&plan, &mut output);
                let outcome = guarded(number, rendezvous, step);
                drop(plan);
                if replies.send(outcome.map(|()| output.cost)).is_err() {
                    return;
                }
            }
        }
    }
}

impl Other {
    fn send(&self, command: Command) -> Result<(), ExecError> {
        let commands = self.commands.as_ref().ok_or(ExecError::Ended)?;
        commands.send(command).map_err(|_| ExecError::Ended)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // Its panics were caught, and told where they happened.
            let _ = thread.join();
        }
    }
}

impl Executor for Ranks {
    fn memory(&mut self) -> Result<Vec<RankMemory>, ExecError> {
        self.on_all(|rank| rank.memory())
    }

    fn measure_roofs(&mut self) -> Option<Roofs> {
        let roofs = self.on_all(|rank| rank.measure_roofs()).ok()?;
        let roofs: Vec<DeviceRoofs> = roofs.into_iter().collect::<Option<_>>()?;
        Some(Roofs {
            read_bytes_per_s: roofs.iter().map(|r| r.read_bytes_per_s).sum(),
            flop_per_s: roofs.iter().map(|r| r.flop_per_s).sum(),
        })
    }

    fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError> {
        self.kv_bound.check(layout)?;
        let layout = *layout;
        let outcomes = self.on_all(move |rank| rank.allocate_kv(&layout))?;
        outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
        self.has_kv = true;
        Ok(())
    }

    fn submit(&mut self, plan: Arc<StepPlan>) -> Result<Ticket, ExecError> {
        if !self.has_kv {
            return Err(ExecError::NoKv);
        }
        if self.others.is_empty() && self.first.can_queue(&plan) {
            self.with_first(|rank| rank.queue(&plan))?;
            let number = self.tickets.number();
            self.queued.push_back(number);
            return Ok(Ticket(number));
        }
        let mut tickets = std::mem::take(&mut self.tickets);
        let ticket = tickets.issue(|output| self.step(plan, output));
        self.tickets = tickets;
        ticket
    }

    fn runs_ahead(&self, plan: &StepPlan) -> bool {
        self.others.is_empty() && self.first.can_queue(plan)
    }

    fn wait(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError> {
        if self.queued.front() == Some(&ticket.0) {
            self.queued.pop_front();
            return self.with_first(|rank| rank.collect(output));
        }
        self.tickets.redeem(ticket, output)
    }

    fn start_timelines(&mut self, clock: &Arc<dyn Clock>) -> Result<(), ExecError> {
        let clock = clock.clone();
        self.on_all(move |rank| rank.start_timeline(clock.clone()))?;
        Ok(())
    }

    fn take_timelines(&mut self) -> Result<Vec<Vec<OpRecord>>, ExecError> {
        self.on_all(|rank| rank.take_timeline())?
            .into_iter()
            .collect()
    }

    fn touch_kv(&mut self) -> Result<(), ExecError> {
        let outcomes = self.on_all(|rank| rank.touch_kv())?;
        outcomes.into_iter().collect()
    }

    fn expert_load(&mut self) -> Result<Vec<ExpertLoad>, ExecError> {
        self.with_first(|rank| rank.expert_load())
    }
}
