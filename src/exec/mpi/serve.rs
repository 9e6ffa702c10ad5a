//! The life of a process that is not the first.

use std::collections::VecDeque;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use candle_core::DType;
use serde::Serialize;

use super::message::{Command, Failure, Hello, Json, Operation, Ready, Told};
use super::post::Post;
use super::{Load, Watcher};
use crate::exec::{ExecError, Executor, KvLayout, Ranks, StepOutput, Ticket};
use crate::ground::recorder::Cost;
use crate::ground::{Clock, Progress, Unwatched, WallClock};
use crate::parallel::mpi::Link;

/// For the first process to show what it has after a failure, and to end the job.
const LAST_COMMANDS: Duration = Duration::from_secs(10);

/// Does what the first process tells, until that ends.
///
/// # Errors
/// A rank has failed, and the first process does not end the job, for it may wait for this rank.
pub fn serve(load: Load) -> Result<(), ExecError> {
    let ranks = match load.ranks() {
        Ok(ranks) => ranks,
        Err(error) => decline(&load.link, &error.to_string()),
    };
    let threads = load.threads();
    let mut server = Server {
        post: Post::new(load.link),
        ranks,
        submitted: VecDeque::new(),
        output: StepOutput::default(),
        clock: Arc::new(WallClock::start()),
        watcher: load.watcher,
        has_failed: false,
    };
    server.post.answer(&Ready::Ok(Hello {
        identity: load.identity,
        threads,
        process: Json(load.process),
    }));
    server.serve()
}

/// Tells the first process why this one cannot serve, and waits for it to end the job.
pub fn decline(link: &Rc<Link>, reason: &str) -> ! {
    let mut post = Post::new(link.clone());
    // It may already wait for ranks of this process, and not for its answer.
    link.report(link.first_rank(link.rank()), reason);
    post.answer(&Ready::Err(reason.to_owned()));
    loop {
        let _ = post.await_command::<Command>(None);
    }
}

struct Server {
    post: Post,
    ranks: Ranks,
    /// Steps that nobody has waited for.
    submitted: VecDeque<Result<Ticket, ExecError>>,
    output: StepOutput,
    /// Of what is timed and watched here.
    clock: Arc<dyn Clock>,
    watcher: Box<dyn Watcher>,
    has_failed: bool,
}

impl Server {
    fn serve(mut self) -> Result<(), ExecError> {
        loop {
            let patience = self.has_failed.then_some(LAST_COMMANDS);
            let Some(command) = self.post.await_command::<Command>(patience) else {
                return Err(ExecError::Ended);
            };
            self.post.link.is_starting(command.is_of_the_start());
            match command {
                Command::End => return Ok(()),
                Command::Memory => {
                    let memory = self.ranks.memory().map(Json);
                    self.answer(memory);
                }
                Command::Roofs => {
                    let roofs = self.ranks.measure_roofs();
                    self.answer(Ok(roofs));
                }
                Command::WarmUp {
                    warm_up,
                    kv,
                    graphs,
                } => {
                    let kv = dtype(&kv);
                    let headroom = kv.and_then(|kv| self.ranks.warm_up(warm_up, kv, graphs));
                    self.answer(headroom);
                }
                Command::AllocateKv {
                    num_blocks,
                    block_size,
                    dtype,
                } => {
                    let layout = self::dtype(&dtype).map(|dtype| KvLayout {
                        num_blocks,
                        block_size,
                        dtype,
                    });
                    let allocated = layout.and_then(|layout| self.ranks.allocate_kv(&layout));
                    self.answer(allocated);
                }
                Command::Capture(graphs) => {
                    // The first process decides when to stop.
                    let progress: Arc<dyn Progress> = Arc::new(Unwatched);
                    let captured = self.ranks.capture(graphs, &progress);
                    self.answer(captured);
                }
                Command::Submit(plan) => {
                    let ticket = self.ranks.submit(Arc::new(plan.into_owned()));
                    if let Err(error) = &ticket {
                        self.report(error);
                    }
                    self.submitted.push_back(ticket);
                }
                Command::Wait => {
                    let cost = self.wait();
                    self.answer(cost);
                }
                Command::TouchKv => {
                    let touched = self.ranks.touch_kv();
                    self.answer(touched);
                }
                Command::Clock => self.post.answer(&self.clock.now()),
                Command::StartTimelines => {
                    if let Err(error) = self.ranks.start_timelines(&self.clock) {
                        self.report(&error);
                    }
                }
                Command::TakeTimelines => self.answer_timelines(),
                Command::StartWatching => self.watcher.start(&self.clock),
                Command::TakeWatched => {
                    let seen = self.watcher.stop();
                    self.answer(Ok(Json(seen)));
                }
            }
        }
    }

    fn wait(&mut self) -> Result<Cost, ExecError> {
        let ticket = self.submitted.pop_front();
        let ticket = ticket.unwrap_or(Err(ExecError::NothingQueued))?;
        self.ranks.wait(ticket, &mut self.output)?;
        Ok(self.output.cost)
    }

    fn answer_timelines(&mut self) {
        let timelines = self.ranks.take_timelines();
        let told = timelines.as_ref().map(|timelines| {
            let ranks = timelines.iter();
            let ranks = ranks.map(|ops| ops.iter().map(Operation::from).collect::<Vec<_>>());
            ranks.collect::<Vec<_>>()
        });
        match told {
            Ok(told) => self.post.answer(&Told::Ok(told)),
            Err(error) => {
                let failure = self.report(error);
                self.post.answer(&Told::<()>::Err(failure));
            }
        }
    }

    fn answer<T: Serialize>(&mut self, outcome: Result<T, ExecError>) {
        let told = outcome.map_err(|error| self.report(&error));
        self.post.answer(&told);
    }

    /// Lets the first process know of a failure, whatever it waits for.
    fn report(&mut self, error: &ExecError) -> Failure {
        let failure = match error {
            ExecError::Stopped(stopped) => Failure {
                rank: stopped.rank,
                reason: stopped.reason.clone(),
            },
            error => Failure {
                rank: self.post.link.first_rank(self.post.link.rank()),
                reason: error.to_string(),
            },
        };
        if !std::mem::replace(&mut self.has_failed, true) {
            self.post.link.report(failure.rank, &failure.reason);
        }
        failure
    }
}

fn dtype(name: &str) -> Result<DType, ExecError> {
    DType::from_str(name).map_err(|_| ExecError::Unlike)
}
