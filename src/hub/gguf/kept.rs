//! What was read of a repository's GGUF files, for the next time and for when there is no network: its list of files
//! by revision, and headers by commit, each behind the size of its file. A cache that cannot be written is no cache.

use std::path::{Path, PathBuf};

use super::names::Files;
use super::ranged::Found;
use crate::ground::gguf_header::{self, GgufHeader};
use crate::ground::json::{self, Limits};
use crate::hub::cache::HubId;
use crate::hub::headers::FOLDER;
use crate::hub::settings::HubSettings;

/// Of lists, beside folders that are named by their commits.
const LISTS: &str = "gguf-files";
const SIZE: usize = size_of::<u64>();
/// As headers may have.
const MOST_BYTES: u64 = 128 << 20;

pub(super) struct Kept {
    dir: PathBuf,
    list: PathBuf,
}

impl Kept {
    pub fn new(repo: &HubId, settings: &HubSettings) -> Self {
        let dir = repo.folder(&settings.cache).join(FOLDER);
        Self {
            list: dir.join(LISTS).join(&repo.revision),
            dir,
        }
    }

    /// A line for the commit, and one for each file.
    pub fn files(&self) -> Option<Files> {
        let text = json::read_bounded(&self.list, Limits::CONFIG.bytes).ok()?;
        let text = String::from_utf8(text).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        Some(Files {
            commit: lines.next()?,
            names: lines.collect(),
        })
    }

    pub fn keep_files(&self, files: &Files) {
        let lines = [std::slice::from_ref(&files.commit), &files.names].concat();
        write(&self.list, lines.join("\n").as_bytes());
    }

    pub fn header(&self, commit: &str, file: &str) -> Option<GgufHeader> {
        let bytes = json::read_bounded(&self.dir.join(commit).join(file), MOST_BYTES).ok()?;
        let (total, header) = bytes.split_first_chunk::<SIZE>()?;
        gguf_header::read(header, u64::from_le_bytes(*total)).ok()
    }

    pub fn keep_header(&self, commit: &str, file: &str, found: &Found) {
        let bytes = [&found.total.to_le_bytes()[..], &found.bytes].concat();
        write(&self.dir.join(commit).join(file), &bytes);
    }
}

fn write(path: &Path, bytes: &[u8]) {
    if let Some(dir) = path.parent() {
        let _ = std::fs::create_dir_all(dir);
    }
    let _ = std::fs::write(path, bytes);
}
