//! A GPU that fails while others wait for it: all ranks end, with what was measured and the reason.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};
use candlepower::ground::Unwatched;
use candlepower::ops::Buffer;
use candlepower::ops::cpu::rendezvous::Rendezvous;
use candlepower::ops::cuda::Gpu;
use candlepower::parallel::gpus::Link;
use candlepower::parallel::{AllReduce, Threads};
use serde_json::Value;

use crate::cli::Machine;
use crate::cli_support::fixture;

/// Seconds that a GPU is waited for.
const PATIENCE: &str = "2";
const TIMEOUT: &str = "CANDLEPOWER_GPU_TIMEOUT";
/// From a fault, which the virtual GPU tells, to the end of the program; `PATIENCE` included.
const END: Duration = Duration::from_secs(10);

/// Two loads, the second of hundreds of steps. One with a failing GPU ends in that.
const BENCH: &str = "bench --device cuda --json --concurrency 1,3 --requests 2,90 --input-len 6 --output-len 12 --max-num-seqs 3 --max-num-batched-tokens 16 --max-model-len 32";

/// What happens to which GPU, and when: in the middle of the second load.
#[derive(Clone, Copy)]
struct Fault {
    kind: &'static str,
    device: usize,
    /// Its collectives or launches until then.
    after: (&'static str, usize),
}

/// In NCCL.
const fn in_sum(kind: &'static str, device: usize) -> Fault {
    Fault {
        kind,
        device,
        after: ("collective", 600),
    }
}

/// In a kernel, which may be an own sum.
const fn in_kernel(kind: &'static str, device: usize) -> Fault {
    Fault {
        kind,
        device,
        after: ("at", 2700),
    }
}

/// The program, with a GPU that fails.
struct Run {
    machine: Machine,
    child: Child,
}

/// How it ended.
#[derive(Debug)]
struct End {
    code: Option<i32>,
    /// All that was said after the fault, and the time from there to the end.
    told: String,
    took: Duration,
    results: Value,
}

impl Run {
    /// `None`, and said, without virtual GPUs.
    fn start(fault: Fault, patience: &str, flags: &str) -> Option<Self> {
        let Fault {
            kind,
            device,
            after: (count, number),
        } = fault;
        // Nothing but the program itself ends its waiting.
        let machine = Machine::new(&format!(
            "patience = 600\npeer_access = true\n[[device]]\n[[device]]\n[[fault]]\nkind = \"{kind}\"\ndevice = {device}\n{count} = {number}\n"
        ))?;
        let model = fixture("qwen2-tiny");
        let mut args: Vec<&str> = BENCH.split(' ').chain(flags.split(' ')).collect();
        args.extend(["--model", &model]);
        let mut command = machine.command(&args);
        let out = std::fs::File::create(machine.path("out")).unwrap();
        let child = command.env(TIMEOUT, patience).stdout(out);
        let child = child.stderr(Stdio::piped()).spawn().unwrap();
        Some(Self { machine, child })
    }

    /// Runs on; `at_fault` is done once the GPU has failed.
    fn end(mut self, at_fault: impl FnOnce(&Child)) -> End {
        let mut lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let due = lines.find(|line| line.as_ref().unwrap().contains("as the configuration asks"));
        assert!(due.is_some(), "no GPU has failed");
        let start = Instant::now();
        at_fault(&self.child);
        let told: Vec<String> = lines.map(Result::unwrap).collect();
        let code = self.child.wait().unwrap().code();
        let out = std::fs::read(self.machine.path("out")).unwrap();
        End {
            code,
            took: start.elapsed(),
            told: told.join("\n"),
            results: serde_json::from_slice(&out).unwrap_or_default(),
        }
    }
}

impl End {
    /// In time, with an error that says all of `words`.
    fn says(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.took < END, "{self:?}");
        assert!(!self.told.contains("panicked"), "{self:?}");
        let all = words.iter().all(|word| self.told.contains(word));
        assert!(all, "{words:?}: {self:?}");
    }

    /// The first load is whole, and the second says what it came to.
    fn is_partial(&self) {
        assert_eq!(self.results["partial"], true, "{self:?}");
        let metrics = |run: usize| &self.results["runs"][run]["metrics"];
        assert_eq!(metrics(0)["success_rate"], 100.0, "{self:?}");
        let done = metrics(1)["successful_requests"].as_u64().unwrap();
        assert!((1..90).contains(&done), "{self:?}");
    }
}

/// Over two GPUs: the error has the step's number, the rank that is to blame, and `words`.
fn ends(fault: Fault, flags: &str, words: &[&str]) {
    let Some(run) = Run::start(fault, PATIENCE, &format!("--tp 2 {flags}")) else {
        return;
    };
    let end = run.end(|_| {});
    let rank = format!("rank {} failed: a step failed", fault.device);
    let gpu = format!("cuda:{}", fault.device);
    end.says(&[&["partial: step ", &rank, &gpu], words].concat());
    end.is_partial();
}

const HANGS: &[&str] = &["was waited for 2 s", "for the answers of a step, and hangs"];
const DIED: &[&str] = &["CUDA_ERROR_UNKNOWN"];
const ECC: &[&str] = &["CUDA_ERROR_ECC_UNCORRECTABLE"];

