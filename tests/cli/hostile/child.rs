//! The program as one process whose end, time and peak of memory are seen.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::cli_support::command;

const GLANCE: Duration = Duration::from_millis(5);
const KIB_A_MIB: i64 = 1024;
/// So that a fault costs the test and not the machine.
const MOST_ADDRESSES: libc::rlim_t = 8 << 30;

/// How a run ended.
#[derive(Debug)]
pub struct End {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// Of the process; never less than what the process of the test has taken, which is counted with it until the
    /// program begins.
    pub peak_mib: i64,
}

/// Runs to the end; after `stop` SIGINT is sent, and SIGKILL after `limit`.
#[expect(
    clippy::zombie_processes,
    reason = "it is waited for by a call that tells what it took"
)]
pub fn run(args: &[String], env: &[(&str, &str)], stop: Option<Duration>, limit: Duration) -> End {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let dir = tempfile::tempdir().unwrap();
    let [out, err] = ["out", "err"].map(|name| dir.path().join(name));
    let mut command = command(&args);
    command
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap());
    // SAFETY: a call of the system that allocates nothing.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: MOST_ADDRESSES,
                rlim_max: MOST_ADDRESSES,
            };
            match libc::setrlimit(libc::RLIMIT_AS, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    };
    let start = Instant::now();
    let child = command.spawn().unwrap();
    let pid = child.id() as libc::pid_t;
    let send = |signal| {
        // SAFETY: the process is a child that has not been waited for.
        unsafe { libc::kill(pid, signal) };
    };
    let (mut status, mut told) = (0, false);
    // SAFETY: plain numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: a child of this process, waited for nowhere else; both places outlive the call.
        let ended = unsafe { libc::wait4(pid, &mut status, libc::WNOHANG, &mut usage) };
        if ended == pid {
            break;
        }
        if !told && stop.is_some_and(|stop| start.elapsed() > stop) {
            told = true;
            send(libc::SIGINT);
        }
        if start.elapsed() > limit {
            send(libc::SIGKILL);
        }
        std::thread::sleep(GLANCE);
    }
    let took = start.elapsed();
    let read = |path| {
        let mut bytes = Vec::new();
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    End {
        status: ExitStatus::from_raw(status),
        stdout: read(&out),
        stderr: read(&err),
        took,
        peak_mib: usage.ru_maxrss / KIB_A_MIB,
    }
}
