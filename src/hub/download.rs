//! A repository's files brought into the cache: each file whole or not at all, and resumed where it broke off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::cache::{HubId, link};
use super::error::HubError;
use super::http::{Client, Facts};
use super::layout::{CONFIG, OPTIONAL, SINGLE_WEIGHTS, WEIGHTS_INDEX, shards};
use super::settings::HubSettings;

/// Attempts in a row that may bring no new byte before the download is given up.
const MAX_FRUITLESS_ATTEMPTS: u32 = 4;
const COPY_BUFFER_BYTES: usize = 1 << 18;
const TOO_MANY_REQUESTS: u16 = 429;
const FIRST_SERVER_ERROR: u16 = 500;
const BAR: &str = "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})";

/// Downloads what a run needs of a repository and returns the snapshot's directory.
///
/// The revision points at the snapshot only once all its files are there, so a broken download is never taken for a
/// model; the next run goes on from the bytes that arrived.
///
/// # Errors
/// A file is missing, refused, cut off, of the wrong size, or cannot be written.
pub(super) fn download(
    settings: &HubSettings,
    repo: &HubId,
    weights: bool,
    progress: bool,
) -> Result<PathBuf, HubError> {
    let client = Client::new(settings, repo);
    let config = client.probe(CONFIG)?;
    let snapshot = Snapshot {
        dir: repo.snapshot_of(&settings.cache, &config.commit),
        commit: config.commit,
        client,
        settings,
        repo,
        progress,
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

struct Snapshot<'a> {
    dir: PathBuf,
    commit: String,
    client: Client<'a>,
    settings: &'a HubSettings,
    repo: &'a HubId,
    progress: bool,
}

impl Snapshot<'_> {
    fn fetch_weights(&self) -> Result<(), HubError> {
        if self.fetch_if_there(WEIGHTS_INDEX)? {
            let names = shards(&self.dir.join(WEIGHTS_INDEX))?;
            return names.iter().try_for_each(|shard| self.fetch(shard));
        }
        if self.fetch_if_there(SINGLE_WEIGHTS)? {
            return Ok(());
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
        let facts = self.probe(file)?;
        if facts.commit != self.commit {
            return Err(self.client.changed(file, facts.commit, &self.commit));
        }
        let blob = self.repo.blob(&self.settings.cache, &facts.etag);
        self.fetch_blob(file, &facts, &blob)?;
        link(&blob, &pointer).map_err(failed(&pointer, "linked to its content"))
    }

    /// The hub has answered for this model before, so what fails now may be a passing trouble.
    fn probe(&self, file: &str) -> Result<Facts, HubError> {
        for attempt in 0..MAX_FRUITLESS_ATTEMPTS {
            match self.client.probe(file) {
                Err(error) if passing(&error).is_some() => self.pause(attempt),
                result => return result,
            }
        }
        self.client.probe(file)
    }

    fn pause(&self, attempts: u32) {
        std::thread::sleep(self.settings.retry_pause * (1 << attempts));
    }

    fn fetch_blob(&self, file: &str, facts: &Facts, blob: &Path) -> Result<(), HubError> {
        if let Some(parent) = blob.parent() {
            std::fs::create_dir_all(parent).map_err(failed(parent, "created"))?;
        }
        // Several processes of one run ask for the same model: the first downloads, the others wait for it.
        let lock_path = blob.with_added_extension("lock");
        let lock = File::create(&lock_path).map_err(failed(&lock_path, "created"))?;
        lock.lock().map_err(failed(&lock_path, "locked"))?;
        if std::fs::metadata(blob).is_ok_and(|found| found.len() == facts.size) {
            return Ok(());
        }
        let path = blob.with_added_extension("part");
        let mut part = Part::open(&path, facts.size)?;
        let bar = self.bar(file, facts.size);
        self.fill(file, facts, &mut part, &bar)?;
        bar.finish_and_clear();
        part.file.sync_all().map_err(failed(&path, "written"))?;
        std::fs::rename(&path, blob).map_err(failed(blob, "put in place"))
    }

    /// Requests the rest of the file until it is whole.
    fn fill(
        &self,
        file: &str,
        facts: &Facts,
        part: &mut Part,
        bar: &ProgressBar,
    ) -> Result<(), HubError> {
        let mut furthest = part.length;
        let mut fruitless = 0;
        while part.length < facts.size {
            let Err(broken) = self.attempt(file, facts, part, bar) else {
                continue;
            };
            let reason = match broken {
                Broken::Transient(reason) => reason,
                Broken::Final(error) => {
                    // Bytes of a file that is not the announced one must not be resumed.
                    if matches!(error, HubError::WrongSize { .. }) {
                        part.truncate()?;
                    }
                    return Err(error);
                }
            };
            fruitless = if part.length > furthest {
                0
            } else {
                fruitless + 1
            };
            furthest = furthest.max(part.length);
            if fruitless == MAX_FRUITLESS_ATTEMPTS {
                return Err(HubError::Cut {
                    file: file.to_owned(),
                    repo: self.repo.to_string(),
                    received: part.length,
                    expected: facts.size,
                    reason,
                });
            }
            self.pause(fruitless);
        }
        Ok(())
    }

    /// One request, written to the part as far as it comes.
    fn attempt(
        &self,
        file: &str,
        facts: &Facts,
        part: &mut Part,
        bar: &ProgressBar,
    ) -> Result<(), Broken> {
        let mut stream = self.client.open(file, part.length, facts)?;
        if stream.start == 0 {
            part.truncate()?;
        }
        bar.set_position(part.length);
        let mut body = stream.body.as_reader();
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) if part.length < facts.size => {
                    return Err(Broken::Transient("the connection closed early".to_owned()));
                }
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken::Transient(error.to_string())),
            };
            let received = part.length + count as u64;
            if received > facts.size {
                return Err(Broken::Final(self.client.wrong_size(file, received, facts)));
            }
            part.append(&buffer[..count])?;
            bar.set_position(part.length);
        }
    }

    /// On stderr, and drawn only where that is a terminal.
    fn bar(&self, file: &str, size: u64) -> ProgressBar {
        let target = match self.progress {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let style =
            ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(size), target)
            .with_style(style)
            .with_message(file.to_owned())
    }
}

