//! `doctor`: what this machine offers, and what is missing for which command.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::common::OutputArgs;
use super::failure::Failure;
use super::output;
use crate::ground::results::{AllReduce, GpuInfo, GpuLink};
use crate::ground::revision;
use crate::hub::HubSettings;
use crate::ops::cpu::Cpu;
use crate::report::cards;
use crate::report::layout::wrapped;
use crate::session::{self, gpus};
use crate::telemetry::{drivers, machine, memory};

/// Where values begin.
const VALUES: usize = 13;
const GIB: f64 = (1u64 << 30) as f64;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  candlepower doctor\n  candlepower doctor --json")]
pub struct DoctorArgs {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Findings {
    version: &'static str,
    git: Option<&'static str>,
    os: String,
    cpu: String,
    cores: usize,
    cpu_features: Vec<&'static str>,
    /// Of activations in f32, and in bf16 (`--dtype bf16`).
    kernels: &'static str,
    bf16_kernels: &'static str,
    ram_gib: f64,
    available_gib: f64,
    gpus: Vec<String>,
    /// How they are set up. Empty: only a CUDA build can ask.
    cards: Vec<GpuInfo>,
    gpu_links: Vec<GpuLink>,
    nccl_variables: BTreeMap<String, String>,
    /// Null: no NVIDIA driver is loaded.
    driver: Option<String>,
    /// Null: only a CUDA build can ask the cards.
    p2p: Option<bool>,
    /// What adding up over all GPUs takes. Null: only a CUDA build with two of them can try, or it failed.
    all_reduce: Option<AllReduce>,
    #[serde(skip_serializing_if = "Option::is_none")]
    all_reduce_failed: Option<String>,
    /// Null: the library is in none of the usual places.
    nccl: Option<String>,
    /// Null: no `mpirun` on the path.
    mpi: Option<String>,
    hf_cache: String,
    hf_cached_models: usize,
    hf_endpoint: String,
    hf_token: bool,
    hf_offline: bool,
    missing: Vec<Missing>,
}

/// What a command would need and this build or machine lacks.
#[derive(Serialize)]
struct Missing {
    what: &'static str,
    needed_for: &'static str,
    way_out: &'static str,
}

pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let findings = look();
    if args.output.json {
        return output::json(&findings);
    }
    let lines = page(&findings);
    let lines = lines
        .lines()
        .map(|line| wrapped(line, 0, VALUES, output::width()));
    output::result(&lines.collect::<String>())
}

fn look() -> Findings {
    let (machine, memory) = (machine(), memory());
    let hub = HubSettings::from_env();
    let features = cpu_features();
    let missing_here = |what, needed_for, way_out| Missing {
        what,
        needed_for,
        way_out,
    };
    let cuda = gpus::missing();
    let cuda = cuda.map(|(what, way_out)| missing_here(what, "--device cuda", way_out));
    let mut missing: Vec<Missing> = cuda.into_iter().collect();
    if !session::features().any(|feature| feature == "mpi") {
        missing.push(missing_here(
            "MPI",
            "ranks over several machines",
            "build with --features mpi; --tp runs ranks as threads",
        ));
    }
    if !fast(&features) {
        missing.push(Missing {
            what: "AVX2 and FMA",
            needed_for: "the fast CPU kernels",
            way_out: "the portable ones run, several times slower",
        });
    }
    // Before anything is opened: this process would be one of those on the cards.
    let cards = gpus::cards().to_vec();
    let (all_reduce, all_reduce_failed) = match gpus::all_reduce() {
        None => (None, None),
        Some(Ok(times)) => (Some(times), None),
        Some(Err(reason)) => (None, Some(reason)),
    };
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        git: revision(),
        os: machine.os.clone(),
        cpu: machine.cpu.clone(),
        cores: machine.cores,
        kernels: Cpu::F32.kernels(),
        bf16_kernels: Cpu::BF16.kernels(),
        cpu_features: features,
        ram_gib: memory.total as f64 / GIB,
        available_gib: memory.available as f64 / GIB,
        gpus: gpus::names().unwrap_or_else(drivers::nvidia_gpus),
        cards,
        gpu_links: gpus::links(),
        nccl_variables: gpus::nccl_variables(),
        driver: drivers::nvidia_driver(),
        p2p: gpus::peer_access(),
        all_reduce,
        all_reduce_failed,
        nccl: drivers::nccl().map(|file| file.display().to_string()),
        mpi: drivers::mpi(),
        hf_cached_models: cached_models(&hub),
        hf_cache: hub.cache.display().to_string(),
        hf_endpoint: hub.shown_endpoint(),
        hf_token: hub.token.is_some(),
        hf_offline: hub.offline,
        missing,
    }
}

fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("f16c", is_x86_feature_detected!("f16c")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bw", is_x86_feature_detected!("avx512bw")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ];
        let found = features.into_iter().filter(|(_, there)| *there);
        found.map(|(name, _)| name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        Vec::new()
    }
}

fn fast(features: &[&str]) -> bool {
    ["avx2", "fma", "f16c"].iter().all(|f| features.contains(f))
}

fn cached_models(hub: &HubSettings) -> usize {
    let Ok(entries) = std::fs::read_dir(&hub.cache) else {
        return 0;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let models = names.filter(|name| name.to_string_lossy().starts_with("models--"));
    models.count()
}

fn page(f: &Findings) -> String {
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let gpus = match f.gpus.is_empty() {
        true => "none".to_owned(),
        false => f.gpus.join(", "),
    };
    let p2p = match f.p2p {
        Some(true) => "every GPU reaches every other's memory",
        Some(false) => "not between all GPUs: they meet in the host's memory",
        None if f.gpus.len() < 2 => "no two GPUs",
        None => "not known: only a CUDA build can ask the cards",
    };
    let all_reduce = match (&f.all_reduce, &f.all_reduce_failed) {
        (Some(times), _) => fastest(times),
        (None, Some(reason)) => format!("not measured: {reason}"),
        (None, None) => "not measured: it takes a CUDA build and two GPUs".to_owned(),
    };
    let set_up = set_up(f);
    let or = |found: &Option<String>, none: &str| found.clone().unwrap_or_else(|| none.to_owned());
    let mut text = format!(
        "candlepower  {} {}\n\
         os           {}\n\
         cpu          {}, {} cores, {}\n\
         kernels      {}; with --dtype bf16 {}\n\
         memory       {:.1} GiB, {:.1} available\n\
         gpus         {gpus}\n\
         {set_up}\
         driver       {}\n\
         p2p          {p2p}\n\
         all-reduce   {all_reduce}\n\
         nccl         {}\n\
         mpi          {}\n\
         hf cache     {} ({} models)\n\
         hf endpoint  {}, token set: {}, offline: {}\n",
        f.version,
        f.git.unwrap_or(""),
        f.os,
        f.cpu,
        f.cores,
        f.cpu_features.join(" "),
        f.kernels,
        f.bf16_kernels,
        f.ram_gib,
        f.available_gib,
        or(&f.driver, "none"),
        or(&f.nccl, "not found"),
        or(&f.mpi, "no mpirun on the path"),
        f.hf_cache,
        f.hf_cached_models,
        f.hf_endpoint,
        yes_no(f.hf_token),
        yes_no(f.hf_offline),
    );
    for missing in &f.missing {
        text += &format!(
            "missing      {} for {}: {}\n",
            missing.what, missing.needed_for, missing.way_out
        );
    }
    text
}

/// Cards, what lies between them, and what NCCL is told: a line each.
fn set_up(f: &Findings) -> String {
    let cards = f.cards.iter().map(|card| ("card", cards::card(card)));
    let links = cards::links(&f.gpu_links).into_iter();
    let links = links.map(|link| ("link", link));
    let variables = f.nccl_variables.iter();
    let variables = variables.map(|(name, value)| ("nccl env", format!("{name}={value}")));
    let lines = cards.chain(links).chain(variables);
    lines
        .map(|(what, text)| format!("{what:VALUES$}{text}\n"))
        .collect()
}

/// The fastest way of each range of sizes, with its time at the range's end.
fn fastest(times: &AllReduce) -> String {
    let mut ranges: Vec<String> = Vec::new();
    let sizes = &times.sizes;
    for (index, size) in sizes.iter().enumerate() {
        if sizes
            .get(index + 1)
            .is_some_and(|next| next.way == size.way)
        {
            continue;
        }
        let us = size.us.get(&size.way).copied().unwrap_or(0.0);
        let kib = size.bytes >> 10;
        ranges.push(format!("{} to {kib} KiB ({us:.0} us)", size.way));
    }
    match ranges.is_empty() {
        true => times.ways.join(", "),
        false => ranges.join(", "),
    }
}
