//! Ranks on GPUs: tensors are added up on each rank's stream, by NCCL or, in one process, by own kernels; words are
//! exchanged by the threads that run them.

mod measure;
mod others;

use std::cell::Cell;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use candle_core::{Result, bail};

use super::nccl::{self, Nccl};
use super::{AllReduce, Collective, Failed, Way, Ways};
use crate::ground::recorder::Traffic;
use crate::ground::{Progress, Unwatched};
use crate::ops::cuda::exchange::{CHANNEL_BYTES, Exchange, Inboxes, MOST_RANKS, Route, Shots};
use crate::ops::cuda::{Gpu, Watch};
use crate::ops::{Buffer, Norm};

use others::Others;

/// How ranks on GPUs find each other, and what they share.
pub struct Link {
    asked: AllReduce,
    /// Bytes of the largest message.
    largest: u64,
    /// `None`: there is one rank, or NCCL is not used.
    nccl: Option<nccl::Meeting>,
    host: Option<Arc<Inboxes>>,
    peers: Option<Arc<Inboxes>>,
    /// Known once ranks have joined.
    ways: OnceLock<Ways>,
    /// How long a GPU is waited for at a time, and who may end it before.
    limit: Duration,
    progress: Arc<dyn Progress>,
}

impl Link {
    /// Between `ranks`, all of this process, that add up as `asked`, messages of up to `largest` bytes.
    ///
    /// # Errors
    /// What is asked for cannot be had here, or NCCL does not start.
    pub fn new(ranks: usize, asked: AllReduce, largest: u64) -> Result<Self> {
        Self::of_part(0..ranks, ranks, asked, largest)
    }

