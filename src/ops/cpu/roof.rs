//! What this host can do at best, measured: the roofs that kernels are held against.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::hint::black_box;
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;
use std::time::Instant;

#[cfg(target_arch = "x86_64")]
use super::{kernel_avx2::Avx2, kernel_avx512::Avx512, kernel_avx512_bf16::Avx512Bf16};
use super::{kernel_portable::multiply_add, packing::Activations, pages, workers};

/// Tries, of which the best counts: a roof is what the host can do, not what it did under load.
/// Tries are short, under a millisecond, so that a few fall between what else the host runs.
const TRIES: usize = 128;
/// Bytes held for a bandwidth: far more than a last-level cache holds.
const READ_BYTES: usize = 512 << 20;
/// Bytes of one try, each from where the last one ended.
const TRY_BYTES: usize = 8 << 20;
/// Words of a stream summed independently: a cache line.
const READ_LANES: usize = 8;
const READ_STREAMS: usize = 4;
/// Steps of one try of the multiply-add loop.
const MULTIPLY_ADD_STEPS: usize = 50_000;
const LANES: usize = 8;
#[cfg(target_arch = "x86_64")]
const WIDE_LANES: usize = 16;
/// So small that sums stay 1.
const FACTOR: f32 = f32::MIN_POSITIVE;
/// Independent chains: latency (4 cycles) times units (2) and some to spare.
const CHAINS: usize = 10;

fn best_seconds(mut run: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..TRIES).map(time).fold(f64::INFINITY, f64::min)
}

/// Bytes a second that the current `workers` read from memory; `None` where there is none to read.
pub fn read_bandwidth() -> Option<f64> {
    let count = READ_BYTES / size_of::<u64>();
    let mut words = Vec::new();
    words.try_reserve_exact(count).ok()?;
    pages::advise_huge(words.spare_capacity_mut());
    words.resize(count, 1_u64);
    let mut tries = words.chunks_exact(TRY_BYTES / size_of::<u64>()).cycle();
    let seconds = best_seconds(|| {
        let words = tries.next().unwrap_or_default();
        let part = words.len() / workers::threads();
        workers::each(workers::threads(), |i| {
            black_box(sum(&words[i * part..][..part]));
        });
    });
    Some(TRY_BYTES as f64 / seconds)
}

/// Reads several streams side by side: one alone does not keep memory busy.
fn sum(words: &[u64]) -> u64 {
    let mut lanes = [[0_u64; READ_LANES]; READ_STREAMS];
    let (lines, _) = words.as_chunks::<READ_LANES>();
    let length = lines.len() / READ_STREAMS;
    for i in 0..length {
        for (stream, lanes) in lanes.iter_mut().enumerate() {
            for (lane, word) in lanes.iter_mut().zip(&lines[stream * length + i]) {
                *lane = lane.wrapping_add(*word);
            }
        }
    }
    let lanes = lanes.as_flattened().iter();
    lanes.fold(0, |sum, lane| sum.wrapping_add(*lane))
}

/// FLOPs a second of multiply-adds on the current `workers`, nothing read or written: of f32, or of pairs of bf16 where
/// `activations` are such and this host multiplies them.
pub fn multiply_add_peak(activations: Activations) -> f64 {
    let threads = workers::threads();
    let sums = chains(activations);
    let seconds = best_seconds(|| {
        workers::each(threads, |_| {
            chains(activations);
        });
    });
    (2 * sums * MULTIPLY_ADD_STEPS * threads) as f64 / seconds
}

/// Runs chains in the widest registers of this host; gives how many sums they were.
#[cfg(target_arch = "x86_64")]
fn chains(activations: Activations) -> usize {
    if activations == Activations::Bf16 && Avx512Bf16::detect().is_some() {
        // SAFETY: the features were just detected.
        return unsafe { bf16_chains() };
    }
    match (Avx512::detect(), Avx2::detect()) {
        // SAFETY: the features were just detected.
        (Some(_), _) => unsafe { avx512_chains() },
        // SAFETY: as above.
        (None, Some(_)) => unsafe { avx2_chains() },
        (None, None) => multiply_adds::<false, LANES>(),
    }
}

/// Runs chains in the widest registers of this host; gives how many sums they were.
#[cfg(not(target_arch = "x86_64"))]
fn chains(_activations: Activations) -> usize {
    // 20 registers of NEON, whose hosts start up to four a cycle.
    multiply_adds::<{ cfg!(target_arch = "aarch64") }, LANES>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512_chains() -> usize {
    let factor = black_box(_mm512_set1_ps(FACTOR));
    let mut sums = black_box([_mm512_set1_ps(1.0); CHAINS]);
    for _ in 0..MULTIPLY_ADD_STEPS {
        for sums in &mut sums {
            *sums = _mm512_fmadd_ps(*sums, factor, *sums);
        }
    }
    black_box(sums).len() * WIDE_LANES
}

/// A sum of each lane takes two products a step.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_chains() -> usize {
    // SAFETY: both are 64 bytes without padding.
    let factor: __m512bh = unsafe { transmute(black_box(_mm512_set1_ps(0.0))) };
    let mut sums = black_box([_mm512_set1_ps(1.0); CHAINS]);
    for _ in 0..MULTIPLY_ADD_STEPS {
        for sums in &mut sums {
            *sums = _mm512_dpbf16_ps(*sums, factor, factor);
        }
    }
    2 * black_box(sums).len() * WIDE_LANES
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2_chains() -> usize {
    let factor = black_box(_mm256_set1_ps(FACTOR));
    let mut sums = black_box([_mm256_set1_ps(1.0); CHAINS]);
    for _ in 0..MULTIPLY_ADD_STEPS {
        for sums in &mut sums {
            *sums = _mm256_fmadd_ps(*sums, factor, *sums);
        }
    }
    black_box(sums).len() * LANES
}

#[inline(always)]
fn multiply_adds<const FUSED: bool, const LANES: usize>() -> usize {
    let factor = black_box([FACTOR; LANES]);
    let mut sums = black_box([[1.0_f32; LANES]; CHAINS]);
    for _ in 0..MULTIPLY_ADD_STEPS {
        for sums in &mut sums {
            for i in 0..LANES {
                sums[i] = multiply_add::<FUSED>(sums[i], factor[i], sums[i]);
            }
        }
    }
    black_box(sums).as_flattened().len()
}
