//! Where the files of a result go: aside at first, and in their place when they are whole. Whoever looks sees
//! no result or all of one, and never two mixed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ReportError;
use crate::ground::json;

/// Lists every other file but the page that is made from them.
pub const MANIFEST: &str = "manifest.json";
pub const PAGE: &str = "report.html";
const SCHEMA: &str = "candlepower/manifest/1";
/// Any of these makes a directory one that holds a result.
const SIGNS: [&str; 4] = ["results.json", MANIFEST, "requests.jsonl", "steps.jsonl"];
/// What else a result of any version may have left.
const OTHERS: [&str; 8] = [
    "schedule.jsonl",
    "experts.jsonl",
    "telemetry.csv",
    "summary.csv",
    "summary.md",
    "server.md",
    PAGE,
    "vllm.json",
];
/// Enough to find a full disk before the run instead of after it.
const PROBE: [u8; 4096] = [0; 4096];

/// `manifest.json`: each file of a result, with the SHA-256 of its bytes in hex.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: String,
    pub files: BTreeMap<String, Listed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub bytes: u64,
    pub sha256: String,
}

/// Makes `dir` and checks that a result can be written there. For before a run: an hour's numbers must not
/// be lost to a typing error.
///
/// # Errors
/// `Taken`, `NotADirectory` and `Write`, naming the directory.
pub fn prepare(dir: &Path, overwrite: bool) -> Result<(), ReportError> {
    if let (false, Some(sign)) = (overwrite, sign(dir)) {
        return Err(ReportError::Taken {
            dir: dir.display().to_string(),
            sign,
        });
    }
    let place = Place::open(dir, overwrite)?;
    let probe = place.aside.join("probe");
    let written = fs::write(&probe, PROBE);
    fs::remove_dir_all(&place.aside)
        .and(written)
        .map_err(|source| failed(dir, source))
}

/// Whether a result in `dir` may have a file where `path` is.
pub fn claims(dir: &Path, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let same = || Some(parent(path).canonicalize().ok()? == dir.canonicalize().ok()?);
    name.is_some_and(is_of_a_result) && same().unwrap_or(false)
}

/// A result on its way into `dir`.
pub(super) struct Place {
    dir: PathBuf,
    aside: PathBuf,
    overwrite: bool,
    manifest: Manifest,
    /// The first file that could not be written.
    fault: Option<(PathBuf, io::Error)>,
}

impl Place {
    /// Makes `dir`, and a directory aside. `overwrite`: files of an old result are to give way.
    pub fn open(dir: &Path, overwrite: bool) -> Result<Self, ReportError> {
        let is_nothing = dir.as_os_str().is_empty();
        if is_nothing || (dir.exists() && !dir.is_dir()) {
            return Err(ReportError::NotADirectory(dir.display().to_string()));
        }
        let made = fs::create_dir_all(dir).and_then(|()| {
            // A link to a directory stays one.
            let dir = dir.canonicalize()?;
            Ok((make_aside(&dir)?, dir))
        });
        let (aside, dir) = made.map_err(|source| failed(dir, source))?;
        Ok(Self {
            dir,
            aside,
            overwrite,
            manifest: Manifest {
                schema: SCHEMA.to_owned(),
                ..Manifest::default()
            },
            fault: None,
        })
    }

    /// Writes one file. One that fails does not keep others from being tried: they may be smaller.
    pub fn file(&mut self, name: &str, fill: impl FnOnce(&mut Out) -> io::Result<()>) {
        let path = self.aside.join(name);
        match write(&path, fill) {
            Ok(listed) if name != PAGE => {
                self.manifest.files.insert(name.to_owned(), listed);
            }
            Ok(_) => {}
            Err(error) => {
                // Half of it says nothing, and its room lets others be whole.
                let _ = fs::remove_file(&path);
                self.fault.get_or_insert((path, error));
            }
        }
    }

    /// Puts the files in their place.
    ///
    /// # Errors
    /// `Incomplete` where a file could not be written, `Outrun` where another result came meanwhile: what was written
    /// stays aside, and what `dir` held stays.
    pub fn close(mut self) -> Result<(), ReportError> {
        let manifest = self.manifest.clone();
        self.file(MANIFEST, |out| {
            serde_json::to_writer_pretty(&mut *out, &manifest)?;
            writeln!(out)
        });
        if let (None, false, Some(sign)) = (&self.fault, self.overwrite, sign(&self.dir)) {
            return Err(ReportError::Outrun {
                dir: self.dir.display().to_string(),
                sign,
                aside: self.aside.display().to_string(),
            });
        }
        let moved = match self.fault.take() {
            Some(fault) => Err(fault),
            None => self.move_in().map_err(|error| (self.dir.clone(), error)),
        };
        moved.map_err(|(file, source)| ReportError::Incomplete {
            file: file.display().to_string(),
            aside: self.aside.display().to_string(),
            source,
        })
    }

