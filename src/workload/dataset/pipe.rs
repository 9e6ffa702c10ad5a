//! Opens what requests are read from. A pipe without a writer would be waited for, whatever Ctrl-C says.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// A writer that was started together with this program is there by then.
const PATIENCE: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(20);

/// # Errors
/// It cannot be opened, or is a pipe that nobody writes to.
pub fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if !fs::metadata(path)?.file_type().is_fifo() {
        return Ok(Box::new(File::open(path)?));
    }
    let mut pipe = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let start = Instant::now();
    let mut first = [0];
    let begun = loop {
        match pipe.read(&mut first) {
            // As long as there is no writer.
            Ok(0) if start.elapsed() < PATIENCE => sleep(GLANCE),
            Ok(0) => return Err(io::Error::other("it is a pipe that nobody writes to")),
            Ok(count) => break count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
            Err(error) => return Err(error),
        }
    };
    let flags = rustix::fs::fcntl_getfl(&pipe)?;
    rustix::fs::fcntl_setfl(&pipe, flags - OFlags::NONBLOCK)?;
    Ok(Box::new(Cursor::new(first).take(begun as u64).chain(pipe)))
}
