//! Why a GPU, or the time of a transfer between GPUs, is not known.

use std::io;

use thiserror::Error;

use super::Link;

/// Each message is one sentence that names the file, key and value, and the way out.
#[derive(Debug, Error)]
pub enum HardwareError {
    #[error(
        "GPU `{name}` is not known: the nearest are {nearest}; `candlepower gpus` lists all, and a .toml file describes a card of your own"
    )]
    Unknown { name: String, nearest: String },

    #[error("GPU file {file} could not be read: {source}")]
    File { file: String, source: io::Error },

    #[error("GPU file {file} is not TOML: line {line}: {reason}")]
    Syntax {
        file: String,
        line: usize,
        reason: String,
    },

    #[error("GPU file {file} has no key `{key}`: {rule}")]
    Missing {
        file: String,
        key: &'static str,
        rule: &'static str,
    },

    #[error("GPU file {file} has the unknown key `{key}`: the nearest is `{nearest}`")]
    UnknownKey {
        file: String,
        key: String,
        nearest: &'static str,
    },

    #[error("GPU file {file} has {key} = {value}: it must be {rule}")]
    Value {
        file: String,
        key: String,
        value: String,
        rule: &'static str,
    },

    #[error("the built-in file {file} cannot be read ({reason}): this build is broken")]
    BuiltIn { file: &'static str, reason: String },

    #[error(
        "nothing is known of an all-reduce over {ranks} ranks by {link}: there are tables for {known}"
    )]
    NoTable {
        link: Link,
        ranks: usize,
        known: String,
    },

    #[error(
        "--all-reduce {asked}: {ranks} cards on {link} have no such way to add up; use --all-reduce auto"
    )]
    NoWay {
        asked: String,
        link: Link,
        ranks: usize,
    },

    #[error(
        "nothing is known of an all-reduce of {bytes} bytes over {ranks} ranks by {link}: the tables begin at {least} bytes"
    )]
    TooSmall {
        link: Link,
        ranks: usize,
        bytes: u64,
        least: u64,
    },
}
