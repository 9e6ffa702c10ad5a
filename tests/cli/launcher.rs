//! A build without MPI that finds itself started as one process of several.
#![cfg(not(feature = "mpi"))]

use crate::cli_support::{Outcome, command, fixture};

/// As Open MPI's mpirun and MPICH's start a process.
const LAUNCHERS: [[&str; 2]; 2] = [
    ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"],
    ["PMI_SIZE", "PMI_RANK"],
];

fn run(launcher: [&str; 2], rank: &str, args: &[&str]) -> Outcome {
    let values = launcher.into_iter().zip(["4", rank]);
    Outcome::of(command(args).envs(values).output().unwrap())
}

#[test]
fn it_refuses_once() {
    let model = fixture("qwen2-tiny");
    let args = [
        "generate",
        "--model",
        &model,
        "--tp",
        "4",
        "--prompt-ids",
        "1",
    ];
    for launcher in LAUNCHERS {
        let first = run(launcher, "0", &args);
        assert_eq!(
            (first.code, first.stdout.as_str()),
            (Some(2), ""),
            "{first:?}"
        );
        assert_eq!(first.stderr.lines().count(), 1, "{first:?}");
        for part in ["4 processes", "--features mpi", "--tp 4"] {
            assert!(first.stderr.contains(part), "{first:?}");
        }
        let other = run(launcher, "3", &args);
        assert_eq!(
            (other.code, other.stderr.as_str()),
            (Some(2), ""),
            "{other:?}"
        );
    }
}

#[test]
fn other_commands_speak_once() {
    let args = ["models"];
    assert!(run(LAUNCHERS[0], "0", &args).succeeded().stdout.len() > 100);
    assert_eq!(run(LAUNCHERS[0], "1", &args).succeeded().stdout, "");
    let bad = ["bench", "--tp", "none"];
    assert!(run(LAUNCHERS[0], "0", &bad).stderr.contains("--tp"));
    let other = run(LAUNCHERS[0], "2", &bad);
    assert_eq!((other.code, other.stderr.as_str()), (Some(2), ""));
}