#[test]
fn a_gpu_that_hangs_in_nccl_in_a_graph() {
    ends(in_sum("hangs", 1), "--all-reduce nccl", HANGS);
}

#[test]
fn a_gpu_that_hangs_in_nccl() {
    ends(
        in_sum("hangs", 0),
        "--all-reduce nccl --no-cuda-graphs",
        HANGS,
    );
}

#[test]
fn a_gpu_that_dies_in_nccl_in_a_graph() {
    ends(in_sum("dies", 0), "--all-reduce nccl", DIED);
}

#[test]
fn a_gpu_with_an_ecc_error_in_nccl() {
    ends(
        in_sum("ecc-error", 1),
        "--all-reduce nccl --no-cuda-graphs",
        ECC,
    );
}

/// Which of the ranks asks NCCL first is not known.
#[test]
fn a_rank_that_nccl_has_lost() {
    let flags = "--tp 2 --all-reduce nccl";
    let Some(run) = Run::start(in_sum("remote-error", 1), PATIENCE, flags) else {
        return;
    };
    let end = run.end(|_| {});
    let words = [
        "partial: step ",
        "failed: a step failed: cuda:",
        "NCCL has lost a rank",
    ];
    end.says(&words);
    end.is_partial();
}

#[test]
fn a_gpu_that_hangs_among_own_sums_in_a_graph() {
    ends(in_kernel("hangs", 0), "--all-reduce host", HANGS);
}

#[test]
fn a_gpu_that_dies_among_own_sums() {
    ends(
        in_kernel("dies", 1),
        "--all-reduce host --no-cuda-graphs",
        DIED,
    );
}

#[test]
fn a_gpu_that_hangs_among_own_sums_over_peers() {
    ends(
        in_kernel("hangs", 1),
        "--all-reduce p2p --no-cuda-graphs",
        HANGS,
    );
}

#[test]
fn a_gpu_with_an_ecc_error_among_own_sums_over_peers_in_a_graph() {
    ends(in_kernel("ecc-error", 0), "--all-reduce p2p", ECC);
}

#[test]
fn a_gpu_alone_that_hangs() {
    if let Some(run) = Run::start(in_kernel("hangs", 0), PATIENCE, "--tp 1") {
        let end = run.end(|_| {});
        end.says(&[&["partial: step ", "a step failed: cuda:0"], HANGS].concat());
        end.is_partial();
    }
}

/// In the middle of loading and of the first steps there is nothing to tell but the reason.
#[test]
fn a_gpu_that_hangs_before_the_first_load() {
    let early = Fault {
        after: ("collective", 5),
        ..in_sum("hangs", 1)
    };
    if let Some(run) = Run::start(early, PATIENCE, "--tp 2 --all-reduce nccl") {
        run.end(|_| {})
            .says(&["rank 1 failed", "cuda:1", "and hangs"]);
    }
}

/// Long before the deadline.
#[test]
fn ctrl_c_ends_a_step_that_hangs() {
    let Some(run) = Run::start(in_sum("hangs", 1), "600", "--tp 2 --all-reduce nccl") else {
        return;
    };
    let end = run.end(|child| {
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
    });
    end.says(&["the results are partial: interrupted"]);
    end.is_partial();
}

/// More sums than a driver has room for launches, which would hold up the rank itself.
#[test]
fn a_rank_far_ahead_of_its_gpu_hears_that_nobody_comes() {
    const SUMS: usize = 10_000;
    if Gpu::count().unwrap() < 2 || !Gpu::is_virtual(0).unwrap() {
        return;
    }
    let link = Link::new(2, AllReduce::Nccl, 0).unwrap();
    let link = link.with_limit(Duration::from_secs(1), Arc::new(Unwatched));
    let meeting = Arc::new(Rendezvous::new(2, false));
    let ended = Barrier::new(2);
    let join = |rank| {
        let host = Threads::new(rank, meeting.clone());
        link.join(Box::new(host), Gpu::open(rank)).unwrap()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _silent = join(1);
            ended.wait();
        });
        let (gpu, collective) = join(0);
        let x = Tensor::zeros((1, 64), DType::F32, &gpu.candle()).unwrap();
        let x = Buffer::new(x).unwrap();
        let start = Instant::now();
        let error = (0..SUMS).find_map(|_| collective.all_reduce(&x, 1).err());
        let took = start.elapsed();
        ended.wait();
        let error = error.map(|error| error.to_string());
        let is_told = error
            .as_ref()
            .is_some_and(|error| error.contains("waited for 1 s"));
        assert!(is_told && took < END, "{error:?}, {took:?}");
    });
}

#[test]
fn a_deadline_that_is_none_is_refused() {
    let Some(machine) = Machine::new("") else {
        return;
    };
    let model = fixture("qwen2-tiny");
    let mut command = machine.command(&["bench", "--device", "cuda", "--model", &model]);
    let outcome = command.env(TIMEOUT, "soon").output().unwrap();
    let told = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(2), "{told}");
    assert!(
        told.contains("CANDLEPOWER_GPU_TIMEOUT=soon: it must be a number of seconds"),
        "{told}"
    );
}
