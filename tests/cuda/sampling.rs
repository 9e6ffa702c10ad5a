//! Rows of logits to a few words: the highest, summaries, and the token at some mass.

use candle_core::{DType, Device, Tensor};
use candlepower::ops::cuda::Cuda;
use candlepower::ops::reference::Reference;
use candlepower::ops::sampling::summary;
use candlepower::ops::{Ask, Backend, Kernels, Summary};

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

fn assert_same(found: &Summary, row: &[f32], ask: &Ask) {
    let mut expected = Summary::default();
    summary::summarize(row, FIRST as u32, ask, &mut Vec::new(), &mut expected);
    // Bit for bit, but for which NaN it is.
    let bits = |logit: f32| if logit.is_nan() { 0 } else { logit.to_bits() };
    let listed = |s: &Summary| -> Vec<_> { s.top.iter().map(|t| (bits(t.0), t.1)).collect() };
    assert_eq!(bits(found.peak), bits(expected.peak), "{ask:?}");
    assert_eq!(found.peak.is_nan(), expected.peak.is_nan(), "{ask:?}");
    assert_eq!(listed(found), listed(&expected), "{ask:?}");
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
        })
        .to_vec();
    for (found, ask) in summarize(&cuda, &on_gpu, 40_000, &asks).iter().zip(&asks) {
        assert_same(found, &logits.rows[ask.row], ask);
    }
}

#[test]
fn a_mass_lies_at_its_token() {
    let mut random = Random(23);
    let cuda = cuda(DType::BF16);
    for tokens in &TOKENS[1..] {
        let kinds = [Kind::Spread, Kind::Ties, Kind::Masked, Kind::Equal];
        let logits = Logits::new(&mut random, &kinds, *tokens);
        let on_gpu = sent(&cuda, &logits.whole, DType::F32);
        let vocab = FIRST..FIRST + tokens;
        for (i, row) in logits.rows.iter().enumerate() {
            let peak = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if !peak.is_finite() {
                continue;
            }
            let temperature = random.pick(&[0.3, 1.0, 2.0]);
            let weights: Vec<f64> = row
                .iter()
                .map(|&v| summary::weight(v, peak, temperature))
                .collect();
            let total: f64 = weights.iter().sum();
            let locate = |mass| cuda.locate(&on_gpu, &vocab, i, temperature, mass).unwrap();
            for part in [0.0, 0.4, 0.999] {
                let (token, logit) = locate(part * total);
                let column = token as usize - FIRST;
                assert_eq!(logit, row[column]);
                assert!(weights[column] > 0.0);
                // It may be the next one where the mass is that of whole tokens but for rounding.
                let before: f64 = weights[..column].iter().sum();
                let slack = TOLERANCE * total;
                assert!(before <= part * total + slack);
                assert!(before + weights[column] >= part * total - slack);
            }
            // A sliver beyond the whole: the last token with any weight.
            let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap();
            let beyond = total * (1.0 + 10.0 * TOLERANCE);
            assert_eq!(locate(beyond), ((FIRST + last) as u32, row[last]));
        }
    }
}

#[test]
fn a_row_without_numbers_locates_its_peak() {
    let cuda = cuda(DType::BF16);
    let rows = [[0.5, f32::NAN, 1.0, 2.0], [0.5, 1.0, f32::INFINITY, 2.0]];
    let logits = Tensor::new(&rows, &Device::Cpu).unwrap();
    let logits = sent(&cuda, &logits, DType::F32);
    for (row, bad) in [1, 2].into_iter().enumerate() {
        let found = cuda.locate(&logits, &(0..4), row, 1.0, 0.5).unwrap();
        assert_eq!(found.0, bad);
        assert!(!found.1.is_finite());
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
