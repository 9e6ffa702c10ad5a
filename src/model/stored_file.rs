//! A file of weights, read by position. It is not mapped: a mapped file that is cut short ends the process.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use candle_core::{DType, Device, Error, Result, Tensor, bail};
use float8::F8E4M3;
use half::{bf16, f16};

/// Bytes read at a time: small enough to be still in the cache when they become elements.
const CHUNK: usize = 1 << 18;

pub(super) struct StoredFile {
    file: File,
    /// As it was given.
    pub name: String,
    /// When it was opened.
    state: State,
}

#[derive(PartialEq)]
struct State {
    length: u64,
    /// `None` where the file system keeps no time.
    modified: Option<SystemTime>,
}

impl State {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

impl StoredFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            state: State::of(&file)?,
            name: path.display().to_string(),
            file,
        })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes, when it was opened.
    pub fn length(&self) -> u64 {
        self.state.length
    }

    /// The elements of `runs` of bytes of one length, one run a row: `[runs.len(), elements of a run]`.
    pub fn rows(&self, runs: &[Range<u64>], dtype: DType) -> Result<Tensor> {
        let width = runs.first().map_or(0, |run| (run.end - run.start) as usize);
        let shape = (runs.len(), width / dtype.size_in_bytes());
        let device = &Device::Cpu;
        let rows = match dtype {
            DType::BF16 => {
                Tensor::from_vec(self.elements(runs, bf16::from_le_bytes)?, shape, device)
            }
            DType::F16 => Tensor::from_vec(self.elements(runs, f16::from_le_bytes)?, shape, device),
            DType::F32 => Tensor::from_vec(self.elements(runs, f32::from_le_bytes)?, shape, device),
            DType::F8E4M3 => {
                let element = |[bits]: [u8; 1]| F8E4M3::from_bits(bits);
                Tensor::from_vec(self.elements(runs, element)?, shape, device)
            }
            other => bail!("{}: weights in {other:?} are not read", self.name),
        }?;
        // What was read may be of two versions of the file.
        match State::of(&self.file) {
            Ok(state) if state == self.state => Ok(rows),
            Ok(state) => Err(self.changed(&state)),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn elements<T, const N: usize>(
        &self,
        runs: &[Range<u64>],
        element: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let bytes: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let mut elements = Vec::with_capacity(bytes as usize / N);
        let mut buffer = vec![0; CHUNK.min(bytes as usize)];
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                let count = (run.end - at).min(CHUNK as u64) as usize;
                let chunk = &mut buffer[..count];
                self.read_exact_at(chunk, at).map_err(|error| {
                    match (error.kind(), State::of(&self.file)) {
                        (io::ErrorKind::UnexpectedEof, Ok(state)) => self.changed(&state),
                        _ => self.unreadable(&error),
                    }
                })?;
                elements.extend(chunk.as_chunks::<N>().0.iter().map(|bytes| element(*bytes)));
                at += count as u64;
            }
        }
        Ok(elements)
    }

    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[count..];
            offset += count as u64;
        }
        Ok(())
    }

    fn changed(&self, now: &State) -> Error {
        let (name, before, now) = (&self.name, self.state.length, now.length);
        Error::msg(match before == now {
            true => format!("{name}: changed while it was read; run again when it is whole"),
            false => format!(
                "{name}: changed while it was read, from {before} to {now} bytes; run again when it is whole"
            ),
        })
    }

    fn unreadable(&self, error: &io::Error) -> Error {
        Error::msg(format!(
            "{}: cannot be read: {error}; check the file and its disk",
            self.name
        ))
    }
}
