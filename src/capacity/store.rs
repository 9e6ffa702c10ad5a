//! The points of a sweep on disk: one file each, there whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::ground::results::Results;

/// Value of `StoredPoint::schema`.
pub const POINT_SCHEMA: &str = "candlepower/point/1";
/// The folder of the points in the directory of a sweep.
const POINTS: &str = "points";
const LOCK: &str = ".lock";
const LONGEST_NAME: usize = 80;
const HASH_DIGITS: usize = 10;

/// Why points cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("--out {dir}: cannot be written ({source}); give a directory that can")]
    Write { dir: String, source: io::Error },
    #[error("--out {0}: another sweep is at work there; wait for it, or give another directory")]
    Busy(String),
    #[error("{file}: is no point of a sweep ({reason}); remove it, and the point is played again")]
    Malformed { file: String, reason: String },
}

/// One file of `points/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoredPoint {
    /// `POINT_SCHEMA` of the version that wrote it.
    pub schema: String,
    /// What the point changes, by flag.
    pub settings: Map<String, Value>,
    /// That it took.
    pub seconds: f64,
    /// Why it has no results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// As `bench` writes them; null: it failed.
    pub results: Option<Results>,
}

/// A directory of points, which no other sweep writes meanwhile.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Held as long as the store is.
    _lock: File,
}

impl Store {
    /// Makes `dir` where there is none; `anew`: what is there of an earlier sweep goes.
    ///
    /// # Errors
    /// `Write` and `Busy`.
    pub fn open(dir: &Path, anew: bool) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Write {
            dir: dir.display().to_string(),
            source,
        };
        let points = dir.join(POINTS);
        fs::create_dir_all(&points).map_err(failed)?;
        let lock = File::create(dir.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Busy(dir.display().to_string()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let store = Self {
            dir: dir.to_owned(),
            _lock: lock,
        };
        for entry in fs::read_dir(&points).map_err(failed)?.flatten() {
            // What a sweep that was killed had begun to write is nobody's now.
            let is_point = entry.path().extension().is_some_and(|end| end == "json");
            if anew || !is_point {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(store)
    }

    /// The point under `name`; `None`: it is not there.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn load(&self, name: &str) -> Result<Option<StoredPoint>, StoreError> {
        let path = self.path(name);
        let malformed = |reason: String| StoreError::Malformed {
            file: path.display().to_string(),
            reason,
        };
        match fs::read(&path) {
            Ok(bytes) => {
                let point = serde_json::from_slice(&bytes);
                point
                    .map(Some)
                    .map_err(|error| malformed(error.to_string()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(malformed(error.to_string())),
        }
    }

    /// # Errors
    /// `Write`.
    pub fn save(&self, name: &str, point: &StoredPoint) -> Result<(), StoreError> {
        let text = serde_json::to_string(point).map_err(io::Error::from);
        let written = text.and_then(|text| write(&self.path(name), &(text + "\n")));
        written.map_err(|source| self.failed(source))
    }

    /// One file beside the points, such as the table.
    ///
    /// # Errors
    /// `Write`.
    pub fn page(&self, name: &str, text: &str) -> Result<(), StoreError> {
        write(&self.dir.join(name), text).map_err(|source| self.failed(source))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(POINTS).join(name)
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Write {
            dir: self.dir.display().to_string(),
            source,
        }
    }
}

/// Aside, and in its place when it is whole.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::with_prefix_in(".writing-", dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// A file's name for the point of `settings`, of which `whole` says all: the settings to read, a hash to tell apart.
pub fn name(settings: &Map<String, Value>, whole: &str) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let words: Vec<String> = settings
        .iter()
        .map(|(flag, value)| format!("{flag}={}", shown(value)))
        .collect();
    let words = words.join(",");
    let plain = words.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '=' | ',' | '.' | '-' => c,
        _ => '_',
    });
    let plain: String = plain.take(LONGEST_NAME).collect();
    let hash = format!("{:x}", Sha256::digest(whole.as_bytes()));
    let hash = &hash[..HASH_DIGITS];
    // No file begins with a dot.
    match plain.is_empty() {
        true => format!("point-{hash}.json"),
        false => format!("{plain}-{hash}.json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_and_are_told_apart() {
        let mut settings = Map::new();
        settings.insert("concurrency".to_owned(), 8.into());
        settings.insert("device".to_owned(), "sim:../x y".into());
        let one = name(&settings, "a");
        assert!(one.starts_with("concurrency=8,device=sim_.._x_y-") && one.ends_with(".json"));
        assert_ne!(one, name(&settings, "b"));
        assert!(name(&Map::new(), "a").starts_with("point-"));
    }

    #[test]
    fn a_store_has_one_sweep_at_a_time_and_leaves_nothing_half_done() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), false).unwrap();
        let busy = Store::open(dir.path(), false).unwrap_err();
        assert!(matches!(busy, StoreError::Busy(_)), "{busy}");
        let point = StoredPoint {
            schema: POINT_SCHEMA.to_owned(),
            settings: Map::new(),
            seconds: 1.0,
            error: Some("no such card".to_owned()),
            results: None,
        };
        store.save("a.json", &point).unwrap();
        fs::write(store.path(".writing-x"), "{").unwrap();
        drop(store);
        let store = Store::open(dir.path(), false).unwrap();
        assert_eq!(store.load("a.json").unwrap(), Some(point));
        assert_eq!(store.load("b.json").unwrap(), None);
        assert!(!store.path(".writing-x").exists());
        fs::write(store.path("c.json"), "{").unwrap();
        assert!(store.load("c.json").is_err());
        drop(store);
        let store = Store::open(dir.path(), true).unwrap();
        assert_eq!(store.load("a.json").unwrap(), None);
    }
}
