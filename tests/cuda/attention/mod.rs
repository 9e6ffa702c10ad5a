//! Attention over paged caches of each type, decode and prefill mixed, beside the reference.

mod order;
mod tall;
mod traffic;

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use candlepower::ops::cuda::Cuda;
use candlepower::ops::{AttentionShape, Kernels, KvLayer, Rows, reference::Reference};
use proptest::prelude::*;

use crate::common::probe::scattered;
use crate::common::random::Random;
use crate::support::{
    DTYPES, KV_DTYPES, SPARE, assert_close, copied, cuda, exact, sent, tolerance, untouched, values,
};

/// Beside the rounding of the result: weights are rounded to the activations' type before they meet the values (f16,
/// bf16), or scores of up to 30 are summed in another order (f32).
fn allowed(dtype: DType) -> f32 {
    2.0 * tolerance(dtype)
}

/// Rows of a step over a cache. Its numbers are such that activations' type and the cache's hold them: a kernel may
/// read the cache as activations.
struct Step {
    shape: AttentionShape,
    rows: Rows,
    qkv: Tensor,
    k: Tensor,
    v: Tensor,
}

impl Step {
    /// Of sequences whose tokens `span` are the step's rows. `spare` blocks more have their place in the tables.
    fn new(
        random: &mut Random,
        shape: AttentionShape,
        spans: &[Range<usize>],
        block_size: usize,
        spare: usize,
        types: (DType, DType),
    ) -> Self {
        let (mut rows, total) = scattered(random, spans, block_size);
        let padded = |table: &[u32]| [table, &vec![0; spare]].concat();
        rows.block_tables = rows
            .block_tables
            .chunks_exact(rows.max_blocks)
            .flat_map(padded)
            .collect();
        rows.max_blocks += spare;
        let sharpness = random.pick(&[0.5, 1.0, 16.0]);
        let qkv = exact(random, rows.len() + SPARE, shape.qkv_width(), types.0);
        let width = shape.num_kv_heads * shape.head_dim;
        let mut cache = || {
            let values = exact(random, total * block_size, width, types.0);
            let values = values.to_dtype(types.1).unwrap();
            let values = values.to_dtype(DType::F32).unwrap();
            let dims = (total, block_size, shape.num_kv_heads, shape.head_dim);
            values.reshape(dims).unwrap()
        };
        Self {
            shape,
            rows,
            k: cache(),
            v: cache(),
            qkv: (qkv * sharpness).unwrap(),
        }
    }

    /// What the kernels make of it, and what the reference does.
    fn both(&self, dtype: DType, cache: DType) -> (Tensor, Tensor) {
        self.both_on(&cuda(dtype), dtype, cache)
    }

    fn both_on(&self, cuda: &Cuda, dtype: DType, cache: DType) -> (Tensor, Tensor) {
        let Self {
            shape, rows, qkv, ..
        } = self;
        let start = untouched(rows.len(), shape.q_width());
        let kv = KvLayer {
            k: sent(cuda, &self.k, cache),
            v: sent(cuda, &self.v, cache),
        };
        let found = sent(cuda, &start, dtype);
        cuda.begin_step(&vec![0; rows.len()], rows, &[], &[])
            .unwrap();
        let on_gpu = sent(cuda, qkv, dtype);
        cuda.attend(&on_gpu, shape, rows, &kv, &found).unwrap();
        let kv = KvLayer {
            k: copied(&self.k),
            v: copied(&self.v),
        };
        let expected = copied(&start);
        Reference.attend(qkv, shape, rows, &kv, &expected).unwrap();
        assert_ne!(
            values(&expected),
            values(&start),
            "the oracle wrote nothing"
        );
        let found = found.to_device(&Device::Cpu).unwrap();
        (found, expected.copy().unwrap())
    }

    fn check(&self, dtype: DType, cache: DType) {
        self.check_on(&cuda(dtype), dtype, cache);
    }

    fn check_on(&self, cuda: &Cuda, dtype: DType, cache: DType) {
        let (found, expected) = self.both_on(cuda, dtype, cache);
        assert_close(&found, &expected, allowed(dtype));
    }
}

fn shape(kv_heads: usize, group: usize, head_dim: usize, window: Option<usize>) -> AttentionShape {
    AttentionShape {
        num_heads: kv_heads * group,
        num_kv_heads: kv_heads,
        head_dim,
        window,
    }
}

