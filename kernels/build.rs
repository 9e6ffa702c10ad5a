//! `kernels/*.cu` to PTX, once for each architecture, and a table of them for `ops/cuda`.
//!
//! Architectures come from CANDLEPOWER_CUDA_ARCHS (a list such as `80,86,89,90`), else from CUDA_COMPUTE_CAP, else
//! from the GPU in this machine. PTX of one runs on every later one: the driver compiles it at the first start.
//! A kernel whose text, headers, compiler and flags are as before is not compiled again.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

/// What the kernels are written for; the tensor cores' bf16 and `cp.async` begin here.
const OLDEST: u32 = 80;

pub fn compile() -> Result<(), String> {
    for name in [
        "CANDLEPOWER_CUDA_ARCHS",
        "CUDA_COMPUTE_CAP",
        "CUDA_HOME",
        "NVCC",
        "PATH",
    ] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=kernels");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let nvcc = nvcc();
    let version = version(&nvcc)?;
    let architectures = architectures()?;
    let mut headers = String::new();
    let mut sources = Vec::new();
    for path in listed("kernels")? {
        match path.extension().and_then(|e| e.to_str()) {
            Some("cuh") => headers += &read(&path)?,
            Some("cu") => sources.push(path),
            _ => {}
        }
    }
    let jobs: Vec<(&PathBuf, u32)> = sources
        .iter()
        .flat_map(|source| architectures.iter().map(move |&arch| (source, arch)))
        .collect();
    let workers = env::var("NUM_JOBS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_usize);
    let each = jobs.len().div_ceil(workers.max(1)).max(1);
    let outcome: Result<Vec<()>, String> = thread::scope(|scope| {
        let parts: Vec<_> = jobs
            .chunks(each)
            .map(|part| {
                let (nvcc, version, headers, out) = (&nvcc, &version, &headers, &out);
                scope.spawn(move || {
                    part.iter().try_for_each(|(source, arch)| {
                        to_ptx(nvcc, version, headers, source, *arch, out)
                    })
                })
            })
            .collect();
        let join = |part: thread::ScopedJoinHandle<_>| {
            part.join()
                .unwrap_or_else(|_| Err("a thread that ran nvcc ended".to_owned()))
        };
        parts.into_iter().map(join).collect()
    });
    outcome?;
    let mut table = String::from("&[\n");
    for source in &sources {
        let name = stem(source);
        let _ = writeln!(table, "    ({name:?}, &[");
        for arch in &architectures {
            let _ = writeln!(
                table,
                "        ({arch}, include_str!(concat!(env!(\"OUT_DIR\"), \"/{name}.{arch}.ptx\"))),"
            );
        }
        table += "    ]),\n";
    }
    table += "]\n";
    fs::write(out.join("kernels.rs"), table).map_err(|e| format!("kernels.rs: {e}"))
}

fn to_ptx(
    nvcc: &Path,
    version: &str,
    headers: &str,
    source: &Path,
    arch: u32,
    out: &Path,
) -> Result<(), String> {
    let flags = ["--ptx", "-O3", "-std=c++17", "-lineinfo"];
    let text = read(source)?;
    let mut hasher = DefaultHasher::new();
    (version, headers, &text, flags, arch).hash(&mut hasher);
    let key = format!("{:016x}", hasher.finish());
    let name = stem(source);
    let (ptx, mark) = (
        out.join(format!("{name}.{arch}.ptx")),
        out.join(format!("{name}.{arch}.key")),
    );
    if ptx.exists() && fs::read_to_string(&mark).is_ok_and(|seen| seen == key) {
        return Ok(());
    }
    let output = Command::new(nvcc)
        .args(flags)
        .arg(format!("-arch=compute_{arch}"))
        .arg("-o")
        .arg(&ptx)
        .arg(source)
        .output()
        .map_err(|e| format!("{}: {e}", nvcc.display()))?;
    if !output.status.success() {
        return Err(format!(
            "{} could not be compiled for compute capability {arch}:\n{}{}",
            source.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    fs::write(&mark, key).map_err(|e| format!("{}: {e}", mark.display()))
}

/// NVCC, else that of CUDA_HOME, else the first on the path.
fn nvcc() -> PathBuf {
    if let Some(named) = env::var_os("NVCC") {
        return named.into();
    }
    let home = env::var_os("CUDA_HOME").unwrap_or_else(|| "/usr/local/cuda".into());
    let inside = PathBuf::from(home).join("bin/nvcc");
    match inside.exists() {
        true => inside,
        false => "nvcc".into(),
    }
}

fn version(nvcc: &Path) -> Result<String, String> {
    let output = Command::new(nvcc).arg("--version").output().map_err(|e| {
        format!(
            "the feature `cuda` needs NVIDIA's compiler, and {} did not start ({e}): install the CUDA toolkit (12.4 to 13.x) and set CUDA_HOME to it, or run: eval \"$(scripts/cuda-env)\"",
            nvcc.display()
        )
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn architectures() -> Result<Vec<u32>, String> {
    let asked = ["CANDLEPOWER_CUDA_ARCHS", "CUDA_COMPUTE_CAP"]
        .into_iter()
        .find_map(|name| Some((name, env::var(name).ok().filter(|v| !v.trim().is_empty())?)));
    let (from, list) = match asked {
        Some((name, list)) => (name.to_owned(), list),
        None => ("nvidia-smi".to_owned(), of_this_machine()?),
    };
    let mut found = Vec::new();
    for one in list
        .split([',', ';', ' ', '\n'])
        .map(str::trim)
        .filter(|s| !s.is_empty())
    {
        let digits: String = one
            .trim_start_matches("sm_")
            .chars()
            .filter(|c| *c != '.')
            .collect();
        match digits.parse() {
            Ok(arch) if arch >= OLDEST => found.push(arch),
            _ => {
                return Err(format!(
                    "{from} names the architecture `{one}`: use compute capabilities of {OLDEST} and later, such as 80, 86, 89 or 90"
                ));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(format!(
            "{from} names no architecture: set CUDA_COMPUTE_CAP, such as to 89"
        ));
    }
    Ok(found)
}

fn of_this_machine() -> Result<String, String> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=compute_cap", "--format=csv,noheader"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        _ => Err(
            "no GPU answers here, so say what to compile for: set CUDA_COMPUTE_CAP (such as 89) or CANDLEPOWER_CUDA_ARCHS (such as 80,86,89,90)"
                .to_owned(),
        ),
    }
}

fn listed(folder: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{folder}: {e}"))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
