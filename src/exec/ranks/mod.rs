//! Ranks as threads of this process: the first on the caller's thread, the others on threads of their own, each with its
//! own workers. They are all ranks, or a part of them beside those of other processes.
//!
//! A step is run, or queued on devices that work ahead of their hosts and collected later.

mod other;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use candle_core::DType;

use self::other::{Command, LOOK, Life, Other};
use super::graphs::GraphLimits;
use super::guard::guarded;
use super::part::Part;
use super::seat::{Build, Threads};
use super::tickets::Tickets;
use super::warm_up::{Headroom, WarmUp};
use super::{
    DeviceTimes, ExecError, Executor, KvBound, KvLayout, Rank, RankTimes, StepOutput, StepPlan,
    Ticket, Times,
};
use crate::ground::recorder::{OpRecord, Traffic};
use crate::ground::results::{RankMemory, Roofs};
use crate::ground::{Clock, ExpertLoad, Progress};
use crate::ops::DeviceRoofs;
use crate::ops::cpu::rendezvous::Rendezvous;
use crate::ops::cpu::workers::Workers;
use crate::ops::held::Held;

/// Once a rank has failed, how long the others have to come out of what they do, and to end.
const LAST_WORDS: Duration = Duration::from_secs(3);

pub struct Ranks {
    workers: Workers,
    first: Held<Rank>,
    others: Vec<Other>,
    rendezvous: Arc<Rendezvous>,
    kv_bound: KvBound,
    has_kv: bool,
    tickets: Tickets,
    /// Steps that were queued and nobody has waited for.
    queued: VecDeque<u64>,
}

impl Ranks {
    /// All ranks.
    ///
    /// `kv_elements_per_token` (of one rank) and `machine_memory` (bytes) bound the cache before it is
    /// allocated.
    ///
    /// # Errors
    /// As [`Self::load_part`].
    pub fn load(
        ranks: usize,
        threads: impl Into<Threads>,
        machine_memory: u64,
        kv_elements_per_token: usize,
        build: Arc<Build>,
    ) -> Result<Self, ExecError> {
        let kv_bound = KvBound {
            memory: machine_memory,
            elements_per_token: (ranks * kv_elements_per_token) as u64,
        };
        Self::load_part(Part::whole(ranks, threads.into()), kv_bound, build)
    }

    /// Builds the ranks of `part` at once, each among its workers, so that packing uses the threads of the steps.
    ///
    /// # Errors
    /// A thread cannot be started or bound, or a rank cannot be built.
    pub fn load_part(part: Part, kv_bound: KvBound, build: Arc<Build>) -> Result<Self, ExecError> {
        let (place, Part { between, seats }) = (part.place(), part);
        let (ready, outcomes) = sync_channel(seats.len());
        let mut others = Vec::new();
        for (index, &seat) in seats.iter().enumerate().skip(1) {
            let (build, place) = (build.clone(), place.clone());
            let life = Life {
                rank: place.number(index),
                ready: ready.clone(),
                meeting: place.rendezvous.clone(),
            };
            let start = move || seat.build(place.collective(index, None), build.as_ref());
            others.push(life.begin(start).map_err(|e| ExecError::Threads {
                threads: seats.iter().map(|seat| seat.threads).sum(),
                reason: e.to_string(),
            })?);
        }
        drop(ready);
        let number = place.number(0);
        let first = guarded(number, &place.rendezvous, || {
            seats[0].build(place.collective(0, Some(between)), build.as_ref())
        });
        // All of them, so that none is still loading when an error is told.
        let outcomes: Vec<Result<(), ExecError>> = outcomes.iter().take(others.len()).collect();
        let others_loaded: Result<(), ExecError> = outcomes.into_iter().collect();
        // What went wrong first, which may be why others failed.
        let stopped = place.rendezvous.stopped();
        if stopped.is_some_and(|stopped| stopped.rank != number) {
            others_loaded?;
        }
        let (workers, first) = first?;
        Ok(Self {
            workers,
            first: Held::new(first),
            others,
            rendezvous: place.rendezvous,
            kv_bound,
            has_kv: false,
            tickets: Tickets::default(),
            queued: VecDeque::new(),
        })
    }

