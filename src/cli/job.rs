//! This process as one of an MPI job: rank 0 runs the command, the others serve it.

use std::env;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::common::CommonArgs;
use super::doctor::revision;
use super::failure::Failure;
use super::launch::Launched;
use super::loading::{Loaded, Loading};
use super::model_files::ModelFiles;
use super::{interrupt, output, values};
use crate::exec::mpi::{self, Load, MpiRanks};
use crate::exec::{KvBound, Seat, Threads};
use crate::ops::cpu::pin;
use crate::parallel::mpi::{Link, Place};
use crate::telemetry;

/// Cargo features that a result names.
pub const FEATURES: &[&str] = &["mpi"];

/// How long a rank may keep the others waiting, unless [`PATIENCE`] says otherwise. Ranks of equal work
/// are milliseconds apart; a launcher that checks its connections finds a broken one before.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(15);
const PATIENCE: &str = "CANDLEPOWER_MPI_TIMEOUT";

pub struct Job {
    link: Rc<Link>,
}

impl Job {
    /// # Errors
    /// The flags do not fit the number of processes, or MPI cannot be used.
    pub fn join(launched: Launched, args: &CommonArgs) -> Result<Self, Failure> {
        if args.tp != launched.size {
            return Err(Failure::Usage(anyhow!(
                "--tp {}: {} processes were started, and each is one rank; use --tp {}",
                args.tp,
                launched.size,
                launched.size
            )));
        }
        let patience = match env::var(PATIENCE) {
            Err(_) => DEFAULT_PATIENCE,
            Ok(text) => values::seconds(&text)
                .map_err(|rule| anyhow!("{PATIENCE}={text}: {rule}"))
                .map_err(Failure::Usage)?,
        };
        let cpus = pin::cpus().unwrap_or_default();
        // Rank 0 decides when to stop, and has a signal handler of its own; of the others a second signal
        // ends the process.
        let told_to_end = match launched.rank {
            0 => Arc::default(),
            _ => interrupt::flag(true),
        };
        let tell = |line: &str| output::note(&format!("error: {line}"));
        let link = Link::join(
            launched.size,
            format!("{cpus:?}"),
            patience,
            told_to_end,
            tell,
        );
        let job = Self {
            link: Rc::new(link.map_err(Failure::usage)?),
        };
        if job.rank() == 0 && !args.output.quiet && job.is_launcher_patient() {
            output::note(
                "note: mpirun needs minutes to see that another machine is out of reach; set OMPI_MCA_oob_tcp_keepalive_time and its kin (README, \"Several machines\")",
            );
        }
        Ok(job)
    }

    pub fn rank(&self) -> usize {
        self.link.rank()
    }

    /// Ranks of this machine.
    pub fn ranks_here(&self) -> Vec<usize> {
        let own = &self.link.places()[self.rank()];
        self.ranks(|place| place.host == own.host)
    }

    /// Rank 0: loads it, and waits for the others to be loaded.
    pub fn lead(
        &self,
        args: &CommonArgs,
        files: &ModelFiles,
        loading: Loading,
    ) -> Result<Loaded, Failure> {
        let load = self.load(args, files, loading);
        let ranks = MpiRanks::load(load).map_err(Failure::load)?;
        Ok(Loaded {
            threads: ranks.threads(),
            executor: Box::new(ranks),
        })
    }

    /// Another rank: does what rank 0 says until that ends. What fails here is told by rank 0, or ends
    /// the job.
    pub fn serve(&self, args: &CommonArgs) {
        let mut args = args.clone();
        args.output.quiet = true;
        let prepared = ModelFiles::find(&args).and_then(|files| {
            let ranks = self.ranks_here();
            let loading = Loading::prepare(&args, &files, &telemetry::memory(), &ranks)?;
            Ok(self.load(&args, &files, loading))
        });
        let load = match prepared {
            Ok(load) => load,
            Err(failure) => mpi::decline(&self.link, &failure.to_string()),
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

    fn load(&self, args: &CommonArgs, files: &ModelFiles, loading: Loading) -> Load {
        let ranks_here = self.ranks_here().len();
        let elements = ranks_here * files.plan.kv_elements_per_token();
        Load {
            link: self.link.clone(),
            seat: self.seat(loading.threads, args.threads.is_some()),
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
                args.seed,
                args.max_num_batched_tokens,
                args.max_num_seqs
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