/// How an attempt ended early.
enum Broken {
    /// Worth another attempt, from the bytes that are there.
    Transient(String),
    Final(HubError),
}

impl From<HubError> for Broken {
    fn from(error: HubError) -> Self {
        match passing(&error) {
            Some(reason) => Self::Transient(reason),
            None => Self::Final(error),
        }
    }
}

/// What went wrong, if the same request may succeed a little later.
fn passing(error: &HubError) -> Option<String> {
    match error {
        HubError::Unreachable { reason, .. } => Some(reason.clone()),
        HubError::Status { status, .. } => (*status == TOO_MANY_REQUESTS
            || *status >= FIRST_SERVER_ERROR)
            .then(|| format!("HTTP {status}")),
        _ => None,
    }
}

/// The bytes of a file that have arrived so far.
struct Part {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Part {
    /// Opens what an earlier run left; more than the file's size cannot be its beginning.
    fn open(path: &Path, size: u64) -> Result<Self, HubError> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed(path, "opened"))?;
        let length = file.metadata().map_err(failed(path, "inspected"))?.len();
        let mut part = Self {
            file,
            path: path.to_owned(),
            length,
        };
        if length > size {
            part.truncate()?;
        }
        Ok(part)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        let written = self.file.write_all(bytes);
        written.map_err(failed(&self.path, "written"))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn truncate(&mut self) -> Result<(), HubError> {
        self.length = 0;
        self.file.set_len(0).map_err(failed(&self.path, "emptied"))
    }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::File {
        path,
        action,
        source,
    }
}
