//! A file on its way into the cache, on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::HubError;
use crate::ground::Progress;

const HASH_BUFFER_BYTES: usize = 1 << 20;
/// Hexadecimal digits.
const SHA256_LENGTH: usize = 64;

/// The bytes of a file that have arrived so far.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    pub length: u64,
    /// That the whole file will have.
    size: u64,
}

impl Part {
    /// Opens what an earlier run left; more than the file's size cannot be its beginning.
    pub fn open(path: &Path, size: u64) -> Result<Self, HubError> {
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
            size,
        };
        if length > size {
            part.truncate()?;
        }
        Ok(part)
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| self.unwritten(error))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub fn truncate(&mut self) -> Result<(), HubError> {
        self.length = 0;
        self.file.set_len(0).map_err(failed(&self.path, "emptied"))
    }

    /// Makes it the whole file.
    pub fn become_blob(self, blob: &Path) -> Result<(), HubError> {
        let written = self.file.sync_all();
        written.map_err(|error| self.unwritten(error))?;
        std::fs::rename(&self.path, blob).map_err(failed(blob, "put in place"))
    }

    fn unwritten(&self, error: io::Error) -> HubError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HubError::DiskFull {
                path: self.path.clone(),
                size: self.size,
            },
            _ => failed(&self.path, "written")(error),
        }
    }
}

/// Whether an etag is the SHA-256 of its file, as the hub gives it of large files.
pub(super) fn is_sha256(etag: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    etag.len() == SHA256_LENGTH && etag.bytes().all(digit)
}

/// The SHA-256 of a file, in hexadecimal digits; `None`: it was stopped.
pub(super) fn sha256(path: &Path, progress: &dyn Progress) -> Result<Option<String>, HubError> {
    let mut file = File::open(path).map_err(failed(path, "opened"))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    loop {
        if progress.is_stopped() {
            return Ok(None);
        }
        match file.read(&mut buffer).map_err(failed(path, "read"))? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(Some(format!("{:x}", hash.finalize())))
}

pub(super) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::File {
        path,
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::ground::Unwatched;

    struct Stopped;

    impl Progress for Stopped {
        fn stop(&self) -> &AtomicBool {
            static STOP: AtomicBool = AtomicBool::new(true);
            &STOP
        }
    }

    #[test]
    fn a_full_disk_is_told_with_what_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let part = Part::open(&dir.path().join("a.part"), 12_345).unwrap();
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let message = part.unwritten(kind.into()).to_string();
            for text in ["a.part", "the disk is full", "12345 bytes", "HF_HOME"] {
                assert!(message.contains(text), "{message}");
            }
        }
        let other = part.unwritten(io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(matches!(other, HubError::File { .. }));
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path, &Unwatched).unwrap().as_deref(), Some(abc));
        assert!(is_sha256(abc) && !is_sha256(&abc.to_uppercase()) && !is_sha256(&abc[1..]));
        assert_eq!(sha256(&path, &Stopped).unwrap(), None);
    }
}
