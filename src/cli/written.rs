//! Files that a flag names: opened before the work whose results they hold, so that a bad path costs
//! nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::failure::Failure;

/// An open file, and the flag it came from.
pub struct Written {
    flag: &'static str,
    path: PathBuf,
    file: File,
}

impl Written {
    /// `None` where the flag was not given.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(flag: &'static str, path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(path) = path else {
            return Ok(None);
        };
        let file = open(path).map_err(|error| {
            let reason = match Errno::from_io_error(&error) {
                Some(Errno::NXIO) => "it is a pipe that nobody reads".to_owned(),
                _ => error.to_string(),
            };
            Failure::Usage(anyhow!(
                "{flag} {}: cannot be written ({reason}); give a file in a directory that can",
                path.display()
            ))
        })?;
        Ok(Some(Self {
            flag,
            path: path.to_owned(),
            file,
        }))
    }

    /// That no two flags name one file, of which the later would overwrite the earlier, and none that of stdout.
    ///
    /// # Errors
    /// The first two that do.
    pub fn distinct(files: &[Option<&Self>]) -> Result<(), Failure> {
        let given: Vec<&Self> = files.iter().copied().flatten().collect();
        let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        let stdout = stdout.ok().as_ref().and_then(identity);
        for (index, one) in given.iter().enumerate() {
            if stdout.is_some() && identity(&one.file) == stdout {
                return Err(Failure::Usage(anyhow!(
                    "{} {}: stdout writes this file too; give it one of its own",
                    one.flag,
                    one.path.display()
                )));
            }
            let same = |other: &&&Self| one.is_same_file(other);
            if let Some(other) = given[index + 1..].iter().find(same) {
                return Err(Failure::Usage(anyhow!(
                    "{} and {} both write {}; give each a file of its own",
                    one.flag,
                    other.flag,
                    one.path.display()
                )));
            }
        }
        Ok(())
    }

    fn is_same_file(&self, other: &Self) -> bool {
        let own = identity(&self.file);
        own.is_some() && own == identity(&other.file)
    }

    /// # Errors
    /// The file cannot be written to its end.
    pub fn fill(
        self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        // A pipe or a device holds nothing.
        let emptied = match identity(&self.file) {
            Some(_) => self.file.set_len(0),
            None => Ok(()),
        };
        let mut out = BufWriter::new(self.file);
        let written = emptied.and_then(|()| write(&mut out));
        let written = written.and_then(|()| out.flush());
        written.map_err(|error| {
            let path = self.path.display();
            Failure::Run(anyhow!(
                "{} {path}: could not be written: {error}",
                self.flag
            ))
        })
    }
}

/// What it holds is kept until there is something else for it. A pipe without a reader would be waited for, whatever
/// Ctrl-C says.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Which file it is, whatever its names; `None` for a pipe or a device, which several may write.
fn identity(file: &File) -> Option<(u64, u64)> {
    let facts = file.metadata().ok().filter(|facts| facts.is_file())?;
    Some((facts.dev(), facts.ino()))
}
