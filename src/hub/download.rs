//! A repository's files brought into the cache: each file whole or not at all, and resumed where it broke off.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::cache::{HubId, link};
use super::error::HubError;
use super::http::{Client, Facts};
use super::layout::{CONFIG, OPTIONAL, SINGLE_WEIGHTS, most_bytes, shards};
use super::part::{Part, failed, sha256};
use super::settings::HubSettings;
use super::shard_sets;
use super::transfer::{Transfer, passing};
use super::waiting::{GLANCE, pause};
use super::weight_files::WEIGHTS_INDEX;
use crate::ground::Progress;

/// Of a request for what a file is.
const MAX_PROBES: u32 = 5;
/// Of a file that arrives, and not as it was announced.
const MAX_COPIES: usize = 2;

/// Downloads what a run needs of a repository and returns the snapshot's directory.
///
/// The revision points at the snapshot only once all its files are there, so a broken download is never taken for a
/// model; the next run goes on from the bytes that arrived.
///
/// # Errors
/// A file is missing, refused, cut off, damaged, too large or too slow, or cannot be written; or it was stopped.
pub(super) fn download(
    settings: &HubSettings,
    repo: &HubId,
    weights: bool,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    let client = Client::new(settings, repo, progress)?;
    // A hub that cannot be reached now was perhaps never there.
    let config = probe(&client, CONFIG, |error| {
        !matches!(error, HubError::Unreachable { .. })
    })?;
    let snapshot = Snapshot {
        dir: repo.snapshot_of(&settings.cache, &config.commit),
        commit: config.commit,
        client,
        settings,
        repo,
    };
    snapshot.fetch(CONFIG)?;
    for file in OPTIONAL {
        snapshot.fetch_if_there(file)?;
    }
    if weights {
        snapshot.fetch_weights()?;
    }
    repo.point_at(&settings.cache, &snapshot.commit)
        .map_err(failed(&snapshot.dir, "marked as downloaded"))?;
    Ok(snapshot.dir)
}

/// What the server says of a file, asked again while that is of use.
fn probe(
    client: &Client,
    file: &str,
    again: impl Fn(&HubError) -> bool,
) -> Result<Facts, HubError> {
    patiently(client, again, || client.probe(file))
}

/// Asked again while that is of use and `again` says so.
pub(super) fn patiently<T>(
    client: &Client,
    again: impl Fn(&HubError) -> bool,
    ask: impl Fn() -> Result<T, HubError>,
) -> Result<T, HubError> {
    let mut attempt = 1;
    loop {
        let error = match ask() {
            Err(error) if attempt < MAX_PROBES && again(&error) => error,
            result => return result,
        };
        let Some(wait) = passing(&error, &client.settings.patience) else {
            return Err(error);
        };
        client.pause(attempt - 1, wait)?;
        attempt += 1;
    }
}

struct Snapshot<'a> {
    dir: PathBuf,
    commit: String,
    client: Client<'a>,
    settings: &'a HubSettings,
    repo: &'a HubId,
}

impl Snapshot<'_> {
    fn fetch_weights(&self) -> Result<(), HubError> {
        if self.fetch_if_there(WEIGHTS_INDEX)? {
            let names = shards(&self.dir.join(WEIGHTS_INDEX))?;
            return names.iter().try_for_each(|shard| self.fetch(shard));
        }
        for file in [SINGLE_WEIGHTS, &shard_sets::name(1, 1)] {
            if self.fetch_if_there(file)? {
                return Ok(());
            }
        }
        Err(HubError::NoRemoteWeights {
            repo: self.repo.to_string(),
            endpoint: self.settings.shown_endpoint(),
        })
    }

    /// False when the repository has no such file.
    fn fetch_if_there(&self, file: &str) -> Result<bool, HubError> {
        match self.fetch(file) {
            Ok(()) => Ok(true),
            Err(HubError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn fetch(&self, file: &str) -> Result<(), HubError> {
        let pointer = self.dir.join(file);
        if pointer.is_file() {
            return Ok(());
        }
        // The hub has answered for this model before, so what fails now may be a passing trouble.
        let facts = probe(&self.client, file, |_| true)?;
        if facts.commit != self.commit {
            return Err(self.client.changed(file, facts.commit, &self.commit));
        }
        if let Some(most) = most_bytes(file).filter(|most| facts.size > *most) {
            return Err(self.client.too_large(file, facts.size, most));
        }
        let blob = self.repo.blob(&self.settings.cache, &facts.etag);
        self.fetch_blob(file, &facts, &blob)?;
        link(&blob, &pointer).map_err(failed(&pointer, "linked to its content"))
    }

    fn fetch_blob(&self, file: &str, facts: &Facts, blob: &Path) -> Result<(), HubError> {
        if let Some(parent) = blob.parent() {
            std::fs::create_dir_all(parent).map_err(failed(parent, "created"))?;
        }
        // Several processes of one run ask for the same model: the first downloads, the others wait for it.
        let lock_path = blob.with_added_extension("lock");
        let lock = File::create(&lock_path).map_err(failed(&lock_path, "created"))?;
        self.lock(&lock, &lock_path)?;
        self.bring(file, facts, blob)?;
        // Who still waits for the lock finds the blob. A file that stays behind does no harm.
        let _ = std::fs::remove_file(&lock_path);
        Ok(())
    }

    fn lock(&self, lock: &File, path: &Path) -> Result<(), HubError> {
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => return Err(failed(path, "locked")(error)),
                Err(TryLockError::WouldBlock) => match pause(self.client.progress, GLANCE) {
                    true => {}
                    false => return Err(self.client.stopped()),
                },
            }
        }
    }

    fn bring(&self, file: &str, facts: &Facts, blob: &Path) -> Result<(), HubError> {
        if std::fs::metadata(blob).is_ok_and(|found| found.len() == facts.size) {
            match self.other_hash(facts, blob)? {
                None => return Ok(()),
                Some(_) => std::fs::remove_file(blob).map_err(failed(blob, "removed"))?,
            }
        }
        let path = blob.with_added_extension("part");
        let mut found = String::new();
        for _ in 0..MAX_COPIES {
            let mut part = Part::open(&path, facts.size)?;
            let transfer = Transfer {
                client: &self.client,
                file,
                facts,
            };
            let filled = transfer.fill(&mut part);
            self.client.progress.finish();
            if filled.is_err() && part.length == 0 {
                // Nothing to go on from.
                let _ = std::fs::remove_file(&path);
            }
            filled?;
            match self.other_hash(facts, &path)? {
                None => return part.become_blob(blob),
                Some(hash) => found = hash,
            }
            part.truncate()?;
        }
        std::fs::remove_file(&path).map_err(failed(&path, "removed"))?;
        Err(HubError::Damaged {
            file: file.to_owned(),
            repo: self.repo.to_string(),
            found,
            expected: facts.sha256.clone().unwrap_or_default(),
        })
    }

    /// The hash of the file at `path`, if the hub announced another.
    fn other_hash(&self, facts: &Facts, path: &Path) -> Result<Option<String>, HubError> {
        let Some(announced) = &facts.sha256 else {
            return Ok(None);
        };
        match sha256(path, self.client.progress)? {
            Some(hash) => Ok(Some(hash).filter(|hash| hash != announced)),
            None => Err(self.client.stopped()),
        }
    }
}