    /// Of the ranks `here` among all `ranks`. What other processes have part in is NCCL's alone: own kernels push into
    /// memory of one process.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_part(
        here: Range<usize>,
        ranks: usize,
        asked: AllReduce,
        largest: u64,
    ) -> Result<Self> {
        let several = ranks > 1;
        let is_whole = here.len() == ranks;
        let is_asked = |one| several && asked.allows(one);
        let inboxes = |route| {
            let inboxes = Inboxes::new(ranks, route, CHANNEL_BYTES);
            Result::Ok(Some(Arc::new(inboxes?)))
        };
        let mut link = Self {
            asked,
            largest,
            nccl: None,
            host: None,
            peers: None,
            ways: OnceLock::new(),
            limit: Duration::MAX,
            progress: Arc::new(Unwatched),
        };
        if is_asked(AllReduce::Nccl) && (nccl::IS_BUILT || asked == AllReduce::Nccl) {
            link.nccl = Some(match here.start {
                0 => nccl::Meeting::new()?,
                _ => nccl::Meeting::elsewhere(),
            });
        }
        if is_whole
            && is_asked(AllReduce::Host)
            && (ranks <= MOST_RANKS || asked == AllReduce::Host)
        {
            link.host = inboxes(Route::Host)?;
        }
        let reaches = match asked {
            AllReduce::P2p => several && is_whole,
            AllReduce::Auto => link.host.is_some() && Gpu::peer_access(ranks)? == Some(true),
            AllReduce::Nccl | AllReduce::Host => false,
        };
        if reaches {
            link.peers = inboxes(Route::Peers)?;
        }
        Ok(link)
    }

    /// With an end for each wait for a GPU, in place of none: after `limit`, or when `progress` says stop.
    #[must_use]
    pub fn with_limit(self, limit: Duration, progress: Arc<dyn Progress>) -> Self {
        Self {
            limit,
            progress,
            ..self
        }
    }

    /// The rank's GPU, and its view of its peers on it. All ranks call this at once, each on its own thread.
    ///
    /// # Errors
    /// A rank could not open its GPU, has no memory for what is shared, or NCCL refuses.
    pub fn join(
        &self,
        host: Box<dyn Collective>,
        gpu: Result<Gpu>,
    ) -> Result<(Gpu, Box<dyn Collective>)> {
        if host.size() == 1 {
            let gpu = gpu?;
            self.watch(&gpu, Others::default())?;
            return Ok((gpu, host));
        }
        let (rank, size) = (host.rank(), host.size());
        let gpu = agreed(host.as_ref(), gpu, "could not open its GPU")?;
        let routes = [&self.host, &self.peers];
        let shared = || routes.into_iter().flatten();
        let opened = shared().try_for_each(|inboxes| inboxes.open(&gpu, rank));
        agreed(host.as_ref(), opened, "has no memory to exchange")?;
        let nccl = self.nccl.as_ref();
        let nccl = nccl.map(|meeting| {
            let meeting = meeting.of_first(host.as_ref())?;
            meeting.join(&gpu, rank, size, self.failed(host.as_ref()))
        });
        let nccl = nccl.transpose()?.map(Arc::new);
        let others = Others {
            failed: Some(host.failed()),
            nccl: nccl.as_ref().map(Arc::downgrade),
            inboxes: shared().map(Arc::downgrade).collect(),
        };
        self.watch(&gpu, others)?;
        let join = |inboxes: &Option<Arc<Inboxes>>| {
            let exchange = inboxes.clone();
            let exchange = exchange.map(|inboxes| Exchange::join(&gpu, rank, inboxes));
            exchange.transpose()
        };
        let joined = join(&self.host).and_then(|host| Ok((host, join(&self.peers)?)));
        let (by_host, by_peers) = agreed(host.as_ref(), joined, "could not join the exchange")?;
        let candidates = Way::candidates(nccl.is_some(), by_host.is_some(), by_peers.is_some());
        let mut gpus = Gpus {
            host,
            gpu: gpu.clone(),
            nccl,
            by_host,
            by_peers,
            ways: Ways::new(Vec::new()),
            traffic: Cell::default(),
        };
        gpus.ways = measure::measure(&gpus, &gpu, candidates, self.largest)?;
        gpus.take_traffic();
        self.ways.get_or_init(|| gpus.ways.clone());
        Ok((gpu, Box::new(gpus)))
    }

    fn watch(&self, gpu: &Gpu, others: Others) -> Result<()> {
        let (others, progress) = (Box::new(others), self.progress.clone());
        gpu.watch(Watch::new(gpu.stream(), others, progress, self.limit)?);
        Ok(())
    }

    /// Why nobody is to wait for other ranks in what NCCL does at once.
    fn failed(&self, host: &dyn Collective) -> Failed {
        let (failed, progress) = (host.failed(), self.progress.clone());
        let stopped = move || {
            progress
                .is_stopped()
                .then(|| "it was told to stop".to_owned())
        };
        Arc::new(move || failed().or_else(&stopped))
    }

    /// What each way took, and which are chosen, once ranks have joined; `None`: there is one rank.
    pub fn ways(&self) -> Option<crate::ground::results::AllReduce> {
        self.ways.get().map(|ways| ways.told(self.asked))
    }
}

/// What this rank has made, if all have: none waits for one that has not.
fn agreed<T>(host: &dyn Collective, made: Result<T>, what: &str) -> Result<T> {
    let mut all = Vec::new();
    host.all_gather(&[u32::from(made.is_ok())], &mut all)?;
    let made = made?;
    match all.iter().position(|&is_made| is_made == 0) {
        Some(rank) => bail!("rank {rank} {what}"),
        None => Ok(made),
    }
}

/// One rank's view of its peers.
struct Gpus {
    host: Box<dyn Collective>,
    gpu: Gpu,
    nccl: Option<Arc<Nccl>>,
    by_host: Option<Exchange>,
    by_peers: Option<Exchange>,
    ways: Ways,
    traffic: Cell<Traffic>,
}

