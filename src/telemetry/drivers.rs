//! What can be learned of GPUs, their libraries and MPI without linking any of them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of the NVIDIA kernel driver, as its module reports it.
pub fn nvidia_driver() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.04  Tue Feb 25 ..."
    let numbers =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    text.split_whitespace().find(numbers).map(str::to_owned)
}

/// Names of the cards that the driver knows.
pub fn nvidia_gpus() -> Vec<String> {
    let Ok(cards) = std::fs::read_dir("/proc/driver/nvidia/gpus") else {
        return Vec::new();
    };
    let name = |dir: PathBuf| {
        let text = std::fs::read_to_string(dir.join("information")).ok()?;
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(model.trim().to_owned())
    };
    let mut names: Vec<String> = cards
        .flatten()
        .filter_map(|card| name(card.path()))
        .collect();
    names.sort();
    names
}

/// Where the NCCL library lies, of the places a loader looks in.
pub fn nccl() -> Option<PathBuf> {
    const PLACES: [&str; 4] = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/local/cuda/lib64",
    ];
    let asked = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let places = std::env::split_paths(&asked).chain(PLACES.iter().map(PathBuf::from));
    places
        .map(|place| place.join("libnccl.so.2"))
        .find(|file| file.is_file())
}

/// First line of `mpirun --version`.
pub fn mpi() -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let program = |dir: PathBuf| Some(dir.join("mpirun")).filter(|file| Path::is_file(file));
    let mpirun = std::env::split_paths(&path).find_map(program)?;
    let output = Command::new(mpirun).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}
