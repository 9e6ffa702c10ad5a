//! A build without CUDA: there is no GPU for it.

use anyhow::anyhow;

use super::common::CommonArgs;
use super::failure::Failure;
use super::model_files::ModelFiles;
use super::session::Session;

/// Whether CUDA is there for the asking.
pub fn is_usable() -> bool {
    false
}

/// Why `--device cuda` cannot be had.
pub fn check(_args: &CommonArgs) -> anyhow::Result<()> {
    Err(anyhow!(
        "--device cuda needs a build with CUDA, and this one has none; build it with --features cuda, or use --device cpu or sim:<gpu>"
    ))
}

pub fn start(
    args: &CommonArgs,
    _files: &ModelFiles,
    _max_model_len: usize,
) -> Result<Session, Failure> {
    Err(Failure::Usage(check(args).err().unwrap_or_else(|| {
        anyhow!("this build has no CUDA; use --device cpu")
    })))
}