    fn move_in(&self) -> io::Result<()> {
        sync(&self.aside);
        if !is_inside(&self.aside, &self.dir) {
            // Fails where something has come into the directory meanwhile.
            fs::rename(&self.aside, &self.dir)?;
            sync(&parent(&self.dir));
            return Ok(());
        }
        // The old result goes whole before the new one comes, and is there until the new one is.
        let old = self.aside.join("old");
        fs::create_dir(&old)?;
        if self.overwrite {
            for name in result_files(&self.dir) {
                fs::rename(self.dir.join(&name), old.join(&name))?;
            }
        }
        let mut names: Vec<OsString> = fs::read_dir(&self.aside)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<_>>()?;
        names.retain(|name| name != "old");
        // The manifest last: with it the result is whole.
        names.sort_by_key(|name| name == MANIFEST);
        for name in names {
            fs::rename(self.aside.join(&name), self.dir.join(&name))?;
        }
        sync(&self.dir);
        fs::remove_dir_all(&self.aside)
    }
}

/// Bytes on their way into a file, which are hashed as they go.
pub type Out = BufWriter<Hashed>;

#[derive(Debug)]
pub struct Hashed {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write(path: &Path, fill: impl FnOnce(&mut Out) -> io::Result<()>) -> io::Result<Listed> {
    let mut out = BufWriter::new(Hashed {
        file: File::create(path)?,
        hash: Sha256::new(),
        bytes: 0,
    });
    fill(&mut out)?;
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    // Some file systems tell only now that there is no room.
    out.file.sync_all()?;
    Ok(Listed {
        bytes: out.bytes,
        sha256: format!("{:x}", out.hash.finalize()),
    })
}

/// A directory beside `dir`, to take its place in one move; inside it where that cannot be: it is not empty,
/// it is a mount, or nothing may be made beside it.
fn make_aside(dir: &Path) -> io::Result<PathBuf> {
    let is_empty = fs::read_dir(dir)?.next().is_none();
    let beside = dir
        .parent()
        .zip(dir.file_name())
        .and_then(|(parent, name)| {
            let device = |path| Some(fs::metadata(path).ok()?.dev());
            let is_mount = device(dir) != device(parent);
            let mut name = name.to_owned();
            name.push(".partial");
            let make = || make_new(&parent.join(name)).ok();
            (is_empty && !is_mount).then(make)?
        });
    match beside {
        Some(aside) => Ok(aside),
        None => make_new(&dir.join(".partial")),
    }
}

/// Under a name that no other process has, nor an earlier one left.
fn make_new(stem: &Path) -> io::Result<PathBuf> {
    let mut number = u64::from(std::process::id());
    loop {
        let mut name = stem.as_os_str().to_owned();
        name.push(format!("-{number}"));
        let path = PathBuf::from(name);
        match DirBuilder::new().create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn is_inside(aside: &Path, dir: &Path) -> bool {
    aside.parent() == Some(dir)
}

fn parent(dir: &Path) -> PathBuf {
    let parent = dir.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// Makes names that were given in a directory outlast a crash, where the system can.
fn sync(dir: &Path) {
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
}

/// By what one knows that `dir` holds a result.
fn sign(dir: &Path) -> Option<&'static str> {
    SIGNS.into_iter().find(|name| dir.join(name).exists())
}

/// Files of the result in `dir`: those of any result, of each run, and what its manifest lists.
fn result_files(dir: &Path) -> Vec<OsString> {
    let listed = json::small_text(&dir.join(MANIFEST));
    let listed = listed.and_then(|text| serde_json::from_str::<Manifest>(&text).ok());
    let listed = listed.unwrap_or_default().files;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let is_ours = |name: &OsString| {
        let name = name.to_str();
        name.is_some_and(|name| is_of_a_result(name) || listed.contains_key(name))
    };
    names.filter(is_ours).collect()
}

fn is_of_a_result(name: &str) -> bool {
    let of_a_run = name.starts_with("vllm-") && name.ends_with(".json");
    of_a_run || SIGNS.iter().chain(&OTHERS).any(|known| *known == name)
}

fn failed(path: &Path, source: io::Error) -> ReportError {
    ReportError::Write {
        path: path.display().to_string(),
        source,
    }
}
