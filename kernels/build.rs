//! `kernels/*.cu` to PTX and machine code, and a table of both for `ops/cuda`.
//!
//! Architectures of the PTX come from CANDLEPOWER_CUDA_ARCHS (a list such as `80,86,89,90`), else from
//! CUDA_COMPUTE_CAP, else from the GPU in this machine. PTX of one runs on every later one, but the driver must know
//! the compiler's release and compiles it at the first start. So it has machine code beside it, of all architectures
//! that the kernels are used on.
//! Sources with something of their own for 9.0 (`chain.cuh`) have PTX of that too, whatever the list says.
//! A kernel whose text, headers, compiler and flags are as before is not compiled again. The table has the registers too
//! that each kernel's machine code takes, for whom no card tells them.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

/// What the kernels are written for; the tensor cores' bf16 and `cp.async` begin here.
const OLDEST: u32 = 80;
/// A100; 3090 and A10; 4090 and L40S; H100 and H200. Code of 8.0 runs on 8.6, but slower.
const MACHINES: [u32; 4] = [80, 86, 89, 90];
/// Kernels that overlap, and the header of those: see there.
const CHAINED: (u32, &str) = (90, "#include \"chain.cuh\"");

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
    let mut sources = listed("kernels")?;
    sources.retain(|path| path.extension().is_some_and(|e| e == "cu"));
    let compiler = Compiler { nvcc, version, out };
    each(&sources, |source| {
        let mut to = architectures_of(source, &architectures)?
            .into_iter()
            .peekable();
        while let Some(arch) = to.next() {
            compiler.to_ptx(source, arch)?;
            compiler.to_code(source, arch, &machines(arch, to.peek().copied()))?;
        }
        Ok(())
    })?;
    let mut table = String::from("&[\n");
    for source in &sources {
        let name = stem(source);
        let _ = writeln!(table, "    ({name:?}, &[");
        for arch in architectures_of(source, &architectures)? {
            let file = format!("(concat!(env!(\"OUT_DIR\"), \"/{name}.{arch}");
            let log = read(&compiler.out.join(format!("{name}.{arch}.fatbin.log")))?;
            let _ = writeln!(
                table,
                "        Compiled {{ arch: {arch}, code: include_bytes!{file}.fatbin\")), ptx: include_str!{file}.ptx\")), registers: &{:?} }},",
                registers(&log)
            );
        }
        table += "    ]),\n";
    }
    table += "]\n";
    fs::write(compiler.out.join("kernels.rs"), table).map_err(|e| format!("kernels.rs: {e}"))
}

/// `architectures`, and what the source has something of its own for.
fn architectures_of(source: &Path, architectures: &[u32]) -> Result<Vec<u32>, String> {
    let (chained, header) = CHAINED;
    let mut all = architectures.to_vec();
    if architectures.iter().all(|arch| *arch < chained) && with_headers(source)?.contains(header) {
        all.push(chained);
    }
    Ok(all)
}

/// What PTX of `arch` becomes code for, where the next that there is PTX of is `next`.
fn machines(arch: u32, next: Option<u32>) -> Vec<u32> {
    let later = MACHINES.into_iter().filter(|&machine| machine > arch);
    let own = later.filter(|&machine| next.is_none_or(|next| machine < next));
    [arch].into_iter().chain(own).collect()
}

/// Calls `work` on every source, by as many threads as Cargo allows.
fn each(
    sources: &[PathBuf],
    work: impl Fn(&Path) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let workers = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok());
    let next = AtomicUsize::new(0);
    let serve = || {
        while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(source)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.unwrap_or(1_usize).max(1))
            .map(|_| scope.spawn(serve))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<_>| {
            let ended = || Err("a thread that ran nvcc ended".to_owned());
            thread.join().unwrap_or_else(|_| ended())
        };
        threads.into_iter().try_for_each(join)
    })
}

struct Compiler {
    nvcc: PathBuf,
    version: String,
    out: PathBuf,
}

