//! What GPUs hand each other without a library: sums, comparisons and words over two, four and eight virtual GPUs.

mod agreement;
mod bytes;
mod models;
mod norms;
mod order;
mod sums;
mod times;

use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use candlepower::ops::Buffer;
use candlepower::ops::cuda::exchange::{Exchange, Inboxes, Route, Shots};
use candlepower::ops::cuda::{Cuda, Gpu};

use crate::common::random::Random;
use crate::support::{DTYPES, UNTOUCHED, ordinal, values};

/// Set in the process that a test runs itself in.
const INSIDE: &str = "CANDLEPOWER_TEST_INSIDE";
/// Slots so small that most messages take several rounds.
const SMALL_SLOTS: usize = 2 << 10;

/// Where a test runs: itself in a process of its own, with as many virtual GPUs as it wants.
pub struct Machine {
    gpus: usize,
    /// Of the virtual GPU.
    config: String,
    /// Variables of the virtual GPU.
    more: Vec<(&'static str, String)>,
}

impl Machine {
    pub fn new(gpus: usize, peers: bool) -> Self {
        // Whether each reaches the memory of all others.
        let config = format!("peer_access = {peers}\n");
        let more = Vec::new();
        Self { gpus, config, more }
    }

    /// With more lines of configuration.
    pub fn configured(mut self, lines: &str) -> Self {
        self.config += lines;
        self
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.more.push((name, value.to_string()));
        self
    }

    /// Whether this is the process in which the test does its work. In the one that called it, the work is done.
    pub fn is_inside(&self, test: &str) -> bool {
        if std::env::var_os(INSIDE).is_some() {
            return true;
        }
        if !Gpu::is_virtual(0).unwrap() {
            eprintln!("SKIPPED: only virtual GPUs are as many as one likes");
            return false;
        }
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("vgpu.toml");
        std::fs::write(&config, &self.config).unwrap();
        let outcome = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1")
            .env("VGPU_CONFIG", &config)
            .env("VGPU_DEVICES", self.gpus.to_string())
            .envs(self.more.iter().cloned())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&outcome.stderr);
        assert!(
            outcome.status.success(),
            "{} GPUs: {told}\n{}",
            self.gpus,
            String::from_utf8_lossy(&outcome.stdout)
        );
        let ran = String::from_utf8_lossy(&outcome.stdout);
        assert!(ran.contains("1 passed"), "{test} is no test: {ran}");
        false
    }
}

/// One rank in a test.
pub struct Member {
    pub rank: usize,
    cuda: Cuda,
    exchange: Exchange,
}

impl Member {
    fn gpu(&self) -> &Gpu {
        self.cuda.gpu()
    }

    /// A buffer that holds the numbers of this rank.
    fn send(&self, own: &[f32], dims: (usize, usize), dtype: DType) -> Buffer {
        let tensor = Tensor::from_slice(own, dims, &Device::Cpu).unwrap();
        let cast = tensor.to_dtype(dtype).unwrap();
        Buffer::new(cast.to_device(&self.gpu().candle()).unwrap()).unwrap()
    }
}

/// Runs `work` on as many ranks at once; `ptx` takes the place of `kernels/all_reduce.cu`.
pub fn on_ranks<R: Send>(
    ranks: usize,
    route: Route,
    channel_bytes: usize,
    ptx: Option<&str>,
    work: impl Fn(&Member) -> R + Sync,
) -> Vec<R> {
    let inboxes = Arc::new(Inboxes::new(ranks, route, channel_bytes).unwrap());
    let all = Barrier::new(ranks);
    let life = |rank| {
        let gpu = Gpu::open(ordinal(rank)).unwrap();
        inboxes.open(&gpu, rank).unwrap();
        all.wait();
        let exchange = match ptx {
            None => Exchange::join(&gpu, rank, inboxes.clone()),
            Some(ptx) => Exchange::join_with(&gpu, rank, inboxes.clone(), ptx.to_owned()),
        };
        all.wait();
        let member = Member {
            rank,
            cuda: Cuda::new(gpu, DType::F32).unwrap(),
            exchange: exchange.unwrap(),
        };
        work(&member)
    };
    std::thread::scope(|scope| {
        let life = &life;
        let threads: Vec<_> = (0..ranks)
            .map(|rank| scope.spawn(move || life(rank)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// How one message is added up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Manner {
    Shots(Shots),
    Copies,
}

impl Manner {
    fn all(route: Route) -> Vec<Self> {
        let shots = [Self::Shots(Shots::One), Self::Shots(Shots::Two)];
        match route {
            Route::Host => [&shots[..], &[Self::Copies]].concat(),
            Route::Peers => shots.to_vec(),
        }
    }

    fn reduce(self, member: &Member, x: &Buffer, rows: usize) {
        let done = match self {
            Self::Shots(shots) => member.exchange.all_reduce(x, rows, shots),
            Self::Copies => member.exchange.all_reduce_staged(x, rows),
        };
        done.unwrap();
    }
}

/// One message of a test: the same for all ranks, but for the numbers.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    pub seed: u64,
    pub rows: usize,
    pub width: usize,
    pub dtype: DType,
    pub manner: Manner,
}

impl Message {
    pub fn random(random: &mut Random, route: Route, largest: usize) -> Self {
        let width = random.within(1..largest);
        Self {
            seed: random.bits(),
            rows: random.within(1..(largest / width + 2)),
            width,
            dtype: random.pick(&DTYPES),
            manner: random.pick(&Manner::all(route)),
        }
    }

    pub fn len(&self) -> usize {
        self.rows * self.width
    }

    /// What `rank` brings, exact in the message's type, with a row behind it that nobody may write.
    fn numbers(&self, rank: usize) -> Vec<f32> {
        let mut random = Random(self.seed ^ (rank as u64 + 1).wrapping_mul(0x1234_5678_9abc_def1));
        let own = random.units(self.len());
        let rounded = Tensor::from_vec(own, self.len(), &Device::Cpu).unwrap();
        let mut own = values(&rounded.to_dtype(self.dtype).unwrap());
        own.resize((self.rows + 1) * self.width, UNTOUCHED);
        own
    }

    /// The sum of all ranks' numbers in f32 and in rank order, rounded once; the row behind it.
    pub fn sum(&self, ranks: usize) -> Vec<f32> {
        let mut sum = self.numbers(0);
        for rank in 1..ranks {
            let other = self.numbers(rank);
            let own = sum.iter_mut().zip(other).take(self.len());
            own.for_each(|(sum, other)| *sum += other);
        }
        let count = sum.len();
        let sum = Tensor::from_vec(sum, count, &Device::Cpu).unwrap();
        values(&sum.to_dtype(self.dtype).unwrap())
    }

    pub fn send(&self, member: &Member) -> Buffer {
        let own = self.numbers(member.rank);
        member.send(&own, (self.rows + 1, self.width), self.dtype)
    }

    pub fn reduce(&self, member: &Member, x: &Buffer) {
        self.manner.reduce(member, x, self.rows);
    }
}

/// How many numbers differ in their bits.
pub fn differences(found: &Tensor, expected: &[f32]) -> usize {
    let found = values(found);
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.filter(|(f, e)| f.to_bits() != e.to_bits()).count()
}

/// Sometimes nothing, sometimes a while: so that another rank comes first.
pub fn delay(random: &mut Random) {
    match random.within(0..8) {
        0 => std::thread::sleep(Duration::from_micros(random.within(1..800) as u64)),
        1 | 2 => std::thread::yield_now(),
        _ => {}
    }
}
