//! The CPU's paged attention: right against f64, and the same bits however a token came in.

use crate::common::random::Random;
use candlepower::ops::cpu::attention::{Attend, attend, attend_with};
use candlepower::ops::cpu::attention_kernel::AttentionKernel;
use candlepower::ops::cpu::kernel_portable::Portable;
use candlepower::ops::cpu::packing::Activations;
use candlepower::ops::cpu::panel::PanelElement;
use candlepower::ops::cpu::workers::Workers;
use float8::F8E4M3;
use half::{bf16, f16};

#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
}

/// One sequence: all of its q, k and v, of which the last `rows` queries take part.
#[derive(Clone)]
struct Sequence {
    rows: usize,
    context: usize,
    /// `[context, heads, head_dim]`.
    q: Vec<f32>,
    /// `[context, kv_heads, head_dim]`, rounded to the cache's type.
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Sequence {
    /// `sharpness` scales q: large, and a softmax has few terms that count.
    fn new<T: Into<f32>>(
        random: &mut Random,
        shape: &Shape,
        (rows, context): (usize, usize),
        sharpness: f32,
        of: fn(f32) -> T,
    ) -> Self {
        let q = (0..context * shape.heads * shape.head_dim).map(|_| sharpness * random.unit());
        let q = q.collect();
        let mut cached = || {
            (0..context * shape.kv_heads * shape.head_dim)
                .map(|_| of(random.unit()).into())
                .collect()
        };
        Self {
            rows,
            context,
            q,
            k: cached(),
            v: cached(),
        }
    }

    fn new_positions(&self) -> std::ops::Range<usize> {
        self.context - self.rows..self.context
    }

    /// The sequence as it was when `context` tokens were cached, the last `rows` of them new.
    fn at(&self, shape: &Shape, rows: usize, context: usize) -> Self {
        let token = shape.kv_heads * shape.head_dim;
        let mut sequence = self.clone();
        (sequence.rows, sequence.context) = (rows, context);
        sequence.k.truncate(context * token);
        sequence.v.truncate(context * token);
        sequence
    }

    /// Softmax attention of one query head, in f64.
    fn expected(&self, shape: &Shape, rounds: bool, position: usize, head: usize) -> Vec<f64> {
        let d = shape.head_dim;
        let kv_head = head / (shape.heads / shape.kv_heads);
        let q = &self.q[(position * shape.heads + head) * d..][..d];
        let scaled = |q: &f32| match rounds {
            true => bf16::from_f32(q * scale(shape)).to_f64(),
            false => f64::from(*q) * f64::from(scale(shape)),
        };
        let q: Vec<f64> = q.iter().map(scaled).collect();
        let row = |of: &[f32], at: usize| {
            let start = (at * shape.kv_heads + kv_head) * d;
            of[start..start + d]
                .iter()
                .map(|x| f64::from(*x))
                .collect::<Vec<_>>()
        };
        let start = shape
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        let scores: Vec<f64> = (start..=position)
            .map(|at| {
                let dot = q.iter().zip(row(&self.k, at)).map(|(q, k)| q * k);
                dot.sum::<f64>()
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut out = vec![0.0; d];
        for (at, weight) in (start..=position).zip(&weights) {
            for (out, v) in out.iter_mut().zip(row(&self.v, at)) {
                *out += weight / sum * v;
            }
        }
        out
    }
}

fn scale(shape: &Shape) -> f32 {
    (shape.head_dim as f32).sqrt().recip()
}

/// A step's flat arrays over shuffled blocks; blocks that no sequence owns hold NaN.
struct Batch<KV> {
    shape: Shape,
    block_size: usize,
    q: Vec<f32>,
    k: Vec<KV>,
    v: Vec<KV>,
    query_offsets: Vec<u32>,
    context_lens: Vec<u32>,
    block_tables: Vec<u32>,
    table_stride: usize,
}

/// Padding of query and output rows, so that a stride mistaken for a width shows.
const Q_PAD: usize = 7;
const OUT_PAD: usize = 3;

impl<KV: PanelElement> Batch<KV> {
    fn new(
        random: &mut Random,
        shape: Shape,
        block_size: usize,
        sequences: &[Sequence],
        of: fn(f32) -> KV,
    ) -> Self {
        let blocks = |s: &Sequence| s.context.div_ceil(block_size);
        let table_stride = sequences.iter().map(blocks).max().unwrap() + 1;
        let num_blocks = sequences.iter().map(blocks).sum::<usize>() + 2;
        let mut free: Vec<usize> = (1..num_blocks).collect();
        let token = shape.kv_heads * shape.head_dim;
        let cache = vec![of(f32::NAN); num_blocks * block_size * token];
        let mut batch = Self {
            shape,
            block_size,
            q: vec![],
            k: cache.clone(),
            v: cache,
            query_offsets: vec![0],
            context_lens: vec![],
            block_tables: vec![],
            table_stride,
        };
        for sequence in sequences {
            let table: Vec<usize> = (0..blocks(sequence))
                .map(|_| free.swap_remove(random.within(0..free.len())))
                .collect();
            for position in 0..sequence.context {
                let slot = table[position / block_size] * block_size + position % block_size;
                let source = position * token..(position + 1) * token;
                let target = slot * token..(slot + 1) * token;
                for (cache, values) in [(&mut batch.k, &sequence.k), (&mut batch.v, &sequence.v)] {
                    for (cell, value) in cache[target.clone()]
                        .iter_mut()
                        .zip(&values[source.clone()])
                    {
                        *cell = of(*value);
                    }
                }
            }
            batch
                .block_tables
                .extend(table.iter().map(|&block| block as u32));
            batch
                .block_tables
                .resize(batch.block_tables.len().next_multiple_of(table_stride), 0);
            let width = shape.heads * shape.head_dim;
            for position in sequence.new_positions() {
                batch
                    .q
                    .extend(&sequence.q[position * width..(position + 1) * width]);
                batch.q.extend([f32::NAN; Q_PAD]);
            }
            let rows = batch.query_offsets.last().unwrap() + sequence.rows as u32;
            batch.query_offsets.push(rows);
            batch.context_lens.push(sequence.context as u32);
        }
        batch
    }

    fn args(&self) -> Attend<'_, KV> {
        Attend {
            q: &self.q,
            q_stride: self.shape.heads * self.shape.head_dim + Q_PAD,
            k: &self.k,
            v: &self.v,
            heads: self.shape.heads,
            kv_heads: self.shape.kv_heads,
            head_dim: self.shape.head_dim,
            block_size: self.block_size,
            query_offsets: &self.query_offsets,
            context_lens: &self.context_lens,
            block_tables: &self.block_tables,
            table_stride: self.table_stride,
            window: self.shape.window,
            scale: scale(&self.shape),
            activations: Activations::F32,
            out_stride: self.out_stride(),
        }
    }

    fn out_stride(&self) -> usize {
        self.shape.heads * self.shape.head_dim + OUT_PAD
    }

    /// Rows `[rows][heads * head_dim]`, with the padding checked and cut off.
    fn run(&self, attend: impl Fn(&Attend<'_, KV>, &mut [f32])) -> Vec<Vec<f32>> {
        let rows = *self.query_offsets.last().unwrap() as usize;
        let mut out = vec![f32::INFINITY; rows * self.out_stride()];
        attend(&self.args(), &mut out);
        out.chunks(self.out_stride())
            .map(|row| {
                let (row, pad) = row.split_at(self.shape.heads * self.shape.head_dim);
                assert!(
                    pad.iter().all(|x| *x == f32::INFINITY),
                    "wrote past its row"
                );
                row.to_vec()
            })
            .collect()
    }
}

/// Of kernels that round queries and weights to bf16 with `rounds`.
fn check(shape: &Shape, sequences: &[Sequence], out: &[Vec<f32>], rounds: bool, what: &str) {
    // Values are below 1; scores reach tens, so weights carry their rounding, or are rounded themselves.
    let bound = if rounds { 0.004 } else { 1e-5 };
    let mut out = out.iter();
    for sequence in sequences {
        for position in sequence.new_positions() {
            let row = out.next().unwrap();
            for (head, got) in row.chunks(shape.head_dim).enumerate() {
                for (got, want) in got
                    .iter()
                    .zip(sequence.expected(shape, rounds, position, head))
                {
                    let error = (f64::from(*got) - want).abs();
                    assert!(
                        error < bound,
                        "{what} {shape:?} at {position}, head {head}: {got} not {want}"
                    );
                }
            }
        }
    }
    assert!(out.next().is_none());
}

fn random_shape(random: &mut Random) -> Shape {
    let kv_heads = 1 + random.within(0..4);
    Shape {
        heads: kv_heads * random.pick(&[1, 2, 3, 4, 5, 6, 7, 8]),
        kv_heads,
        head_dim: random.pick(&[1, 8, 13, 16, 24, 40, 56, 64, 72, 80, 96, 128, 136, 256]),
        window: random.pick(&[None, None, Some(1), Some(5), Some(16), Some(50), Some(1000)]),
    }
}

fn in_bf16<KV: PanelElement>(args: &Attend<'_, KV>, out: &mut [f32]) {
    let activations = Activations::Bf16;
    attend(
        &Attend {
            activations,
            ..*args
        },
        out,
    );
}

/// Whether this host's best kernel for activations in bf16 rounds queries and weights.
fn rounds<KV: PanelElement>(shape: &Shape) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use candlepower::ops::cpu::kernel_avx512_bf16::Avx512Bf16;
        Avx512Bf16::detect().is_some() && Avx512Bf16::attends::<KV>(shape.head_dim)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = shape;
        false
    }
}

fn random_shapes<KV: PanelElement + Into<f32>>(seed: u64, of: fn(f32) -> KV) {
    let mut random = Random(seed);
    for _ in 0..40 {
        let shape = random_shape(&mut random);
        let sharpness = random.pick(&[0.1, 2.0, 30.0]);
        let sequences: Vec<_> = (0..1 + random.within(0..4))
            .map(|_| {
                let context = 1 + random.within(0..300);
                let rows = random.pick(&[1, 1, context, 1 + context / 2, context.min(70)]);
                Sequence::new(&mut random, &shape, (rows, context), sharpness, of)
            })
            .collect();
        let block_size = random.pick(&[1, 3, 16, 32]);
        let batch = Batch::new(&mut random, shape, block_size, &sequences, of);
        check(&shape, &sequences, &batch.run(attend), false, "best kernel");
        let best = batch.run(in_bf16);
        check(
            &shape,
            &sequences,
            &best,
            rounds::<KV>(&shape),
            "best kernel of bf16",
        );
        let portable = batch.run(|args, out| attend_with(Portable, args, out));
        check(&shape, &sequences, &portable, false, "portable");
    }
}

#[test]
fn both_kernels_agree_with_f64_on_bf16() {
    random_shapes(1, bf16::from_f32);
}

#[test]
fn both_kernels_agree_with_f64_on_f16() {
    random_shapes(2, f16::from_f32);
}

#[test]
fn both_kernels_agree_with_f64_on_e4m3() {
    random_shapes(5, F8E4M3::from_f32);
}

#[test]
fn both_kernels_agree_with_f64_on_f32() {
    random_shapes(3, |x| x);
}

/// Every row of one sequence: decoded alone, in chunks, whole, beside others, in any block size.
fn same_bits<A: AttentionKernel>(kernel: A, head_dim: usize) {
    let mut random = Random(4);
    for window in [None, Some(37)] {
        let shape = Shape {
            heads: 14,
            kv_heads: 2,
            head_dim,
            window,
        };
        let whole = Sequence::new(&mut random, &shape, (150, 150), 4.0, bf16::from_f32);
        let at = |rows: usize, context: usize| whole.at(&shape, rows, context);
        let run = |random: &mut Random, block_size, sequences: &[Sequence]| {
            let batch = Batch::new(random, shape, block_size, sequences, bf16::from_f32);
            batch.run(|args, out| attend_with(kernel, args, out))
        };
        let expected = run(&mut random, 16, &[at(150, 150)]);
        for block_size in [1, 5, 16, 32, 64] {
            assert_eq!(run(&mut random, block_size, &[at(150, 150)]), expected);
        }
        let other = Sequence::new(&mut random, &shape, (3, 77), 4.0, bf16::from_f32);
        for chunk in [1, 7, 16, 64] {
            for start in (0..150).step_by(chunk) {
                let rows = chunk.min(150 - start);
                let batch = [other.clone(), at(rows, start + rows), other.clone()];
                let out = run(&mut random, 16, &batch);
                assert_eq!(
                    out[3..3 + rows],
                    expected[start..start + rows],
                    "chunk {chunk} at {start}"
                );
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_chunk_batch_and_block_size() {
    same_bits(Portable, 72);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_row_has_the_same_bits_in_every_chunk_batch_and_block_size_with_avx2() {
    let Some(kernel) = candlepower::ops::cpu::kernel_avx2::Avx2::detect() else {
        eprintln!("skipped: this host has no AVX2, FMA and F16C");
        return;
    };
    same_bits(kernel, 72);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_row_has_the_same_bits_in_every_chunk_batch_and_block_size_with_pairs_of_bf16() {
    match candlepower::ops::cpu::kernel_avx512_bf16::Avx512Bf16::detect() {
        Some(kernel) => [64, 96].into_iter().for_each(|d| same_bits(kernel, d)),
        None => eprintln!("skipped: this host has no AVX512_BF16"),
    }
}

/// Contexts of several stretches: a row's bits are the same whether one thread took them all in turn
/// or several shared them.
#[test]
fn long_contexts_have_the_same_bits_on_any_number_of_threads() {
    const CONTEXT: usize = 2300;
    let mut random = Random(5);
    for window in [None, Some(1300)] {
        let shape = Shape {
            heads: 3,
            kv_heads: 1,
            head_dim: 20,
            window,
        };
        let whole = Sequence::new(&mut random, &shape, (CONTEXT, CONTEXT), 4.0, bf16::from_f32);
        let at = |rows: usize, context: usize| whole.at(&shape, rows, context);
        let mut run = |threads: usize, sequence: Sequence| {
            let sequences = [sequence];
            let batch = Batch::new(&mut random, shape, 16, &sequences, bf16::from_f32);
            let mut workers = Workers::new(threads, false).unwrap();
            let out = workers.install(|| batch.run(attend));
            check(
                &shape,
                &sequences,
                &out,
                false,
                &format!("{threads} threads"),
            );
            out
        };
        let expected = run(1, at(CONTEXT, CONTEXT));
        // Decode, and chunks that begin, end or lie across the end of a stretch.
        for (rows, context) in [
            (1, 2300),
            (1, 1024),
            (1, 1025),
            (40, 1040),
            (16, 2048),
            (3, 2050),
        ] {
            for threads in [1, 3, 16] {
                let out = run(threads, at(rows, context));
                let wanted = &expected[context - rows..context];
                assert_eq!(out, wanted, "{rows} rows of {context}, {threads} threads");
            }
        }
    }
}

#[test]
fn far_scores_neither_overflow_nor_vanish() {
    let shape = Shape {
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        window: None,
    };
    let mut random = Random(5);
    // Scores of some thousands: exp of them is past f32, and all weights but the largest are 0.
    let sequences = [Sequence::new(&mut random, &shape, (40, 40), 3000.0, |x| x)];
    let batch = Batch::new(&mut random, shape, 16, &sequences, |x| x);
    for out in [
        batch.run(attend),
        batch.run(|args, out| attend_with(Portable, args, out)),
    ] {
        assert!(
            out.iter()
                .flatten()
                .all(|x| x.is_finite() && x.abs() <= 1.0)
        );
        // The first row sees itself alone.
        assert_eq!(out[0][..8], sequences[0].v[..8]);
    }
}

#[test]
fn a_nan_is_not_hidden() {
    let shape = Shape {
        heads: 1,
        kv_heads: 1,
        head_dim: 32,
        window: None,
    };
    let mut random = Random(6);
    let mut sequence = Sequence::new(&mut random, &shape, (1, 20), 1.0, bf16::from_f32);
    sequence.k[5 * 32] = f32::NAN;
    let batch = Batch::new(&mut random, shape, 16, &[sequence], bf16::from_f32);
    for out in [
        batch.run(attend),
        batch.run(in_bf16),
        batch.run(|args, out| attend_with(Portable, args, out)),
    ] {
        assert!(out[0].iter().all(|x| x.is_nan()));
    }
}

#[test]
fn no_sequences_are_nothing_to_do() {
    let shape = Shape {
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        window: None,
    };
    let mut random = Random(7);
    let sequence = Sequence::new(&mut random, &shape, (1, 1), 1.0, |x| x);
    let batch = Batch::new(&mut random, shape, 16, &[sequence], |x: f32| x);
    let none = Attend {
        query_offsets: &[0],
        context_lens: &[],
        block_tables: &[],
        ..batch.args()
    };
    attend(&none, &mut []);
}

#[test]
#[should_panic(expected = "block 9 of a cache of")]
fn a_block_past_the_cache_is_refused() {
    let shape = Shape {
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        window: None,
    };
    let mut random = Random(8);
    let sequence = Sequence::new(&mut random, &shape, (1, 1), 1.0, |x| x);
    let batch = Batch::new(&mut random, shape, 16, &[sequence], |x: f32| x);
    let mut out = [0.0; 16];
    attend(
        &Attend {
            block_tables: &[9, 0],
            ..batch.args()
        },
        &mut out,
    );
}
