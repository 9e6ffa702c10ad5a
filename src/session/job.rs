//! This process as one of an MPI job: rank 0 runs the command, the others serve it.

use std::env;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::error::{SessionError, Wish};
use super::files::ModelFiles;
use super::launch::Launched;
use super::loading::{Loaded, Loading};
use super::options::EngineOptions;
use crate::exec::mpi::{self, Load, MpiRanks};
use crate::exec::{KvBound, Seat, Threads};
use crate::ground::{Progress, Unwatched, revision};
use crate::ops::cpu::pin;
use crate::parallel::mpi::{Link, Place};
use crate::telemetry;

/// Cargo features that a result names.
pub const FEATURES: &[&str] = &["mpi"];

/// How long a rank may keep the others waiting, unless [`PATIENCE`] says otherwise. Ranks of equal work
/// are milliseconds apart; a launcher that checks its connections finds a broken one before.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(15);
const PATIENCE: &str = "CANDLEPOWER_MPI_TIMEOUT";
/// Seconds.
const SHORTEST_PATIENCE: f64 = 1e-3;
const LONGEST_PATIENCE: f64 = 1e6;

/// One process of several, each a rank.
pub struct Job {
    link: Rc<Link>,
}

impl Job {
    /// `told_to_end` ends the job from outside: rank 0's own, of the others a signal's. `tell` has the last word before
    /// the process is ended.
    ///
    /// # Errors
    /// The options do not fit the number of processes, or MPI cannot be used.
    pub fn join(
        launched: Launched,
        options: &EngineOptions,
        told_to_end: Arc<AtomicBool>,
        tell: fn(&str),
        progress: &dyn Progress,
    ) -> Result<Self, SessionError> {
        if options.tp != launched.size {
            return Err(Wish::Processes {
                tp: options.tp,
                processes: launched.size,
            }
            .into());
        }
        let cpus = pin::cpus().unwrap_or_default();
        let link = Link::join(
            launched.size,
            format!("{cpus:?}"),
            patience()?,
            told_to_end,
            tell,
        );
        let job = Self {
            link: Rc::new(link.map_err(|e| Wish::Launcher(e.to_string()))?),
        };
        if job.rank() == 0 && job.is_launcher_patient() {
            progress.remark(
                "note: mpirun needs minutes to see that another machine is out of reach; set OMPI_MCA_oob_tcp_keepalive_time and its kin (docs/ranks.md, \"Several machines\")",
            );
        }
        Ok(job)
    }

    /// Of this process.
    pub fn rank(&self) -> usize {
        self.link.rank()
    }

    /// Ranks of this machine.
    pub(super) fn ranks_here(&self) -> Vec<usize> {
        let own = &self.link.places()[self.rank()];
        self.ranks(|place| place.host == own.host)
    }

    /// Rank 0: loads it, and waits for the others to be loaded.
    pub(super) fn lead(
        &self,
        files: &ModelFiles,
        loading: Loading,
    ) -> Result<Loaded, SessionError> {
        let load = self.load(files, loading);
        let ranks = MpiRanks::load(load).map_err(SessionError::load)?;
        Ok(Loaded {
            threads: ranks.threads(),
            executor: Box::new(ranks),
        })
    }

    /// Another rank: does what rank 0 says until that ends. What fails here is told by rank 0, or ends
    /// the job.
    pub fn serve(&self, options: &EngineOptions) {
        let progress: Arc<dyn Progress> = Arc::new(Unwatched);
        let prepared = ModelFiles::find(options, progress.as_ref()).and_then(|files| {
            let ranks = self.ranks_here();
            let loading = Loading::prepare(&files, &telemetry::memory(), &ranks, &progress)?;
            Ok(self.load(&files, loading))
        });
        let load = match prepared {
            Ok(load) => load,
            Err(error) => mpi::decline(&self.link, &error.to_string()),
        };
        if let Err(error) = mpi::serve(load) {
            self.link.fail(&error.to_string());
        }
    }

    /// Once every rank is done.
    pub fn leave(&self) {
        self.link.leave();
    }

    /// Ends every process of the job.
    pub fn abort(&self, code: u8) -> ! {
        self.link.abort(code)
    }

    fn load(&self, files: &ModelFiles, loading: Loading) -> Load {
        let options = &files.options;
        let ranks_here = self.ranks_here().len();
        let elements = ranks_here * files.plan.kv_elements_per_token();
        Load {
            link: self.link.clone(),
            seat: self.seat(loading.threads, options.threads.is_some()),
            kv_bound: KvBound {
                memory: loading.room,
                elements_per_token: elements as u64,
            },
            identity: format!(
                "{} {} {:?} in {:?}, seed {}, {} rows, {} sequences",
                env!("CARGO_PKG_VERSION"),
                revision().unwrap_or_default(),
                files.spec,
                loading.weight_dtype,
                options.seed,
                options.tokens(),
                options.seqs()
            ),
            build: loading.build,
        }
    }

    /// This rank's part of `threads`: those of the machine where they were `asked` for, else one for
    /// each CPU that this rank may use. A launcher that binds gives each rank CPUs of its own.
    fn seat(&self, threads: Threads, asked: bool) -> Seat {
        let own = &self.link.places()[self.rank()];
        let sharers = self.ranks(|place| place == own);
        let index = sharers.iter().position(|rank| *rank == self.rank());
        let count = match asked {
            true => threads.count * sharers.len() / self.ranks_here().len(),
            false => threads.count,
        };
        Threads { count, ..threads }.seat(index.unwrap_or(0), sharers.len())
    }

    fn ranks(&self, is_in: impl Fn(&Place) -> bool) -> Vec<usize> {
        let places = self.link.places().iter().enumerate();
        let chosen = places.filter(|(_, place)| is_in(place));
        chosen.map(|(rank, _)| rank).collect()
    }

    /// Whether Open MPI over several machines keeps its default of minutes.
    fn is_launcher_patient(&self) -> bool {
        self.ranks_here().len() < self.link.size()
            && env::var_os("OMPI_COMM_WORLD_SIZE").is_some()
            && env::var_os("OMPI_MCA_oob_tcp_keepalive_time").is_none()
    }
}

/// How long a rank may keep the others waiting.
fn patience() -> Result<Duration, Wish> {
    let Ok(text) = env::var(PATIENCE) else {
        return Ok(DEFAULT_PATIENCE);
    };
    let seconds = text.trim().parse().ok();
    let seconds = seconds.filter(|s| (SHORTEST_PATIENCE..=LONGEST_PATIENCE).contains(s));
    match seconds {
        Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
        None => Err(Wish::Variable {
            name: PATIENCE,
            value: text,
            rule: format!(
                "it must be a number of seconds from {SHORTEST_PATIENCE} to {LONGEST_PATIENCE}"
            ),
        }),
    }
}