impl Gpus {
    fn by(&self, way: Way, x: &Buffer, rows: usize) -> Result<()> {
        match (way, &self.nccl, &self.by_host, &self.by_peers) {
            (Way::Nccl, Some(nccl), ..) => nccl.all_reduce(x, rows * x.dim(1)?),
            (Way::HostOneShot, _, Some(host), _) => host.all_reduce(x, rows, Shots::One),
            (Way::HostTwoShot, _, Some(host), _) => host.all_reduce(x, rows, Shots::Two),
            (Way::HostCopies, _, Some(host), _) => host.all_reduce_staged(x, rows),
            (Way::P2pOneShot, .., Some(peers)) => peers.all_reduce(x, rows, Shots::One),
            (Way::P2pTwoShot, .., Some(peers)) => peers.all_reduce(x, rows, Shots::Two),
            _ => bail!("ranks did not join to add up by {}", way.name()),
        }
    }

    /// Who adds up `rows` rows of `delta` and normalises at once: whoever would add them up in one shot.
    fn norming(&self, delta: &Buffer, rows: usize) -> Result<Option<&Exchange>> {
        let exchange = match self.ways.of(bytes_of(delta, rows)?) {
            Some(Way::HostOneShot) => self.by_host.as_ref(),
            Some(Way::P2pOneShot) => self.by_peers.as_ref(),
            _ => None,
        };
        let takes = exchange.map_or(Ok(false), |exchange| exchange.norms(delta))?;
        Ok(exchange.filter(|_| takes))
    }

    /// Queued on the rank's stream. Nobody waits here, so that nothing is known of its time.
    fn counted(&self, bytes: u64, queue: impl FnOnce() -> Result<()>) -> Result<()> {
        queue()?;
        let mut traffic = self.traffic.get();
        traffic += Traffic {
            bytes,
            time: Duration::ZERO,
            wait: None,
        };
        self.traffic.set(traffic);
        Ok(())
    }
}

/// Of the first `rows` rows.
fn bytes_of(x: &Buffer, rows: usize) -> Result<u64> {
    Ok((rows * x.dim(1)? * x.dtype().size_in_bytes()) as u64)
}

impl Collective for Gpus {
    fn rank(&self) -> usize {
        self.host.rank()
    }

    fn size(&self) -> usize {
        self.host.size()
    }

    fn all_reduce(&self, x: &Buffer, rows: usize) -> Result<()> {
        let bytes = bytes_of(x, rows)?;
        self.gpu.keep_up()?;
        self.counted(bytes, || match self.ways.of(bytes) {
            Some(way) => self.by(way, x, rows),
            None => bail!("there is no way to add up over {} GPUs", self.size()),
        })
    }

    fn norms(&self, delta: &Buffer, rows: usize) -> Result<bool> {
        Ok(self.norming(delta, rows)?.is_some())
    }

    fn all_reduce_norm(
        &self,
        delta: &Buffer,
        x: &Buffer,
        norm: &Norm,
        rows: usize,
        out: &Buffer,
    ) -> Result<()> {
        self.gpu.keep_up()?;
        let Some(exchange) = self.norming(delta, rows)? else {
            bail!(
                "{rows} rows of {:?} are not added up in one shot",
                delta.dims()
            );
        };
        self.counted(bytes_of(delta, rows)?, || {
            exchange.all_reduce_norm(delta, x, norm, rows, out)
        })
    }

    /// By own kernels where there are any: a few keys are a small message.
    fn agree(&self, keys: &Buffer, count: usize) -> Result<()> {
        let bytes = (count * size_of::<u64>()) as u64;
        let ways = (&self.by_peers, &self.by_host, &self.nccl);
        self.counted(bytes, || match ways {
            (Some(exchange), ..) | (None, Some(exchange), _) => exchange.agree(keys, count),
            (.., Some(nccl)) => nccl.all_reduce(keys, count),
            _ => bail!("there is no way to compare over {} GPUs", self.size()),
        })
    }

    fn all_gather(&self, mine: &[u32], all: &mut Vec<u32>) -> Result<()> {
        self.host.all_gather(mine, all)
    }

    fn take_traffic(&self) -> Traffic {
        let mut traffic = self.traffic.take();
        traffic += self.host.take_traffic();
        traffic
    }
}
