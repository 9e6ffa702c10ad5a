//! Ranks as processes of an MPI job: rank 0 tells the others what to do, as it does the same; they
//! serve it until it ends.

mod post;
mod serve;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::guard::caught;
use super::tickets::Tickets;
use super::{Build, ExecError, Executor, KvBound, KvLayout, Rank, Seat};
use super::{StepOutput, StepPlan, Ticket};
use crate::ground::ExpertLoad;
use crate::ground::recorder::Cost;
use crate::ground::results::{RankMemory, Roofs};
use crate::ops::cpu::rendezvous::Stopped;
use crate::ops::cpu::roof;
use crate::ops::cpu::workers::Workers;
use crate::parallel::mpi::{Link, Mpi};
use post::Post;

pub use serve::{decline, serve};

#[derive(Serialize, Deserialize)]
enum Command<'a> {
    /// Answered with a [`RankMemory`].
    Memory,
    /// Answered with [`OwnRoofs`].
    Roofs,
    /// Answered with a `Result<(), String>`.
    AllocateKv {
        num_blocks: usize,
        block_size: usize,
        dtype: Cow<'a, str>,
    },
    /// Answered with its [`Cost`]; a rank whose step fails ends the job.
    Step(Cow<'a, StepPlan>),
    End,
}

/// What a rank tells before the first command: that it is loaded, or why it cannot serve.
type Ready = Result<Hello, String>;

#[derive(Serialize, Deserialize)]
struct Hello {
    identity: String,
    threads: usize,
}

/// Read bandwidth and multiply-add peak of one rank's threads; `None` where they cannot be measured.
type OwnRoofs = Option<(f64, f64)>;

/// What each rank is loaded with.
pub struct Load {
    pub link: Rc<Link>,
    pub seat: Seat,
    /// Of the machine that this rank is on.
    pub kv_bound: KvBound,
    /// Program, model and settings: the same on every rank.
    pub identity: String,
    pub build: Arc<Build>,
}

impl Load {
    fn build(&self) -> Result<(Workers, Rank), ExecError> {
        caught(self.link.rank(), || {
            let collective = Box::new(Mpi::new(self.link.clone()));
            self.seat.build(collective, self.build.as_ref())
        })
    }
}

/// Rank 0, and through it the others.
pub struct MpiRanks {
    post: Post,
    workers: Workers,
    rank: Rank,
    kv_bound: KvBound,
    has_kv: bool,
    tickets: Tickets,
    threads: usize,
}

impl MpiRanks {
    /// Builds rank 0 and waits until the others are ready.
    ///
    /// # Errors
    /// This rank cannot be built, or another one tells that it cannot serve.
    pub fn load(load: Load) -> Result<Self, ExecError> {
        let (workers, rank) = load.build()?;
        let mut post = Post::new(load.link);
        let mut threads = load.seat.threads;
        let mut missing: Vec<usize> = (1..post.link.size()).collect();
        while !missing.is_empty() {
            let (other, ready) = post.await_answer::<Ready>(&missing);
            missing.retain(|rank| *rank != other);
            match ready {
                Ok(hello) if hello.identity == load.identity => threads += hello.threads,
                Ok(_) => {
                    let reason = "it was started with another program, model or flags than rank 0";
                    return Err(failed(&post.link, other, reason));
                }
                Err(reason) => return Err(failed(&post.link, other, &reason)),
            }
        }
        Ok(Self {
            post,
            workers,
            rank,
            kv_bound: load.kv_bound,
            has_kv: false,
            tickets: Tickets::default(),
            threads,
        })
    }

    /// CPU threads of all ranks.
    pub fn threads(&self) -> usize {
        self.threads
    }

    fn step(&mut self, plan: &StepPlan, output: &mut StepOutput) -> Result<(), ExecError> {
        self.post.command(&Command::Step(Cow::Borrowed(plan)));
        let rank = &mut self.rank;
        let step = || caught(0, || rank.step(plan, output));
        // After an error the others wait in an exchange, until this process ends the job.
        self.workers.install(step)?;
        for cost in self.post.answers::<Cost>() {
            output.cost += cost;
        }
        Ok(())
    }
}

impl Drop for MpiRanks {
    fn drop(&mut self) {
        self.post.command(&Command::End);
    }
}

impl Executor for MpiRanks {
    fn memory(&mut self) -> Result<Vec<RankMemory>, ExecError> {
        self.post.command(&Command::Memory);
        let mut all = vec![self.rank.memory()];
        all.extend(self.post.answers::<RankMemory>());
        Ok(all)
    }

    fn measure_roofs(&mut self) -> Option<Roofs> {
        self.post.command(&Command::Roofs);
        let mut all = vec![own_roofs(&mut self.workers)];
        all.extend(self.post.answers::<OwnRoofs>());
        let all: Vec<_> = all.into_iter().collect::<Option<_>>()?;
        Some(Roofs {
            read_bytes_per_s: all.iter().map(|(read, _)| read).sum(),
            flop_per_s: all.iter().map(|(_, flop)| flop).sum(),
        })
    }

    fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError> {
        self.kv_bound.check(layout)?;
        self.post.command(&Command::AllocateKv {
            num_blocks: layout.num_blocks,
            block_size: layout.block_size,
            dtype: layout.dtype.as_str().into(),
        });
        let own = self.rank.allocate_kv(layout);
        let others = self.post.answers::<Result<(), String>>();
        own?;
        for (other, outcome) in (1..).zip(others) {
            outcome.map_err(|reason| failed(&self.post.link, other, &reason))?;
        }
        self.has_kv = true;
        Ok(())
    }

    fn submit(&mut self, plan: Arc<StepPlan>) -> Result<Ticket, ExecError> {
        if !self.has_kv {
            return Err(ExecError::NoKv);
        }
        let mut tickets = std::mem::take(&mut self.tickets);
        let ticket = tickets.issue(|output| self.step(&plan, output));
        self.tickets = tickets;
        ticket
    }

    fn wait(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError> {
        self.tickets.redeem(ticket, output)
    }

    fn expert_load(&mut self) -> Result<Vec<ExpertLoad>, ExecError> {
        self.rank.expert_load()
    }
}

fn failed(link: &Link, rank: usize, reason: &str) -> ExecError {
    let host = &link.places()[rank].host;
    ExecError::Stopped(Stopped {
        rank,
        reason: format!("{reason} (on {host})"),
    })
}

fn own_roofs(workers: &mut Workers) -> OwnRoofs {
    workers.install(|| Some((roof::read_bandwidth()?, roof::multiply_add_peak())))
}
