//! Several machines: network namespaces joined by a cable, each with a name of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::time::Duration;

use tempfile::TempDir;

use super::job::{Job, launcher, run};
use super::tokens::{Golden, words};
use crate::cli_support::fixture;

const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
const SOON: Duration = Duration::from_secs(20);

/// mpirun looks every second whether the other machine is there, and gives up after five.
const KEEPALIVE: [(&str, &str); 3] = [
    ("OMPI_MCA_oob_tcp_keepalive_time", "2"),
    ("OMPI_MCA_oob_tcp_keepalive_intvl", "1"),
    ("OMPI_MCA_oob_tcp_keepalive_probes", "3"),
];

/// Two hosts and the cable between them, gone when this is dropped.
pub struct Hosts {
    names: [String; 2],
    /// In the environment of every process that runs on them.
    marker: String,
    /// What mpirun takes for ssh.
    remote_shell: PathBuf,
    _dir: TempDir,
}

impl Hosts {
    /// `None`, with the reason on stderr, where this user may not make network namespaces.
    pub fn connect(test: &str) -> Option<Self> {
        let names = ["a", "b"].map(|end| format!("cp{}{test}{end}", id()));
        let dir = TempDir::new().unwrap();
        let hosts = Self {
            marker: format!("CANDLEPOWER_TEST=cp{}{test}", id()),
            remote_shell: dir.path().join("remote-shell"),
            names,
            _dir: dir,
        };
        let script = format!(
            "#!/bin/sh\nshift\nexec ip netns exec {} unshare --uts sh -c \"hostname host1; $*\"\n",
            hosts.names[1]
        );
        fs::write(&hosts.remote_shell, script).unwrap();
        fs::set_permissions(&hosts.remote_shell, fs::Permissions::from_mode(0o755)).unwrap();
        match hosts.set_up() {
            Ok(()) => Some(hosts),
            Err(reason) => {
                eprintln!("SKIPPED: no network namespaces here: {reason}");
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let [a, b] = &self.names;
        ip(&["netns", "add", a])?;
        ip(&["netns", "add", b])?;
        ip(&[
            "link", "add", "cable", "netns", a, "type", "veth", "peer", "name", "cable", "netns", b,
        ])?;
        for (name, address) in self.names.iter().zip(ADDRESSES) {
            ip(&[
                "-n",
                name,
                "addr",
                "add",
                &format!("{address}/24"),
                "dev",
                "cable",
            ])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "set", "cable", "up"])?;
        }
        let name = Command::new("unshare")
            .args(["--uts", "hostname", "x"])
            .output();
        match name {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(format!("unshare: {error}")),
        }
    }

    /// mpirun on the first host, over both.
    pub fn mpirun(&self, ranks: [usize; 2], args: &[&str]) -> Command {
        let (name, value) = self.marker.split_once('=').unwrap();
        let slots = |host: usize| format!("{}:{}", ADDRESSES[host], ranks[host]);
        let enter = ["ip", "netns", "exec", &self.names[0], "unshare", "--uts"];
        let renamed = ["sh", "-c", "hostname host0; exec \"$@\"", "sh"];
        let mut command = launcher(&[&enter[..], &renamed].concat());
        command
            .args(["--host", &format!("{},{}", slots(0), slots(1))])
            .args([
                "--mca",
                "plm_rsh_agent",
                self.remote_shell.to_str().unwrap(),
            ])
            .args(["-n", &(ranks[0] + ranks[1]).to_string()])
            .arg(env!("CARGO_BIN_EXE_candlepower"))
            .args(args)
            .env(name, value)
            .envs(KEEPALIVE);
        command
    }

    /// Ids of the processes on both.
    fn running(&self) -> Vec<String> {
        let marker = self.marker.as_bytes();
        let is_ours = |dir: &Path| {
            let environ = fs::read(dir.join("environ")).unwrap_or_default();
            environ.split(|b| *b == 0).any(|value| value == marker)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let ours = processes.filter(|process| is_ours(&process.path()));
        ours.map(|process| process.file_name().into_string().unwrap())
            .collect()
    }

    fn cut(&self) {
        ip(&["-n", &self.names[0], "link", "set", "cable", "down"]).unwrap();
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // A daemon of mpirun that was cut off would stay for a quarter of an hour.
        for pid in self.running() {
            let _ = Command::new("kill").args(["-KILL", &pid]).output();
        }
        for name in &self.names {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    match Command::new("ip").args(args).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("ip: {error}")),
    }
}

#[test]
fn tokens_over_two_hosts_are_golden() {
    let Some(hosts) = Hosts::connect("t") else {
        return;
    };
    for (name, ranks) in [("qwen2-tiny", [2, 2]), ("llama-tied-tiny", [1, 2])] {
        let golden = Golden::read(name);
        let args = golden.command(name, ranks[0] + ranks[1]);
        golden.check(run(hosts.mpirun(ranks, &words(&args))));
    }
}

#[test]
fn a_cut_cable_ends_the_job_on_both_hosts() {
    let Some(hosts) = Hosts::connect("c") else {
        return;
    };
    let model = fixture("llama-tiny");
    let args = ["bench", "--model", &model, "--tp", "4", "--verbose"];
    let load = ["--concurrency", "4", "--requests", "1000000"];
    let args = [&args[..], &load].concat();
    let mut job = Job::start(hosts.mpirun([2, 2], &args));
    job.wait_for("loaded in");
    std::thread::sleep(Duration::from_millis(500));
    assert!(hosts.running().len() >= 4);
    hosts.cut();
    let outcome = job.end_within(SOON);
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("lost communication"), "{outcome:?}");
    // The far host's processes see it by themselves.
    for _ in 0..SOON.as_secs() {
        if hosts.running().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("{:?} are left", hosts.running());
}

/// Without the launcher's help, the ranks tell what is wrong.
#[test]
fn a_cut_cable_is_told_by_the_ranks() {
    let Some(hosts) = Hosts::connect("r") else {
        return;
    };
    let model = fixture("llama-tiny");
    let args = ["bench", "--model", &model, "--tp", "2", "--verbose"];
    let load = ["--concurrency", "4", "--requests", "1000000"];
    let args = [&args[..], &load].concat();
    let mut command = hosts.mpirun([1, 1], &args);
    command.env("CANDLEPOWER_MPI_TIMEOUT", "1");
    let mut job = Job::start(command);
    job.wait_for("loaded in");
    hosts.cut();
    job.wait_for("error: rank 0 on host0: no answer from rank 1 on host1");
    // mpirun now waits for a machine that is out of reach: twice Ctrl-C.
    job.launcher.kill().unwrap();
    job.launcher.wait().unwrap();
}