impl Compiler {
    fn to_ptx(&self, source: &Path, arch: u32) -> Result<(), String> {
        let target = format!("-arch=compute_{arch}");
        let flags = ["--ptx", "-O3", "-std=c++17", "-lineinfo", &target];
        let text = with_headers(source)?;
        self.run(
            &flags,
            source,
            &text,
            &format!("{}.{arch}.ptx", stem(source)),
        )
    }

    /// One compressed file of code for all `machines`, from the PTX of `arch`.
    fn to_code(&self, source: &Path, arch: u32, machines: &[u32]) -> Result<(), String> {
        let stem = format!("{}.{arch}", stem(source));
        let ptx = self.out.join(format!("{stem}.ptx"));
        let names: Vec<String> = machines.iter().map(|arch| format!("sm_{arch}")).collect();
        let target = format!("-gencode=arch=compute_{arch},code=[{}]", names.join(","));
        let flags = [
            "--fatbin",
            "-O3",
            "-Xptxas=-v",
            "-Xfatbin=-compress-all",
            &target,
        ];
        self.run(&flags, &ptx, &read(&ptx)?, &format!("{stem}.fatbin"))
    }

    /// Runs nvcc with `flags` on `source`, unless it has made `target` of the same text before. What it says, such as
    /// registers and spills of each kernel, is in `target`.log.
    fn run(&self, flags: &[&str], source: &Path, text: &str, target: &str) -> Result<(), String> {
        let mut hasher = DefaultHasher::new();
        (&self.version, text, flags).hash(&mut hasher);
        let key = format!("{:016x}", hasher.finish());
        let beside = |end| self.out.join(format!("{target}{end}"));
        let (target, mark, log) = (beside(""), beside(".key"), beside(".log"));
        if target.exists() && fs::read_to_string(&mark).is_ok_and(|seen| seen == key) {
            return Ok(());
        }
        let mut command = Command::new(&self.nvcc);
        command.args(flags).arg("-o").arg(&target).arg(source);
        let output = command.output();
        let output = output.map_err(|e| format!("{}: {e}", self.nvcc.display()))?;
        if !output.status.success() {
            return Err(format!(
                "{} could not be compiled by nvcc {}:\n{}{}",
                source.display(),
                flags.join(" "),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        fs::write(&log, &output.stderr).map_err(|e| format!("{}: {e}", log.display()))?;
        fs::write(&mark, key).map_err(|e| format!("{}: {e}", mark.display()))
    }
}

/// By kernel and machine, from what `ptxas -v` said.
fn registers(log: &str) -> Vec<(&str, u32, u32)> {
    let mut found = Vec::new();
    let mut kernel = None;
    for line in log.lines() {
        let quoted: Vec<&str> = line.split('\'').collect();
        if let (true, [_, name, _, machine, ..]) = (line.contains("Compiling entry"), &quoted[..]) {
            let machine = machine.strip_prefix("sm_").and_then(|m| m.parse().ok());
            kernel = machine.map(|machine| (*name, machine));
        }
        let used = line
            .split_once("Used ")
            .and_then(|(_, rest)| rest.split_once(" registers"));
        let used = used.and_then(|(count, _)| count.parse().ok());
        if let (Some((name, machine)), Some(used)) = (kernel, used) {
            found.push((name, machine, used));
        }
    }
    found
}

/// The text of a source and of all headers that it includes.
fn with_headers(source: &Path) -> Result<String, String> {
    let mut files = vec![source.to_owned()];
    let mut text = String::new();
    let mut next = 0;
    while let Some(path) = files.get(next) {
        let read = read(path)?;
        let names = read
            .lines()
            .filter_map(|line| line.strip_prefix("#include \"")?.split('"').next());
        let headers: Vec<_> = names.map(|name| path.with_file_name(name)).collect();
        for header in headers {
            if !files.contains(&header) {
                files.push(header);
            }
        }
        text += &read;
        next += 1;
    }
    Ok(text)
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
