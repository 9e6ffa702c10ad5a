//! The GPUs of this machine, as CUDA shows them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

use super::error::{SessionError, Wish};
use super::launch::launched;
use super::options::EngineOptions;
use crate::ground::GpuIdentity;
use crate::ground::results::{AllReduce as AllReduceTimes, Environment, GpuInfo, GpuLink};
use crate::ops::cpu::rendezvous::Rendezvous;
use crate::ops::cuda::Gpu;
use crate::ops::cuda::exchange::MOST_RANKS;
use crate::parallel::gpus::Link;
use crate::parallel::{AllReduce, LARGEST, Threads, nccl};
use crate::telemetry::{cards, nvml};

const NCCL: &str = "NCCL_";

/// Cargo features that a result names.
pub const FEATURES: &[&str] = match cfg!(feature = "nccl") {
    true => &["cuda", "nccl"],
    false => &["cuda"],
};

/// What keeps `--device cuda` from working, and what would help.
pub fn missing() -> Option<(&'static str, &'static str)> {
    match Gpu::count() {
        Ok(0) => Some((
            "a GPU",
            "the CUDA driver shows none: see CUDA_VISIBLE_DEVICES",
        )),
        Ok(_) => None,
        Err(_) => Some(("a working CUDA driver", "check nvidia-smi")),
    }
}

/// Of the GPUs, by CUDA; `None`: it does not start.
pub fn names() -> Option<Vec<String>> {
    let count = Gpu::count().ok()?;
    Some(identities(count).map(|gpu| gpu.name).collect())
}

/// The GPUs that CUDA shows, as they stood at the first question of the process.
pub fn cards() -> &'static [GpuInfo] {
    static CARDS: OnceLock<Vec<GpuInfo>> = OnceLock::new();
    let read = || visible().iter().map(cards::read).collect();
    CARDS.get_or_init(read)
}

/// What lies between them.
pub fn links() -> Vec<GpuLink> {
    let both = |one, other| {
        candle_core::Result::Ok(Gpu::reaches(one, other)? && Gpu::reaches(other, one)?)
    };
    cards::links(&visible(), |one, other| {
        both(one, other).map_err(|e| e.to_string())
    })
}

/// Variables of the environment that change what NCCL does.
pub fn nccl_variables() -> BTreeMap<String, String> {
    let all = std::env::vars_os().map(|(name, value)| {
        let text = |os: OsString| os.to_string_lossy().into_owned();
        (text(name), text(value))
    });
    all.filter(|(name, _)| name.starts_with(NCCL)).collect()
}

/// Those that this process may use.
pub fn visible() -> Vec<GpuIdentity> {
    identities(Gpu::count().unwrap_or(0)).collect()
}

/// Of the first `count` GPUs, those that tell.
fn identities(count: usize) -> impl Iterator<Item = GpuIdentity> {
    (0..count).filter_map(|index| Gpu::identify(index).ok())
}

/// Whether every GPU reaches every other's memory; `None`: there are not two.
pub fn peer_access() -> Option<bool> {
    Gpu::peer_access(Gpu::count().ok()?).ok().flatten()
}

/// How long all GPUs of this machine take to add up, by each way and message size. `None`: there are not two.
///
/// # Errors
/// They do not get that far, and why.
pub fn all_reduce() -> Option<Result<AllReduceTimes, String>> {
    let gpus = Gpu::count().ok().filter(|&gpus| gpus > 1)?;
    Some(measured(gpus).map_err(|e| e.to_string()))
}

fn measured(gpus: usize) -> candle_core::Result<AllReduceTimes> {
    let link = Link::new(gpus, AllReduce::Auto, LARGEST)?;
    let meeting = Arc::new(Rendezvous::new(gpus, false));
    let join = |rank| {
        let host = Threads::new(rank, meeting.clone());
        link.join(Box::new(host), Gpu::open(rank)).map(drop)
    };
    let joined: candle_core::Result<()> = std::thread::scope(|scope| {
        let join = &join;
        let ranks: Vec<_> = (0..gpus)
            .map(|rank| scope.spawn(move || join(rank)))
            .collect();
        let ended = |_| Err(candle_core::Error::Msg("a rank ended".to_owned()));
        let outcomes = ranks
            .into_iter()
            .map(|rank| rank.join().unwrap_or_else(ended));
        outcomes.collect::<Vec<_>>().into_iter().collect()
    });
    joined?;
    let no_rank = || candle_core::Error::Msg("no rank has joined".to_owned());
    link.ways().ok_or_else(no_rank)
}

