//! Rows on their way into the paged cache.

use candle_core::{DType, Device, Tensor};
use candlepower::ops::cpu::e4m3;
use candlepower::ops::cuda::Cuda;
use candlepower::ops::reference::Reference;
use candlepower::ops::{AttentionShape, Backend, HeadNorms, Kernels, KvLayer, Norm, Rows};

use crate::common::random::Random;
use crate::support::{
    DTYPES, KV_DTYPES, SPARE, assert_close, copied, cuda, exact, sent, tolerance, values,
};

/// Sizes of heads whose halves are whole 16-byte accesses in every type, in some, and in none.
const HEAD_DIMS: [usize; 10] = [2, 6, 16, 40, 64, 80, 96, 128, 250, 256];
const CASES: usize = 30;

fn norm(random: &mut Random, width: usize) -> Norm {
    Norm {
        weight: Tensor::from_vec(random.units(width), width, &Device::Cpu).unwrap(),
        eps: random.pick(&[1e-6, 1e-2]),
    }
}

fn norms_on(cuda: &Cuda, norms: &HeadNorms) -> HeadNorms {
    let on = |norm: &Norm| Norm {
        weight: cuda.vector(norm.weight.clone()).unwrap(),
        eps: norm.eps,
    };
    HeadNorms {
        q: on(&norms.q),
        k: on(&norms.k),
    }
}

/// `count` rows of one sequence at slots of their own out of `slots`, in no order.
fn scattered(random: &mut Random, count: usize, slots: usize) -> Rows {
    let mut free: Vec<u32> = (0..slots as u32).collect();
    let slots = (0..count).map(|_| free.swap_remove(random.within(0..free.len())));
    Rows {
        slots: slots.collect(),
        positions: (0..count as u32).collect(),
        query_offsets: vec![0, count as u32],
        context_lens: vec![count as u32],
        block_tables: vec![0],
        max_blocks: 1,
    }
}

#[test]
fn every_activation_goes_into_every_cache() {
    let mut random = Random(11);
    for dtype in DTYPES {
        let cuda = cuda(dtype);
        for case in 0..CASES {
            let kv_dtype = KV_DTYPES[case % KV_DTYPES.len()];
            let kv_heads = random.within(1..4);
            let shape = AttentionShape {
                num_heads: kv_heads * random.within(1..5),
                num_kv_heads: kv_heads,
                head_dim: random.pick(&HEAD_DIMS),
                window: None,
            };
            let (d, count) = (shape.head_dim, random.within(1..10));
            let (blocks, block_size) = (random.within(2..6), 8);
            let rows = scattered(&mut random, count, blocks * block_size);
            let norms = random.flip().then(|| HeadNorms {
                q: norm(&mut random, d),
                k: norm(&mut random, d),
            });
            let turns = random.units((count + SPARE) * d);
            let rotation = Tensor::from_vec(turns, (count + SPARE, d), &Device::Cpu).unwrap();
            let qkv = exact(&mut random, count + SPARE, shape.qkv_width(), dtype);
            // What the cache holds of other slots stays.
            let dims = (blocks, block_size, kv_heads, d);
            let mut cached = || {
                let old = exact(&mut random, blocks * block_size, kv_heads * d, kv_dtype);
                old.reshape(dims).unwrap()
            };
            let (k, v) = (cached(), cached());
            let of = |tensor: &Tensor| copied(&tensor.to_dtype(kv_dtype).unwrap());
            let expected = KvLayer {
                k: of(&k),
                v: of(&v),
            };
            let expected_qkv = copied(&qkv);
            Reference
                .write_kv(
                    &expected_qkv,
                    &shape,
                    norms.as_ref(),
                    &rotation,
                    &rows,
                    &expected,
                )
                .unwrap();

            cuda.begin_step(&vec![0; count], &rows, &[], &[]).unwrap();
            let found = KvLayer {
                k: sent(&cuda, &k, kv_dtype),
                v: sent(&cuda, &v, kv_dtype),
            };
            let found_qkv = sent(&cuda, &qkv, dtype);
            let norms = norms.map(|norms| norms_on(&cuda, &norms));
            let rotation = sent(&cuda, &rotation, DType::F32);
            cuda.write_kv(&found_qkv, &shape, norms.as_ref(), &rotation, &rows, &found)
                .unwrap();

            let near = tolerance(kv_dtype);
            assert_close(&found.k, &expected.k, near);
            // v is only rounded.
            assert_close(&found.v, &expected.v, 0.0);
            let q = |qkv: &Tensor| qkv.narrow(1, 0, shape.q_width()).unwrap();
            assert_close(&q(&found_qkv), &q(&expected_qkv), tolerance(dtype));
        }
    }
}

/// To the nearest, ties to even, saturating: every number that e4m3 has, those half way between, their neighbours, and no number.
#[test]
fn e4m3_is_rounded_as_on_the_cpu() {
    let shape = AttentionShape {
        num_heads: 1,
        num_kv_heads: 1,
        head_dim: 2,
        window: None,
    };
    let held: Vec<f32> = (0..0x7f_u8)
        .map(|bits| float8::F8E4M3::from_bits(bits).to_f32())
        .collect();
    let between = held.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
    let mut numbers: Vec<f32> = between
        .flat_map(|v| [v.next_down(), v, v.next_up()])
        .chain(held.iter().copied())
        .chain([449.0, 464.0, 480.0, 1e30, f32::INFINITY, f32::NAN])
        .collect();
    numbers.extend(numbers.clone().iter().map(|v| -v));
    let count = numbers.len() / 2;
    let rows = scattered(&mut Random(1), count, count.next_multiple_of(8));
    // q, k, then two numbers of v.
    let rows_of = |v: &[f32]| [&[0.0; 4], v].concat();
    let qkv: Vec<f32> = numbers.chunks_exact(2).flat_map(rows_of).collect();
    let qkv = Tensor::from_vec(qkv, (count, 6), &Device::Cpu).unwrap();
    let rotation = Tensor::zeros((count, 2), DType::F32, &Device::Cpu).unwrap();
    let cuda = cuda(DType::F32);
    cuda.begin_step(&vec![0; count], &rows, &[], &[]).unwrap();
    let blocks = count.div_ceil(8);
    let kv = cuda.kv_layer(blocks, 8, &shape, DType::F8E4M3).unwrap();
    let qkv = sent(&cuda, &qkv, DType::F32);
    let rotation = sent(&cuda, &rotation, DType::F32);
    cuda.write_kv(&qkv, &shape, None, &rotation, &rows, &kv)
        .unwrap();
    let found = values(&kv.v);
    for (pair, &slot) in numbers.chunks_exact(2).zip(&rows.slots) {
        for (i, &number) in pair.iter().enumerate() {
            let held = found[2 * slot as usize + i];
            let expected = e4m3::widen(e4m3::round(number));
            let same = held == expected || held.is_nan() && expected.is_nan();
            assert!(same, "{number}: {held}, expected {expected}");
        }
    }
}
