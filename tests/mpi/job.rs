//! mpirun, and processes that must end in time.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::cli_support::{self, Outcome};

/// No job of these tests takes longer, on a busy machine too.
const LONGEST: Duration = Duration::from_secs(120);

/// `mpirun -n RANKS candlepower ARGS`, for a root user and few cores too.
pub fn mpirun(ranks: usize, args: &[&str]) -> Command {
    let mut command = launcher(&[]);
    command.args(["-n", &ranks.to_string()]);
    command.arg(env!("CARGO_BIN_EXE_candlepower")).args(args);
    command
}

/// mpirun behind the words of `prefix`, with its first options.
pub fn launcher(prefix: &[&str]) -> Command {
    let words = [prefix, &["mpirun", "--oversubscribe"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    for (name, value) in cli_support::command(&[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        // candle takes a second to write one, as long as ranks wait for the one before them to speak.
        .env_remove("RUST_BACKTRACE")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .stdin(Stdio::null());
    command
}

/// A job that runs.
pub struct Job {
    pub launcher: Child,
    /// Lines of stderr, then of stdout once it has ended.
    lines: Receiver<String>,
    stderr: String,
}

impl Job {
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut launcher = command.spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(launcher.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let _ = sender.send(line.unwrap_or_default());
            }
        });
        Self {
            launcher,
            lines,
            stderr: String::new(),
        }
    }

    /// Waits for a line of stderr that contains `part`.
    pub fn wait_for(&mut self, part: &str) {
        loop {
            let line = self.lines.recv_timeout(LONGEST);
            let line = line.unwrap_or_else(|e| panic!("no {part:?} ({e}): {}", self.stderr));
            self.stderr += &format!("{line}\n");
            if line.contains(part) {
                return;
            }
        }
    }

    /// The process of a rank on this machine.
    pub fn pid(&self, rank: usize) -> String {
        let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
        let parent = format!("PPid:\t{}\n", self.launcher.id());
        let is_it = |dir: &Path| {
            let read = |file: &str| fs::read(dir.join(file)).unwrap_or_default();
            let status = String::from_utf8_lossy(&read("status")).into_owned();
            let environ = read("environ");
            status.contains(&parent) && environ.split(|b| *b == 0).any(|v| v == wanted.as_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut found = processes.filter(|process| is_it(&process.path()));
        let process = found.next().expect("a process of that rank");
        process.file_name().into_string().unwrap()
    }

    /// Waits for its end, which must come within `time`.
    pub fn end_within(mut self, time: Duration) -> Outcome {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.launcher.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > time {
                let _ = self.launcher.kill();
                self.stderr.extend(self.lines.iter().map(|l| l + "\n"));
                panic!("it still runs after {time:?}: {}", self.stderr);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut stdout = String::new();
        let mut pipe = self.launcher.stdout.take().unwrap();
        pipe.read_to_string(&mut stdout).unwrap();
        self.stderr.extend(self.lines.iter().map(|l| l + "\n"));
        Outcome {
            code: status.code(),
            stdout,
            stderr: self.stderr,
        }
    }
}

/// Runs to the end.
pub fn run(command: Command) -> Outcome {
    Job::start(command).end_within(LONGEST)
}

pub fn signal(pid: &str, signal: &str) {
    let sent = Command::new("kill").args([signal, pid]).status().unwrap();
    assert!(sent.success());
}
