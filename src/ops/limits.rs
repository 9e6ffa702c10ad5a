//! Limits of the process that would end it where an error can say so.

/// From now on a file that is to grow beyond what the process may write (`ulimit -f`) is an error of whoever writes it;
/// otherwise the system ends the process there, with all that it measured.
#[cfg(unix)]
pub fn outlive_file_size() {
    // SAFETY: nothing runs at the signal, which is only ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// No such signal is known here.
#[cfg(not(unix))]
pub fn outlive_file_size() {}
