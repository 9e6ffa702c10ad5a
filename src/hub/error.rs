//! Why a model's files could not be found or fetched.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::ground::json::JsonError;

/// Each message is one sentence that names the file or model and the way out. None contains the access token.
#[derive(Debug, Error)]
pub enum HubError {
    #[error(
        "model `{model}` is not a directory, the path of a config.json, the name of a card or a hub id (org/name): \
         the closest cards are {closest}, and `candlepower models` lists all"
    )]
    Unknown { model: String, closest: String },

    #[error(
        "model `{path}` is {what} but not a config.json: {way_out}, or a .json file with the model's configuration"
    )]
    NotAConfig {
        path: PathBuf,
        what: String,
        way_out: &'static str,
    },

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

    #[error("model directory {dir} is not complete: {reason}")]
    Incomplete { dir: PathBuf, reason: String },

    #[error(
        "model directory {dir} has no safetensors weights but {found}: {way_out}, or pass --dummy-weights"
    )]
    OtherWeights {
        dir: PathBuf,
        found: String,
        way_out: String,
    },

    #[error("{path} is a link to {target}, which is not there: fetch the file again")]
    DeadLink { path: PathBuf, target: PathBuf },

    #[error("model directory `{model}` is missing: {way_out}")]
    MissingDirectory { model: String, way_out: String },

    #[error("{path} is not a model's file: {source}")]
    Unreadable { path: PathBuf, source: JsonError },

    #[error("{file} is not a whole {format} file: {reason}")]
    BadHeader {
        file: String,
        format: &'static str,
        reason: String,
    },

    #[error("{repo} holds {count} GGUF models ({found}): choose one, as in {repo}:{example}")]
    SeveralGguf {
        repo: String,
        count: usize,
        found: String,
        example: String,
    },

    #[error("{repo} has no GGUF file or quantisation `{wanted}`; those that it has: {found}")]
    NoSuchGguf {
        repo: String,
        wanted: String,
        found: String,
    },

    #[error(
        "{repo} lacks {missing} of the {of} parts of {file}: choose another of its files, or another repository"
    )]
    GgufParts {
        repo: String,
        file: String,
        missing: usize,
        of: usize,
    },

    #[error(
        "{model} names a GGUF file on the hub, which `fit` and `models` read and no engine here runs: give the id of a repository with safetensors weights"
    )]
    GgufModel { model: String },

    #[error(
        "{endpoint} sends {file} of {repo} only as a whole ({size} bytes), and headers are read by parts: set HF_ENDPOINT to a hub that answers byte ranges, or give the model's config.json"
    )]
    NoRanges {
        file: String,
        repo: String,
        endpoint: String,
        size: u64,
    },

    #[error("{index} is not a safetensors index ({reason}): fetch it again")]
    BadIndex { index: PathBuf, reason: String },

    #[error("{path} could not be {action}: {source}")]
    File {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },

    #[error(
        "{repo} is not complete in the cache {cache} ({missing}), and HF_HUB_OFFLINE forbids to download it: unset HF_HUB_OFFLINE, or point HF_HOME at a cache that holds it"
    )]
    Offline {
        repo: String,
        missing: String,
        cache: PathBuf,
    },

    #[error(
        "HF_ENDPOINT is `{endpoint}`, which is no address of a hub ({reason}): write it as https://huggingface.co"
    )]
    BadEndpoint { endpoint: String, reason: String },

    #[error(
        "HF_TOKEN (or the token file) holds {fault}, and a token is one word of letters, digits and signs: copy it again (it is not shown here)"
    )]
    BadToken { fault: &'static str },

    #[error("the download of {repo} was stopped: run again to go on from what arrived")]
    Stopped { repo: String },

    #[error(
        "{path} could not be written, for the disk is full ({size} bytes are needed for this file alone): free some space, or point HF_HOME at another disk, and run again to go on"
    )]
    DiskFull { path: PathBuf, size: u64 },

    #[error(
        "{file} of {repo} has {size} bytes at {endpoint}, where such a file has {most} at most: check the repository and HF_ENDPOINT"
    )]
    TooLarge {
        file: String,
        repo: String,
        endpoint: String,
        size: u64,
        most: u64,
    },

    #[error(
        "{endpoint} sends {file} of {repo} at {rate} bytes a second, and at less than {least} a download is given up: run again to go on, or set HF_ENDPOINT to another mirror"
    )]
    TooSlow {
        file: String,
        repo: String,
        endpoint: String,
        rate: u64,
        least: u64,
    },

    #[error(
        "{file} of {repo} arrived damaged twice (SHA-256 {found}, announced {expected}): run again, or set HF_ENDPOINT to another mirror"
    )]
    Damaged {
        file: String,
        repo: String,
        found: String,
        expected: String,
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
        "{endpoint} answered HTTP {status} for {file} of {repo}{wait}: try again later, or set HF_ENDPOINT to a mirror",
        wait = .retry_after.map_or(String::new(), |seconds| format!(" and asks to wait {seconds} s"))
    )]
    Status {
        file: String,
        repo: String,
        endpoint: String,
        status: u16,
        /// Seconds.
        retry_after: Option<u64>,
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
    /// The hub, the way to it or the place for it failed, not what was asked.
    pub fn is_network(&self) -> bool {
        matches!(
            self,
            Self::Stopped { .. }
                | Self::DiskFull { .. }
                | Self::TooLarge { .. }
                | Self::TooSlow { .. }
                | Self::Damaged { .. }
                | Self::Status { .. }
                | Self::Unreachable { .. }
                | Self::NotAHub { .. }
                | Self::Cut { .. }
                | Self::WrongSize { .. }
                | Self::Changed { .. }
                | Self::NoRanges { .. }
        )
    }
}
