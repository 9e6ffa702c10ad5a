//! This process as one of an MPI job: rank 0 runs the command, the others serve it.

use std::env;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::device::Device;
use super::error::{SessionError, Wish};
use super::files::ModelFiles;
use super::launch::Launched;
use super::loading::{Following, Loaded, Loading};
use super::options::EngineOptions;
use super::watch::Watch;
use super::{cards, gpus, patience};
use crate::exec::mpi::{self, Load, MpiRanks};
use crate::exec::{ExecError, KvBound, Seat, Threads};
use crate::ground::{GpuIdentity, Progress, results, revision};
use crate::ops::cpu::pin;
use crate::parallel::mpi::{Link, Place};
use crate::telemetry::{GpuProbe, machine};

/// Cargo features that a result names.
pub const FEATURES: &[&str] = &["mpi"];

/// How long a rank may keep the others waiting, unless [`PATIENCE`] says otherwise. Ranks of equal work
/// are milliseconds apart; a launcher that checks its connections finds a broken one before.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(15);
const PATIENCE: &str = "CANDLEPOWER_MPI_TIMEOUT";

/// One process of several, each with as many ranks: with one on CPUs.
pub struct Job {
    link: Rc<Link>,
    ranks_each: usize,
    /// Of each process; or why there are too few.
    gpus: Result<Vec<Vec<GpuIdentity>>, String>,
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
        let ranks_each = options.tp / launched.size;
        let is_even = options.tp.is_multiple_of(launched.size);
        if !is_even || (ranks_each != 1 && Device::name(options) != "cuda") {
            return Err(Wish::Processes {
                tp: options.tp,
                processes: launched.size,
            }
            .into());
        }
        let cpus = pin::cpus().unwrap_or_default();
        let link = Link::join(
            (launched.size, ranks_each),
            format!("{cpus:?}"),
            patience::variable(PATIENCE)?.unwrap_or(DEFAULT_PATIENCE),
            told_to_end,
            tell,
        );
        let link = link.map_err(|e| Wish::Launcher(e.to_string()))?;
        let job = Self {
            gpus: gpus_of(&link, options, ranks_each),
            link: Rc::new(link),
            ranks_each,
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

    /// Ranks of this process.
    pub(super) fn ranks(&self) -> Range<usize> {
        self.ranks_of(self.rank())
    }

    /// Ranks of this machine.
    pub(super) fn ranks_here(&self) -> Vec<usize> {
        let own = &self.link.places()[self.rank()];
        let processes = self.processes(|place| place.host == own.host).into_iter();
        processes
            .flat_map(|process| self.ranks_of(process))
            .collect()
    }

    /// Of each process, one a rank; none where CPUs compute.
    ///
    /// # Errors
    /// There are too few.
    pub(super) fn gpus(&self) -> Result<&[Vec<GpuIdentity>], Wish> {
        let refused = |reason: &String| Wish::Cuda(format!("--device cuda: {reason}"));
        self.gpus.as_deref().map_err(refused)
    }

    /// Of this process.
    ///
    /// # Errors
    /// There are too few.
    pub(super) fn gpus_here(&self) -> Result<&[GpuIdentity], Wish> {
        Ok(&self.gpus()?[self.rank()])
    }

    /// The first process: loads its ranks, and waits for the others' to be loaded.
    pub(super) fn lead(
        &self,
        files: &ModelFiles,
        loading: Loading,
        probe: Option<Arc<dyn GpuProbe>>,
    ) -> Result<Loaded, ExecError> {
        let ranks = MpiRanks::load(self.load(files, loading, probe))?;
        Ok(Loaded {
            threads: ranks.threads(),
            processes: ranks.processes().to_vec(),
            executor: Box::new(ranks),
        })
    }

    /// Another process: does what the first one says until that ends. What fails here is told by that one, or ends
    /// the job.
    pub(super) fn follow(&self, prepared: Result<Following, SessionError>) {
        let load = match prepared {
            Ok((files, loading, probe)) => self.load(&files, loading, probe),
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

    fn load(&self, files: &ModelFiles, loading: Loading, probe: Option<Arc<dyn GpuProbe>>) -> Load {
        let options = &files.options;
        let elements = self.ranks_here().len() * files.plan.kv_elements_per_token();
        Load {
            link: self.link.clone(),
            seats: self.seats(loading.threads, options.threads.is_some()),
            kv_bound: KvBound {
                memory: loading.room,
                elements_per_token: elements as u64,
            },
            identity: format!(
                "{} {} {:?} in {:?} as {:?}, seed {}, {} rows, {} sequences, sums by {}",
                env!("CARGO_PKG_VERSION"),
                revision().unwrap_or_default(),
                files.model,
                loading.weight_dtype,
                options.dtype,
                options.seed,
                options.tokens(),
                options.seqs(),
                options.all_reduce,
            ),
            process: self.about(),
            watcher: Box::new(Watch::new(probe)),
            build: loading.build,
        }
    }

    /// This process, for a result.
    fn about(&self) -> results::Process {
        let machine = machine();
        let gpus = self.gpus_here().unwrap_or_default();
        results::Process {
            host: self.link.places()[self.rank()].host.clone(),
            ranks: self.ranks().collect(),
            os: machine.os.clone(),
            cpu: machine.cpu.clone(),
            cores: machine.cores,
            ram_gib: machine.ram_gib,
            driver: gpus::driver().filter(|_| !gpus.is_empty()),
            gpus: gpus::described(gpus),
        }
    }

    /// This process's part of `threads`, for each of its ranks: those of the machine where they were `asked` for, else
    /// one for each CPU that it may use. A launcher that binds gives each process CPUs of its own.
    fn seats(&self, threads: Threads, asked: bool) -> Vec<Seat> {
        let own = &self.link.places()[self.rank()];
        let sharers = self.processes(|place| place == own);
        let index = sharers.iter().position(|process| *process == self.rank());
        let ranks = sharers.len() * self.ranks_each;
        let count = match asked {
            true => threads.count * ranks / self.ranks_here().len(),
            false => threads.count,
        };
        let first = index.unwrap_or(0) * self.ranks_each;
        let seat = |rank| Threads { count, ..threads }.seat(rank, ranks);
        (first..first + self.ranks_each).map(seat).collect()
    }

    fn ranks_of(&self, process: usize) -> Range<usize> {
        let first = self.link.first_rank(process);
        first..first + self.ranks_each
    }

    fn processes(&self, is_in: impl Fn(&Place) -> bool) -> Vec<usize> {
        let places = self.link.places().iter().enumerate();
        let chosen = places.filter(|(_, place)| is_in(place));
        chosen.map(|(process, _)| process).collect()
    }

    /// Whether Open MPI over several machines keeps its default of minutes.
    fn is_launcher_patient(&self) -> bool {
        self.ranks_here().len() < self.link.size() * self.ranks_each
            && env::var_os("OMPI_COMM_WORLD_SIZE").is_some()
            && env::var_os("OMPI_MCA_oob_tcp_keepalive_time").is_none()
    }
}

/// What each process takes of the GPUs that it sees.
fn gpus_of(
    link: &Link,
    options: &EngineOptions,
    ranks_each: usize,
) -> Result<Vec<Vec<GpuIdentity>>, String> {
    let is_cuda = Device::name(options) == "cuda";
    let visible = if is_cuda { gpus::visible() } else { Vec::new() };
    let own = serde_json::to_string(&visible).map_err(|e| e.to_string())?;
    let places = link.places().iter().map(|place| place.host.as_str());
    let seen = places.zip(link.gather_texts(&own));
    let seen = seen.map(|(host, text)| Ok((host, serde_json::from_str(&text)?)));
    let seen: Result<Vec<_>, serde_json::Error> = seen.collect();
    match is_cuda {
        true => cards::assign(&seen.map_err(|e| e.to_string())?, ranks_each),
        false => Ok(vec![Vec::new(); link.size()]),
    }
}
