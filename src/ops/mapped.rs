//! A file mapped read-only. Here because this is the room where `unsafe` lives.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

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

    /// Gives back the memory of bytes that were read; read again, they come from the file again.
    #[cfg(unix)]
    pub fn release(&self, range: Range<usize>) {
        // SAFETY: the mapping is a file's and read-only: without its pages it holds the same bytes.
        let outcome = unsafe {
            self.0
                .unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
        // Only a wish: where it is refused, the pages stay until the file is closed.
        outcome.unwrap_or_default();
    }

    /// No such wish is known here.
    #[cfg(not(unix))]
    pub fn release(&self, _range: Range<usize>) {}
}