/// One row, or a chunk, after some tokens.
fn span(random: &mut Random, before: usize, chunk: usize) -> Range<usize> {
    let start = random.within(0..before);
    let count = match random.flip() {
        true => 1,
        false => random.within(1..chunk),
    };
    start..start + count
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decode_and_prefill_in_one_step(
        seed in any::<u64>(),
        dtype in prop::sample::select(&DTYPES[..]),
        cache in prop::sample::select(&KV_DTYPES[..]),
    ) {
        let mut random = Random(seed);
        let shape = shape(
            random.within(1..3),
            random.pick(&[1, 2, 3, 4, 7, 8]),
            random.pick(&[2, 16, 38, 64, 80, 96, 100, 128]),
            random.flip().then(|| random.within(1..60)),
        );
        let block_size = random.pick(&[1, 3, 16, 32]);
        let spans: Vec<_> = (0..random.within(1..5)).map(|_| span(&mut random, 100, 40)).collect();
        let spare = random.within(0..3);
        Step::new(&mut random, shape, &spans, block_size, spare, (dtype, cache)).check(dtype, cache);
    }
}

/// Each type with each cache, over a context that several splits share, some of them unused by the shorter one.
#[test]
fn long_contexts_are_split_and_merged() {
    let mut random = Random(3);
    for dtype in DTYPES {
        for cache in KV_DTYPES {
            let window = random.flip().then_some(530);
            let shape = shape(1, random.pick(&[1, 5]), random.pick(&[64, 72]), window);
            let spans = [random.within(540..700), 0, random.within(0..300), 255, 512];
            let spans = spans.map(|before| before..before + 1);
            let step = Step::new(&mut random, shape, &spans, 16, 4, (dtype, cache));
            step.check(dtype, cache);
        }
    }
}

/// Heads as models have them, over contexts of several lengths.
#[test]
fn a_batch_of_decoding_sequences() {
    let mut random = Random(9);
    for cache in [DType::BF16, DType::F8E4M3] {
        let spans = [1100, 640, 300, 64].map(|context| context - 1..context);
        let shape = shape(2, 4, 128, None);
        let types = (DType::BF16, cache);
        Step::new(&mut random, shape, &spans, 16, 0, types).check(types.0, cache);
    }
}

/// More heads in a group than a tile has rows, in decode and across the tiles of prefill.
#[test]
fn groups_larger_than_a_tile() {
    let mut random = Random(4);
    for (dtype, group) in DTYPES.into_iter().zip([17, 32, 40]) {
        let spans = [300..301, 20..30, 0..3];
        let step = Step::new(
            &mut random,
            shape(2, group, 32, None),
            &spans,
            16,
            0,
            (dtype, dtype),
        );
        step.check(dtype, dtype);
    }
}

/// The widest heads, where tiles have fewer keys.
#[test]
fn wide_heads() {
    let mut random = Random(5);
    for (dtype, cache) in DTYPES
        .into_iter()
        .flat_map(|d| [(d, d), (d, DType::F8E4M3)])
    {
        for head_dim in [192, 256] {
            let spans = [70..71, 0..40];
            let step = Step::new(
                &mut random,
                shape(1, 2, head_dim, None),
                &spans,
                16,
                0,
                (dtype, cache),
            );
            step.check(dtype, cache);
        }
    }
}

/// Many sequences of many lengths: each tile finds its own.
#[test]
fn tiles_of_many_sequences() {
    let mut random = Random(6);
    let spans: Vec<_> = (0..40).map(|_| span(&mut random, 20, 60)).collect();
    let types = (DType::BF16, DType::BF16);
    Step::new(&mut random, shape(1, 3, 64, Some(40)), &spans, 16, 0, types).check(types.0, types.1);
}

/// Blocks and warps run in any order: the sums do not.
#[test]
fn the_same_bits_each_time() {
    let mut random = Random(7);
    for dtype in DTYPES {
        let spans = [600..601, 30..90];
        let step = Step::new(
            &mut random,
            shape(2, 4, 64, None),
            &spans,
            16,
            0,
            (dtype, dtype),
        );
        let found = [(); 3].map(|()| values(&step.both(dtype, dtype).0));
        assert!(found.iter().all(|f| *f == found[0]), "{dtype:?}");
    }
}

#[test]
fn heads_without_a_kernel_are_named() {
    let mut random = Random(8);
    for head_dim in [65, 258] {
        let types = (DType::BF16, DType::BF16);
        let step = Step::new(
            &mut random,
            shape(1, 1, head_dim, None),
            std::slice::from_ref(&(0..1)),
            16,
            0,
            types,
        );
        let cuda = cuda(DType::BF16);
        let kv = KvLayer {
            k: sent(&cuda, &step.k, DType::BF16),
            v: sent(&cuda, &step.v, DType::BF16),
        };
        let out = sent(&cuda, &untouched(1, head_dim), DType::BF16);
        let qkv = sent(&cuda, &step.qkv, DType::BF16);
        cuda.begin_step(&[0], &step.rows, &[], &[]).unwrap();
        let error = cuda
            .attend(&qkv, &step.shape, &step.rows, &kv, &out)
            .unwrap_err();
        assert!(error.to_string().contains(&head_dim.to_string()), "{error}");
    }
}