    /// The first rank itself, among its workers: for one rank, and for operations without the others.
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
            results.push(self.answer(&answer)?);
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
        let outcome = self.first(|rank| rank.step(&plan, output));
        drop(plan);
        self.gather(outcome, output)
    }

    /// Gives the plan to every rank's device.
    fn queue(&mut self, plan: &Arc<StepPlan>) -> Result<(), ExecError> {
        for other in &self.others {
            other.send(Command::Queue(plan.clone()))?;
        }
        let outcome = self.first(|rank| rank.queue(plan));
        self.told(outcome)
    }

    /// Waits for every rank's device.
    fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        for other in &self.others {
            other.send(Command::Collect)?;
        }
        let outcome = self.first(|rank| rank.collect(output));
        self.gather(outcome, output)
    }

    /// The first rank's part of what all ranks do.
    fn first<R: Send>(
        &mut self,
        f: impl FnOnce(&mut Rank) -> Result<R, ExecError> + Send,
    ) -> Result<R, ExecError> {
        let (rendezvous, first) = (&self.rendezvous, &mut self.first);
        let number = first.number();
        self.workers
            .install(|| guarded(number, rendezvous, || f(first)))
    }

    /// Whether a rank has failed, and others may hang with their devices: then they are not waited for without an end.
    fn may_hang(&self) -> bool {
        self.first.works_ahead() && self.rendezvous.stopped().is_some()
    }

    /// What another rank answers.
    ///
    /// # Errors
    /// It has ended, or may hang.
    fn answer<T>(&self, answers: &Receiver<T>) -> Result<T, ExecError> {
        let mut left = LAST_WORDS;
        loop {
            match answers.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(Disconnected) => return Err(ExecError::Ended),
                Err(Timeout) if self.may_hang() => {
                    left = left.checked_sub(LOOK).ok_or(ExecError::Ended)?;
                }
                Err(Timeout) => {}
            }
        }
    }

    /// Adds what the other ranks' parts of a step cost, when all of them are done.
    fn gather(
        &self,
        mut outcome: Result<(), ExecError>,
        output: &mut StepOutput,
    ) -> Result<(), ExecError> {
        // Of most steps there are none, and nothing is allocated.
        let mut times: Vec<DeviceTimes> = output.device.take().into_iter().collect();
        let of = |traffic: Traffic| RankTimes {
            compute: None,
            communication: traffic.time,
            wait: traffic.wait,
        };
        let is_told = output.times == Times::OnHost && !self.others.is_empty();
        output.ranks.clear();
        output.ranks.extend(is_told.then(|| of(output.traffic)));
        for other in &self.others {
            match self.answer(&other.steps).flatten() {
                Ok(told) => {
                    output.cost += told.cost;
                    output.ranks.extend(is_told.then(|| of(told.traffic)));
                    times.extend(told.device);
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        if times.len() == 1 + self.others.len() {
            let ranks = RankTimes::of(&times).unwrap_or_default();
            output.times = output.times.with(&ranks);
            let several = ranks.into_iter().filter(|_| !self.others.is_empty());
            output.ranks.extend(several);
        }
        self.told(outcome)
    }
}

impl Drop for Ranks {
    /// Tells all others to end before rank 0 does: what ranks share on their devices may end only with all of them. Once
    /// one has failed they share nothing any more, and rank 0 is kept where a device hangs.
    fn drop(&mut self) {
        for other in &mut self.others {
            other.dismiss();
        }
        if self.may_hang() {
            let end = Instant::now() + LAST_WORDS;
            let others = self.others.iter_mut();
            let hanging = others.filter_map(|other| (!other.ends_by(end)).then_some(()));
            if hanging.count() > 0 || self.first.is_lost() {
                self.first.keep();
            }
        }
    }
}

impl Executor for Ranks {
    fn memory(&mut self) -> Result<Vec<RankMemory>, ExecError> {
        self.on_all(|rank| rank.memory())
    }

    fn measure_roofs(&mut self) -> Option<Roofs> {
        let roofs = self.on_all(|rank| rank.measure_roofs()).ok()?;
        let of_one = |roofs: DeviceRoofs| Roofs {
            read_bytes_per_s: roofs.read_bytes_per_s,
            flop_per_s: roofs.flop_per_s,
        };
        roofs.into_iter().map(|roofs| roofs.map(of_one)).sum()
    }

    fn warm_up(
        &mut self,
        warm_up: WarmUp,
        kv: DType,
        graphs: Option<GraphLimits>,
    ) -> Result<Vec<Headroom>, ExecError> {
        let headroom = self.together(move |rank| rank.warm_up(&warm_up, kv, graphs))?;
        Ok(headroom.into_iter().flatten().collect())
    }

    fn capture(
        &mut self,
        graphs: GraphLimits,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), ExecError> {
        let watched = progress.clone();
        let capture =
            move |rank: &mut Rank| rank.capture(&graphs, usize::MAX, || watched.is_stopped());
        self.together(capture).map(drop)
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
        if self.first.can_queue(&plan) {
            self.queue(&plan)?;
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
        self.first.can_queue(plan) && !self.first.is_timing()
    }

    fn wait(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError> {
        if self.queued.front() == Some(&ticket.0) {
            self.queued.pop_front();
            return self.collect(output);
        }
        self.tickets.redeem(ticket, output)
    }

    fn start_timelines(&mut self, clock: &Arc<dyn Clock>) -> Result<(), ExecError> {
        let clock = clock.clone();
        self.on_all(move |rank| rank.start_timeline(clock.clone()))?;
        Ok(())
    }

    fn start_activity(&mut self, clock: &Arc<dyn Clock>) -> Result<Result<(), String>, ExecError> {
        let clock = clock.clone();
        let started = self.on_all(move |rank| rank.start_activity(clock.clone()))?;
        let started: Result<Vec<()>, String> = started.into_iter().collect();
        if started.is_err() {
            // Of ranks that did.
            let _ = self.on_all(|rank| rank.take_timeline())?;
        }
        Ok(started.map(drop))
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
