//! Rows of logits to a few words: the highest, summaries, and the token at some mass.

use candle_core::{DType, Device, Tensor};
use candlepower::ground::Sampling;
use candlepower::ops::cuda::Cuda;
use candlepower::ops::reference::Reference;
use candlepower::ops::sampling::noise::Noise;
use candlepower::ops::sampling::summary;
use candlepower::ops::{Ask, Backend, Buffer, Kernels, Pick, Queue, Rows, Summary};

use crate::common::random::Random;
use crate::common::stored::Stored;
use crate::support::{SPARE, cuda, sent, untouched};

/// Rows shorter than a block, of several runs, and whole numbers of 16-byte accesses or not.
const TOKENS: [usize; 9] = [0, 1, 2, 31, 1000, 1024, 3001, 4096, 5003];
/// A token's index where its rank's part starts.
const FIRST: usize = 7000;
/// An exponential in f32, and the sums of them, against f64.
const TOLERANCE: f64 = 1e-6;

/// How the logits of a row lie.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Spread,
    /// Few values, each many times.
    Ties,
    Equal,
    /// Zeros of both signs are the highest.
    Zeros,
    /// Most tokens have no chance.
    Masked,
    AllMasked,
    Nan,
    Infinite,
}

const KINDS: [Kind; 8] = [
    Kind::Spread,
    Kind::Ties,
    Kind::Equal,
    Kind::Zeros,
    Kind::Masked,
    Kind::AllMasked,
    Kind::Nan,
    Kind::Infinite,
];

fn row(random: &mut Random, kind: Kind, tokens: usize) -> Vec<f32> {
    let mut row: Vec<f32> = (0..tokens)
        .map(|_| match kind {
            Kind::Spread | Kind::Nan | Kind::Infinite => random.unit() * 12.0,
            Kind::Ties => (random.unit() * 3.0).round(),
            Kind::Equal => -2.5,
            Kind::Zeros => random.pick(&[0.0, -0.0, -1.0]),
            Kind::Masked if random.within(0..8) == 0 => random.unit() * 12.0,
            Kind::Masked | Kind::AllMasked => f32::NEG_INFINITY,
        })
        .collect();
    let bad = match kind {
        Kind::Nan => f32::NAN,
        Kind::Infinite => f32::INFINITY,
        _ => return row,
    };
    for _ in 0..2.min(tokens) {
        row[random.within(0..tokens)] = bad;
    }
    row
}

/// Rows of logits and what lies beyond their tokens, which nobody may look at.
struct Logits {
    rows: Vec<Vec<f32>>,
    whole: Tensor,
}

impl Logits {
    fn new(random: &mut Random, kinds: &[Kind], tokens: usize) -> Self {
        let stride = tokens + random.pick(&[0, 0, 1, 4]) + usize::from(tokens == 0);
        let rows: Vec<_> = kinds
            .iter()
            .map(|&kind| row(random, kind, tokens))
            .collect();
        let beyond = vec![f32::NAN; stride - tokens];
        let whole: Vec<f32> = rows
            .iter()
            .flat_map(|row| [&row[..], &beyond].concat())
            .collect();
        let whole = Tensor::from_vec(whole, (rows.len(), stride), &Device::Cpu).unwrap();
        Self { rows, whole }
    }
}

fn summarize(cuda: &Cuda, logits: &Tensor, tokens: usize, asks: &[Ask]) -> Vec<Summary> {
    let mut found = Vec::new();
    let vocab = FIRST..FIRST + tokens;
    cuda.summarize(logits, &vocab, asks, &mut found).unwrap();
    found
}

fn noise(random: &mut Random) -> Noise {
    Noise {
        temperature: random.pick(&[0.2, 1.0, 1.7]),
        seed: random.within(0..usize::MAX) as u64,
        stream: random.within(0..usize::MAX) as u64,
        position: random.within(0..100_000) as u32,
    }
}

fn assert_same(found: &Summary, row: &[f32], ask: &Ask) {
    let mut expected = Summary::default();
    summary::summarize(row, FIRST as u32, ask, &mut Vec::new(), &mut expected);
    // Bit for bit, but for which NaN it is.
    let bits = |logit: f32| if logit.is_nan() { 0 } else { logit.to_bits() };
    let listed = |s: &Summary| -> Vec<_> { s.top.iter().map(|t| (bits(t.0), t.1)).collect() };
    assert_eq!(bits(found.peak), bits(expected.peak), "{ask:?}");
    assert_eq!(found.peak.is_nan(), expected.peak.is_nan(), "{ask:?}");
    assert_eq!(listed(found), listed(&expected), "{ask:?}");
    // The scores too, for whose logarithms a GPU has no functions of its own.
    assert_eq!(found.drawn, expected.drawn, "{ask:?}");
    for (found, expected) in [
        (found.mass, expected.mass),
        (found.mass_at_one, expected.mass_at_one),
    ] {
        let near = (found - expected).abs() <= TOLERANCE * expected;
        assert!(near, "{found}, expected {expected}: {ask:?}");
    }
}