/// Says which GPUs there are, and what drives them.
pub fn describe(environment: &mut Environment) {
    environment.gpus = cards().to_vec();
    environment.gpu_links = links();
    environment.nccl_variables = nccl_variables();
    environment.driver = driver();
    environment.cuda = nvml::cuda_version();
    environment.nccl = nccl::version();
}

/// Whether a GPU answers.
pub fn is_usable() -> bool {
    Gpu::count().is_ok_and(|gpus| gpus > 0)
}

/// Of the GPUs' driver.
pub fn driver() -> Option<String> {
    nvml::driver_version()
}

/// Of all [`cards`], these.
pub fn described(gpus: &[GpuIdentity]) -> Vec<GpuInfo> {
    let is_one = |card: &&GpuInfo| gpus.iter().any(|gpu| gpu.index == card.index);
    cards().iter().filter(is_one).cloned().collect()
}

/// That there is a GPU for each rank of this process, and a way between all ranks.
///
/// # Errors
/// One is missing.
pub(super) fn check(options: &EngineOptions) -> Result<(), SessionError> {
    let processes = launched().map_or(1, |launched| launched.size);
    let (tp, here) = (options.tp, (options.tp / processes).max(1));
    let refused = |words: String| Err(Wish::Cuda(words).into());
    let gpus = match Gpu::count() {
        Ok(gpus) => gpus,
        Err(e) => {
            return refused(format!(
                "--device cuda: the CUDA driver does not start ({e}); check nvidia-smi, or use --device cpu"
            ));
        }
    };
    if gpus < here {
        let among = match processes {
            1 => "as many GPUs".to_owned(),
            _ => format!("{here} GPUs in each of {processes} processes"),
        };
        return refused(format!(
            "--tp {tp} needs {among}, and the CUDA driver shows {gpus}; lower --tp, or see CUDA_VISIBLE_DEVICES"
        ));
    }
    // What a part of a card does is no measure of the card, whose limits, power and energy NVML tells as a whole.
    if let Some(card) = cards().iter().take(tp).find(|card| card.mig == Some(true)) {
        return refused(format!(
            "--device cuda: GPU {} ({} at {}) has MIG on, and only whole cards are measured; turn it off with nvidia-smi -i {} -mig 0, or use --device cpu",
            card.index, card.name, card.pci_bus_id, card.pci_bus_id
        ));
    }
    match options.all_reduce {
        AllReduce::Host | AllReduce::P2p if processes > 1 => {
            return refused(format!(
                "--all-reduce {}: own kernels add up over the GPUs of one process, and {processes} processes were started; use --all-reduce nccl or auto",
                options.all_reduce
            ));
        }
        AllReduce::Auto if processes > 1 && !nccl::IS_BUILT => {
            return refused(
                "--device cuda: GPUs of several processes add up by NCCL, and this build has none; build it with --features nccl, or start one process"
                    .to_owned(),
            );
        }
        _ => {}
    }
    match options.all_reduce {
        AllReduce::Nccl if tp > 1 && !nccl::IS_BUILT => refused(
            "--all-reduce nccl needs a build with NCCL, and this one has none; build it with --features nccl, or use --all-reduce host"
                .to_owned(),
        ),
        AllReduce::P2p if tp > 1 && Gpu::peer_access(tp).ok().flatten() != Some(true) => refused(
            format!(
                "--all-reduce p2p: the first {tp} GPUs do not all reach each other's memory; use --all-reduce host, nccl or auto"
            ),
        ),
        AllReduce::Host | AllReduce::P2p if tp > MOST_RANKS => refused(format!(
            "--all-reduce {}: own kernels add up over {MOST_RANKS} GPUs at most, and --tp is {tp}; use --all-reduce nccl",
            options.all_reduce
        )),
        _ => Ok(()),
    }
}
