//! Dense linear layers against the reference.

use candle_core::{DType, Device, Tensor};
use candlepower::ops::reference::Reference;
use candlepower::ops::{Backend, Kernels, Queue, WeightRows};
use half::bf16;

use crate::common::random::Random;
use crate::common::stored::Stored;
use crate::support::{DTYPES, SPARE, assert_close, cuda, exact, sent, tolerance, untouched};

#[test]
fn agrees_with_the_reference() {
    let random = &mut Random(11);
    for case in 0..40 {
        let dtype = DTYPES[case % DTYPES.len()];
        let cuda = cuda(dtype);
        let (rows, k) = (random.within(1..70), random.within(1..200));
        let sizes: Vec<usize> = (0..random.within(1..4))
            .map(|_| random.within(1..90))
            .collect();
        let stored = sizes
            .iter()
            .map(|&n| Stored::plain(exact(random, n, k, dtype)));
        let stored: Vec<Stored> = stored.collect();
        let parts: Vec<&dyn WeightRows> = stored.iter().map(|part| part as _).collect();
        let n = sizes.iter().sum();
        // What a checkpoint of this type holds.
        let bias = exact(random, 1, n, dtype).flatten_all().unwrap();
        let bias = random.flip().then_some(bias);
        let (ours, plain) = (
            cuda.pack(&parts, bias.clone()).unwrap(),
            Reference.pack(&parts, bias).unwrap(),
        );
        let x = exact(random, rows + SPARE, k, dtype);
        let expected = untouched(rows, n);
        Reference.linear(&x, &plain, rows, &expected).unwrap();
        let x = sent(&cuda, &x, dtype);
        for out_dtype in [dtype, DType::F32] {
            let out = sent(&cuda, &untouched(rows, n), out_dtype);
            // The second time with what the first kept.
            for _ in 0..2 {
                cuda.linear(&x, &ours, rows, &out).unwrap();
                assert_close(&out, &expected, tolerance(out_dtype));
            }
        }
    }
}

/// A bias belongs to its layer, not to the shape that the layer has: for few rows, and for more.
#[test]
fn layers_of_one_shape_keep_their_biases() {
    let cuda = cuda(DType::BF16);
    let weight = Stored::plain(Tensor::ones((4, 8), DType::F32, &Device::Cpu).unwrap());
    let ones = Tensor::ones((9, 8), DType::F32, &Device::Cpu).unwrap();
    let x = sent(&cuda, &ones, DType::BF16);
    for (value, rows) in [(1.0_f32, 4), (2.0, 4), (1.0, 9), (2.0, 9)] {
        let bias = Tensor::full(value, 4, &Device::Cpu).unwrap();
        let layer = cuda.pack(&[&weight], Some(bias)).unwrap();
        let out = cuda.buffer(rows, 4).unwrap();
        cuda.linear(&x, &layer, rows, &out).unwrap();
        let expected = Tensor::full(8.0 + value, (rows, 4), &Device::Cpu).unwrap();
        assert_close(&out, &expected, 0.0);
    }
}

/// More than four copies of 16 MiB go through page-locked memory for two.
#[test]
fn weights_of_many_copies_arrive_whole() {
    let cuda = cuda(DType::BF16);
    let (n, k) = (4200, 8192);
    let values = (0..n * k).map(|i| bf16::from_f32((i / k % 251) as f32));
    let values = Tensor::from_vec(values.collect::<Vec<_>>(), (n, k), &Device::Cpu);
    let weight = Stored::plain(values.unwrap());
    let layer = cuda.pack(&[&weight], None).unwrap();
    cuda.loaded().unwrap();
    let arrived = layer.weight.to_device(&Device::Cpu).unwrap();
    let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<bf16>().unwrap();
    assert!(bits(&arrived) == bits(&weight.values));
}

#[test]
fn a_refusal_names_the_layer() {
    let cuda = cuda(DType::F16);
    let weight = Stored::plain(Tensor::ones((3, 8), DType::F32, &Device::Cpu).unwrap());
    let layer = cuda.pack(&[&weight], None).unwrap();
    let (x, out) = (cuda.buffer(2, 7).unwrap(), cuda.buffer(2, 3).unwrap());
    let error = cuda.linear(&x, &layer, 2, &out).unwrap_err().to_string();
    assert!(
        error.contains("3 x 8") && error.contains("[2, 7]"),
        "{error}"
    );
}

/// While algorithms are tried each layer takes another one, and all are right; so are those that are kept, in a graph too.
#[test]
fn algorithms_are_tried_on_layers_of_one_shape() {
    const ROWS: usize = 20;
    let random = &mut Random(12);
    let cuda = cuda(DType::F16);
    let x = exact(random, ROWS + SPARE, 32, DType::F16);
    let layers = [(); 7].map(|()| {
        let weight = Stored::plain(exact(random, 24, 32, DType::F16));
        let expected = untouched(ROWS, 24);
        let plain = Reference.pack(&[&weight], None).unwrap();
        Reference.linear(&x, &plain, ROWS, &expected).unwrap();
        (cuda.pack(&[&weight], None).unwrap(), expected)
    });
    let x = sent(&cuda, &x, DType::F16);
    let out = layers
        .each_ref()
        .map(|_| sent(&cuda, &untouched(ROWS, 24), DType::F16));
    let mut all = || {
        let mut layers = layers.iter().zip(&out);
        layers.try_for_each(|((layer, _), out)| cuda.linear(&x, layer, ROWS, out))
    };
    let check = || {
        for ((_, expected), out) in layers.iter().zip(&out) {
            assert_close(out, expected, tolerance(DType::F16));
        }
    };
    cuda.try_algorithms();
    all().unwrap();
    cuda.keep_fastest().unwrap();
    check();
    let replay = cuda.capture(&mut all).unwrap();
    out.iter().for_each(|out| out.zero_set().unwrap());
    replay.replay().unwrap();
    let step = out.iter().map(|out| out.narrow(0, 0, ROWS).unwrap());
    for ((_, expected), out) in layers.iter().zip(step) {
        assert_close(
            &out,
            &expected.narrow(0, 0, ROWS).unwrap(),
            tolerance(DType::F16),
        );
    }
}
