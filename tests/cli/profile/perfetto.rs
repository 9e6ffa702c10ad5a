//! Perfetto's own trace processor reads the trace, where python3 can bring one.

use std::io::Write;
use std::process::Command;

use tempfile::TempDir;

use super::command::profile;

/// Exit code of the script where there is no trace processor.
const NOT_THERE: i32 = 77;

#[test]
fn perfetto_reads_the_trace() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("trace.json");
    let path = path.to_str().unwrap();
    profile(
        "llama-tiny",
        &[
            "--tp",
            "2",
            "--batch",
            "2",
            "--context",
            "20",
            "--steps",
            "2",
            "--trace",
            path,
        ],
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/check-trace");
    let output = Command::new("python3").args(["-B", script, path]).output();
    let output = output.expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(NOT_THERE) {
        // Past the test harness, which hides what a passing test prints.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {}", said.trim());
        return;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    // 2 steps of 29 operations and 3 layers on 2 ranks, and the steps themselves on 3 tracks.
    assert!(said.contains(" 0 misplaced"), "{said}");
}
