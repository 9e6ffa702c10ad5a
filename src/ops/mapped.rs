//! A file mapped read-only. Here because this is the room where `unsafe` lives.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file, paged in as they are read.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the mapping is read-only and lives as long as `self`. The bytes could change only
        // if another process rewrote the checkpoint in place while it is loaded: plain numbers,
        // for which every bit pattern is valid, behind bounds checked against the mapped length
        // (cutting the file short under us ends the process, as for every mapped file).
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(map))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
