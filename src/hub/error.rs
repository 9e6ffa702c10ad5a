//! Why a model's files could not be found or fetched.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Each message is one sentence that names the file or model and the way out. None contains the access token.
#[derive(Debug, Error)]
pub enum HubError {
    #[error(
        "model `{model}` is not a directory, the path of a config.json, the name of a card or a hub id (org/name): \
         the closest cards are {closest}, and `candlepower models` lists all"
    )]
    Unknown { model: String, closest: String },

    #[error(
        "model `{path}` is a file but not a config.json: give the directory it lies in, or a .json file with the model's configuration"
    )]
    NotAConfig { path: PathBuf },

    #[error(
        "hub id `{id}` is malformed: write org/name or org/name@revision, with letters, digits, `-`, `_` and `.`"
    )]
    BadId { id: String },

    #[error(
        "model directory {dir} has no config.json: point --model at a Hugging Face model directory"
    )]
    NoConfig { dir: PathBuf },

    #[error(
        "model directory {dir} has neither model.safetensors.index.json nor model.safetensors: add the weights, or pass --dummy-weights"
    )]
    NoWeights { dir: PathBuf },

    #[error(
        "{index} names the shard `{shard}`, which is not there: fetch it, or pass --dummy-weights"
    )]
    MissingShard { index: PathBuf, shard: String },

    #[error(
        "{index} points outside its directory with the shard name `{shard}`: refuse this checkpoint, or correct the index"
    )]
    ShardOutside { index: PathBuf, shard: String },

    #[error("{index} is not a safetensors index ({reason}): fetch it again")]
    BadIndex { index: PathBuf, reason: String },

    #[error("{path} could not be {action}: {source}")]
    File {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },

    #[error(
        "{repo} is not complete in the cache {cache} ({missing} is missing) and HF_HUB_OFFLINE forbids to download it: unset HF_HUB_OFFLINE, or point HF_HOME at a cache that holds it"
    )]
    Offline {
        repo: String,
        missing: String,
        cache: PathBuf,
    },

    #[error(
        "{file} was not found in {repo} at {endpoint} (HTTP 404): check the model's name and revision"
    )]
    NotFound {
        file: String,
        repo: String,
        endpoint: String,
    },

    #[error(
        "{repo} has neither model.safetensors.index.json nor model.safetensors at {endpoint} (HTTP 404): choose a repository with safetensors weights, or pass --dummy-weights"
    )]
    NoRemoteWeights { repo: String, endpoint: String },

    #[error(
        "{repo} is gated, private or does not exist ({file}: HTTP {status}): accept its licence at {endpoint}/{id}, and set HF_TOKEN to a token that may read it ({token_state})"
    )]
    Gated {
        file: String,
        repo: String,
        /// `repo` without its revision: the path of its page.
        id: String,
        endpoint: String,
        status: u16,
        token_state: &'static str,
    },

    #[error(
        "{endpoint} answered HTTP {status} for {file} of {repo}: try again later, or set HF_ENDPOINT to a mirror"
    )]
    Status {
        file: String,
        repo: String,
        endpoint: String,
        status: u16,
    },

    #[error(
        "{endpoint} could not be reached for {file} of {repo} ({reason}): check the network and HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use the cache alone"
    )]
    Unreachable {
        file: String,
        repo: String,
        endpoint: String,
        reason: String,
    },

    #[error(
        "{endpoint} did not answer like a Hugging Face hub for {file} of {repo} ({reason}): check HF_ENDPOINT"
    )]
    NotAHub {
        file: String,
        repo: String,
        endpoint: String,
        reason: String,
    },

    #[error(
        "the download of {file} of {repo} was cut at {received} of {expected} bytes ({reason}): run again to resume it"
    )]
    Cut {
        file: String,
        repo: String,
        received: u64,
        expected: u64,
        reason: String,
    },

    #[error(
        "{file} of {repo} has the wrong size: {received} bytes came where the server had announced {expected}; run again, or use another HF_ENDPOINT"
    )]
    WrongSize {
        file: String,
        repo: String,
        received: u64,
        expected: u64,
    },

    #[error(
        "{repo} changed while it was being downloaded ({file} is of revision {found}, not {expected}): run again"
    )]
    Changed {
        file: String,
        repo: String,
        found: String,
        expected: String,
    },
}

impl HubError {
    /// The hub or the way to it failed, not what was asked of it.
    pub fn is_network(&self) -> bool {
        matches!(
            self,
            Self::Status { .. }
                | Self::Unreachable { .. }
                | Self::NotAHub { .. }
                | Self::Cut { .. }
                | Self::WrongSize { .. }
                | Self::Changed { .. }
        )
    }
}