#[test]
fn summaries_are_those_of_the_cpu() {
    let mut random = Random(21);
    let cuda = cuda(DType::BF16);
    for tokens in TOKENS {
        let logits = Logits::new(&mut random, &KINDS, tokens);
        let asks: Vec<Ask> = (0..12)
            .map(|i| Ask {
                row: i % KINDS.len(),
                count: random.pick(&[0, 1, 2, 30, 256, 1025, 10_000]),
                temperature: random.pick(&[0.0, 0.3, 1.0, 2.0]),
                logprobs: random.flip(),
                noise: random.flip().then(|| noise(&mut random)),
            })
            .collect();
        let on_gpu = sent(&cuda, &logits.whole, DType::F32);
        let found = summarize(&cuda, &on_gpu, tokens, &asks);
        assert_eq!(found.len(), asks.len());
        for (found, ask) in found.iter().zip(&asks) {
            assert_same(found, &logits.rows[ask.row], ask);
        }
    }
}

#[test]
fn a_vocabulary_of_many_runs() {
    let mut random = Random(22);
    let cuda = cuda(DType::BF16);
    let logits = Logits::new(&mut random, &[Kind::Spread, Kind::Ties], 40_000);
    let on_gpu = sent(&cuda, &logits.whole, DType::F32);
    // Few candidates, many candidates, and all tokens.
    let asks: Vec<Ask> = [(0, 256), (1, 50), (0, 1000), (1, 1000), (0, 40_000)]
        .map(|(row, count)| Ask {
            row,
            count,
            temperature: 0.7,
            logprobs: true,
            noise: Some(noise(&mut random)),
        })
        .to_vec();
    for (found, ask) in summarize(&cuda, &on_gpu, 40_000, &asks).iter().zip(&asks) {
        assert_same(found, &logits.rows[ask.row], ask);
    }
}

/// A product of one column: each logit is a weight, or its negative.
#[test]
fn greedy_is_the_first_of_the_highest() {
    let mut random = Random(24);
    let cuda = cuda(DType::F32);
    for tokens in TOKENS {
        let (n, count) = (tokens + 3, 5);
        let vocab = FIRST..FIRST + tokens;
        for kind in [Kind::Spread, Kind::Ties, Kind::Equal, Kind::Nan] {
            // Products of eighths and 1 are exact in whatever a GPU multiplies with.
            let eighths = |v: f32| (v * 8.0).round() / 8.0;
            let weight: Vec<f32> = row(&mut random, kind, n).into_iter().map(eighths).collect();
            let weight = Stored::plain(Tensor::from_vec(weight, (n, 1), &Device::Cpu).unwrap());
            let signs = random.vec(count + SPARE, |unit| unit.signum());
            let x = Tensor::from_vec(signs, (count + SPARE, 1), &Device::Cpu).unwrap();
            let greedy = |kernels: &dyn Backend, x: &Tensor, logits: &_| {
                let head = kernels.pack(&[&weight], None).unwrap();
                let mut found = Vec::new();
                kernels
                    .greedy(x, &head, &vocab, count, logits, &mut found)
                    .unwrap();
                found
            };
            let space = untouched(count, n);
            let expected = greedy(&Reference, &x, &space);
            let space = sent(&cuda, &space, DType::F32);
            let found = greedy(&cuda, &sent(&cuda, &x, DType::F32), &space);
            let bits = |&(token, logit): &(u32, f32)| (token, logit.is_nan(), logit.max(-1e30));
            let found: Vec<_> = found.iter().map(bits).collect();
            assert_eq!(found, expected.iter().map(bits).collect::<Vec<_>>());
        }
    }
}

/// As a step queues it: rows that draw by noise beside greedy ones, each as it would alone.
#[test]
fn queued_draws_are_those_of_the_cpu() {
    let mut random = Random(25);
    let cuda = cuda(DType::F32);
    for tokens in &TOKENS[1..] {
        let count = 6;
        let logits = Logits::new(&mut random, &[Kind::Spread; 6], *tokens);
        let picks: Vec<Pick> = (0..count)
            .map(|i| Pick {
                stream: i as u64,
                position: 70 + i as u32,
                sampling: Sampling {
                    temperature: random.pick(&[0.0, 0.5, 1.0]),
                    seed: 9,
                    ..Sampling::GREEDY
                },
            })
            .collect();
        let indices: Vec<u32> = (0..count as u32).collect();
        let rows = Rows {
            positions: vec![0; count],
            slots: vec![0; count],
            query_offsets: (0..=count as u32).collect(),
            context_lens: vec![1; count],
            block_tables: vec![0; count],
            max_blocks: 1,
        };
        cuda.begin_step(&indices, &rows, &indices, &picks).unwrap();
        let on_gpu = Buffer::new(sent(&cuda, &logits.whole, DType::F32).copy().unwrap()).unwrap();
        let vocab = FIRST..FIRST + tokens;
        cuda.queue_draw(&on_gpu, &vocab, count).unwrap();
        cuda.send(count).unwrap();
        let mut found = Vec::new();
        cuda.collect(count, &mut found).unwrap();
        let expected = logits.rows.iter().zip(&picks).map(|(row, pick)| {
            let noise = Noise::from(pick);
            noise.highest(row, FIRST as u32)
        });
        assert_eq!(found, expected.collect::<Vec<_>>(), "{tokens}");
    }
}
