//! Files that a flag names: opened before the work whose results they hold, so that a bad path costs
//! nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

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
        // What it holds is kept until there is something else for it.
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = file.map_err(|error| {
            Failure::Usage(anyhow!(
                "{flag} {}: cannot be written ({error}); give a file in a directory that can",
                path.display()
            ))
        })?;
        Ok(Some(Self {
            flag,
            path: path.to_owned(),
            file,
        }))
    }

    /// That no two flags name one file, of which the later would overwrite the earlier.
    ///
    /// # Errors
    /// The first two that do.
    pub fn distinct(files: &[Option<&Self>]) -> Result<(), Failure> {
        let given: Vec<&Self> = files.iter().copied().flatten().collect();
        for (index, one) in given.iter().enumerate() {
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

    /// By the file, whatever its names; a device may be written by several.
    fn is_same_file(&self, other: &Self) -> bool {
        let of = |file: &File| file.metadata().ok().filter(|facts| facts.is_file());
        match (of(&self.file), of(&other.file)) {
            (Some(a), Some(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
    }

    /// # Errors
    /// The file cannot be written to its end.
    pub fn fill(
        self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let emptied = self.file.set_len(0);
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
