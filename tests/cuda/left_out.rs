//! Kernels compiled without a part that keeps memory in order, to see that tests find it missing.

use std::process::Command;

/// PTX of `source`, which includes files of `kernels/`, without `part`; `None`, and said, where there is no compiler.
pub fn without(part: &str, source: &str) -> Option<String> {
    let nvcc = std::env::var("CUDA_HOME").map_or("nvcc".into(), |home| home + "/bin/nvcc");
    let dir = tempfile::tempdir().unwrap();
    let [file, out] = ["kernels.cu", "kernels.ptx"].map(|name| dir.path().join(name));
    std::fs::write(&file, source).unwrap();
    let run = Command::new(nvcc)
        .args(["--ptx", "-O3", "-std=c++17", "-arch=compute_80", "-I"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels"))
        .arg(format!("-DLEFT_OUT={part}"))
        .arg("-o")
        .args([&out, &file])
        .output();
    let Ok(run) = run else {
        eprintln!("SKIPPED: no nvcc in CUDA_HOME or on the PATH");
        return None;
    };
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{told}");
    Some(std::fs::read_to_string(&out).unwrap())
}
