//! Records of a run: in memory while they are few, in a temporary file beyond that, so that a run of any
//! length takes the same memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of records that a log keeps in memory.
const KEPT: usize = 32 << 20;
/// Bytes that go to the file at once.
const CHUNK: usize = 1 << 20;
/// Where a program may put what is large, on a disk: `/tmp` lies in memory on many machines.
const LARGE_FILES: &str = "/var/tmp";

/// What a log can hold.
pub trait Entry: Clone + Serialize + DeserializeOwned {
    /// Bytes of memory that it takes, about.
    fn bytes(&self) -> usize;
}

/// Records in the order in which they came.
#[derive(Debug)]
pub struct Log<T> {
    kept: Vec<T>,
    /// Of `kept`.
    bytes: usize,
    spilled: Option<Spilled>,
    len: usize,
    /// Why the file could not be read back to its end.
    fault: OnceLock<String>,
}

/// Records in a file without a name, which is gone with the process however that ends.
#[derive(Debug)]
struct Spilled {
    file: File,
    written: u64,
    /// What follows in memory.
    tail: Vec<u8>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<T> From<Vec<T>> for Log<T> {
    fn from(kept: Vec<T>) -> Self {
        Self {
            len: kept.len(),
            kept,
            bytes: 0,
            spilled: None,
            fault: OnceLock::new(),
        }
    }
}

impl<T: Entry> Log<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it has outgrown memory.
    pub fn is_spilled(&self) -> bool {
        self.spilled.is_some()
    }

    /// # Errors
    /// The file cannot be made or written. The record is kept in memory all the same.
    pub fn push(&mut self, record: T) -> io::Result<()> {
        self.len += 1;
        let Some(spilled) = &mut self.spilled else {
            self.bytes += record.bytes();
            self.kept.push(record);
            return match self.bytes > KEPT {
                true => self.spill(),
                false => Ok(()),
            };
        };
        spilled.add(&record)
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut spilled = Spilled {
            file: tempfile::tempfile_in(folder())?,
            written: 0,
            tail: Vec::with_capacity(CHUNK),
        };
        for record in &self.kept {
            spilled.add(record)?;
        }
        self.kept = Vec::new();
        self.spilled = Some(spilled);
        Ok(())
    }

    /// From the first on. A file that fails ends it early: see [`Self::fault`].
    pub fn iter(&self) -> Iter<'_, T> {
        let place = match &self.spilled {
            None => Place::Kept(self.kept.iter()),
            Some(spilled) => Place::Spilled {
                from: BufReader::with_capacity(CHUNK, Bytes { spilled, at: 0 }),
                left: self.len,
                fault: &self.fault,
                records: PhantomData,
            },
        };
        Iter { place }
    }

    /// Why a reader did not see every record, if one did not.
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }
}

impl<'a, T: Entry> IntoIterator for &'a Log<T> {
    type Item = Cow<'a, T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl Spilled {
    fn add(&mut self, record: &impl Serialize) -> io::Result<()> {
        rmp_serde::encode::write(&mut self.tail, record).map_err(io::Error::other)?;
        if self.tail.len() >= CHUNK {
            self.file.write_all_at(&self.tail, self.written)?;
            self.written += self.tail.len() as u64;
            self.tail.clear();
        }
        Ok(())
    }
}

/// The bytes of the file, then those in memory.
struct Bytes<'a> {
    spilled: &'a Spilled,
    at: u64,
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Spilled {
            file,
            written,
            tail,
        } = self.spilled;
        let read = match written.checked_sub(self.at) {
            Some(left) if left > 0 => {
                let most = buffer
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                file.read_at(&mut buffer[..most], self.at)?
            }
            _ => tail
                .get((self.at - written) as usize..)
                .unwrap_or_default()
                .read(buffer)?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

/// Records of a log, borrowed where they are in memory.
pub struct Iter<'a, T> {
    place: Place<'a, T>,
}

enum Place<'a, T> {
    Kept(std::slice::Iter<'a, T>),
    Spilled {
        from: BufReader<Bytes<'a>>,
        left: usize,
        fault: &'a OnceLock<String>,
        records: PhantomData<T>,
    },
}

impl<'a, T: Entry> Iterator for Iter<'a, T> {
    type Item = Cow<'a, T>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.place {
            Place::Kept(records) => records.next().map(Cow::Borrowed),
            Place::Spilled {
                from, left, fault, ..
            } => {
                *left = left.checked_sub(1)?;
                match rmp_serde::from_read(from) {
                    Ok(record) => Some(Cow::Owned(record)),
                    Err(error) => {
                        *left = 0;
                        fault.get_or_init(|| error.to_string());
                        None
                    }
                }
            }
        }
    }
}

/// Where temporary files go: `TMPDIR`, else the system's place for large ones.
fn folder() -> PathBuf {
    let large = || Some(PathBuf::from(LARGE_FILES)).filter(|path| path.is_dir());
    let told = std::env::var_os("TMPDIR").map(PathBuf::from);
    told.or_else(large).unwrap_or_else(std::env::temp_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::{FinishReason, RequestRecord, StepRecord};

    fn record(id: u64) -> RequestRecord {
        RequestRecord {
            id,
            prompt_tokens: 7,
            output_tokens: 3,
            arrival: id as f64 * 0.1,
            submitted: Some(id as f64 * 0.1 + 1e-9),
            admitted: (!id.is_multiple_of(3)).then_some(0.3),
            tokens: (0..1000).map(|i| f64::from(i).sqrt()).collect(),
            finish: (!id.is_multiple_of(5)).then_some(FinishReason::Length),
            preemptions: 2,
            cached_tokens: id.is_multiple_of(2).then_some(4),
            error: id.is_multiple_of(5).then(|| format!("request {id} failed")),
        }
    }

    #[test]
    fn records_come_back_as_they_were_from_memory_and_from_the_file() {
        let mut log = Log::default();
        let many = 2 * KEPT as u64 / record(0).bytes() as u64;
        for id in 0..many {
            log.push(record(id)).unwrap();
            // Read while it grows, on both sides of the limit.
            if id == 100 || id == many - 7 {
                assert_eq!(log.is_spilled(), id > 100);
                assert_eq!(log.iter().count() as u64, id + 1);
            }
        }
        assert!(log.kept.is_empty() && log.len() as u64 == many);
        for (id, found) in log.iter().enumerate() {
            assert_eq!(*found, record(id as u64));
        }
        assert_eq!(log.fault(), None);
    }

    #[test]
    fn few_records_are_lent_from_memory() {
        let mut log = Log::default();
        log.push(StepRecord::default()).unwrap();
        assert!(!log.is_spilled() && !log.is_empty());
        assert!(matches!(log.iter().next(), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn a_file_that_lost_its_end_is_told() {
        let mut log = Log::default();
        while !log.is_spilled() {
            log.push(record(1)).unwrap();
        }
        let spilled = log.spilled.as_ref().unwrap();
        spilled.file.set_len(spilled.written / 2).unwrap();
        assert!(log.iter().count() < log.len());
        assert!(log.fault().is_some());
    }
}
