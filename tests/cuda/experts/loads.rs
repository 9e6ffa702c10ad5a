//! Experts that are chosen by unlike numbers of rows: what is read and computed follows each one's own.

use candlepower::ops::cuda::Gpu;

use super::*;
use crate::exchange::Machine;
use crate::report::{bytes, kernels, reported};

/// Each row chooses one expert, which so many rows do.
fn routes_of(loads: &[usize]) -> Routes {
    let rows = loads.iter().sum();
    let each = loads.iter().zip(0_u32..);
    let sorted: Vec<u32> = each
        .flat_map(|(&load, expert)| vec![expert; load])
        .collect();
    // Not one expert after the other: a prime, of which no number of rows here is a multiple.
    let mixed: Vec<u32> = (0..rows).map(|row| sorted[row * 101 % rows]).collect();
    let experts = Tensor::from_vec(mixed, (rows, 1), &Device::Cpu).unwrap();
    let weights = Tensor::ones((rows, 1), DType::F32, &Device::Cpu).unwrap();
    Routes {
        experts: Buffer::new(experts).unwrap(),
        weights: Buffer::new(weights).unwrap(),
    }
}

/// As many experts as there are loads, all held here.
fn case(
    random: &mut Random,
    (dtype, stored): (DType, DType),
    (hidden, width): (usize, usize),
    loads: &[usize],
) -> Case {
    let blocks = Blocks::new(random, true);
    let mut part = |shape| Stored::new(random, shape, stored, blocks, 0);
    let expert = |_: &usize| {
        let gate = part((width, hidden));
        [gate, part((width, hidden)), part((hidden, width))]
    };
    Case {
        dtype,
        quantize: false,
        rows: loads.iter().sum(),
        top_k: 1,
        hidden,
        width,
        weights: loads.iter().map(expert).collect(),
        held: 0..loads.len(),
        blocks: [blocks; 2],
    }
}

/// Whole tall tiles, tall and short ones for what is left, none, and both kinds of one expert.
#[test]
fn tiles_are_as_tall_as_the_load_of_each_expert() {
    const LOADS: [usize; 12] = [1, 0, 8, 9, 64, 65, 72, 73, 32, 33, 130, 2];
    let random = &mut Random(37);
    let types = [
        (DType::BF16, DType::BF16),
        (DType::F16, DType::F8E4M3),
        (DType::F32, DType::F32),
    ];
    for types in types {
        let case = case(random, types, (80, 144), &LOADS);
        let routes = routes_of(&LOADS);
        case.check_on(&cuda(types.0), random, &routes);
        // Few blocks fill this one, so that they are wide.
        let mut gpu = Gpu::open(0).unwrap();
        gpu.multiprocessors = 1;
        let small = Cuda::new(gpu, types.0).unwrap();
        case.check_on(&small, random, &routes);
    }
}

/// Of one expert with many rows and of others with few.
#[test]
fn weights_are_read_once() {
    const LOADS: [usize; 4] = [60, 1, 0, 3];
    const HIDDEN: usize = 512;
    const WIDTH: usize = 256;
    /// Features of a tall and of a short tile's block, each of which reads its rows.
    const COLUMNS: [usize; 2] = [64, 16];
    const ELEMENT: usize = 2;
    let machine = Machine::new(1, false);
    let report = reported(machine, "experts::loads::weights_are_read_once", || {
        let random = &mut Random(38);
        let types = (DType::BF16, DType::BF16);
        let case = case(random, types, (HIDDEN, WIDTH), &LOADS);
        case.check_on(&cuda(types.0), random, &routes_of(&LOADS));
    });
    let Some(report) = report else { return };
    let rows = [LOADS[0], LOADS[1] + LOADS[3]];
    let layer = |n: usize, k: usize| {
        let x: usize = (0..2).map(|i| n / COLUMNS[i] * rows[i] * k).sum();
        3 * n * k + x + (rows[0] + rows[1]) * n
    };
    let least = (ELEMENT * (layer(2 * WIDTH, HIDDEN) + layer(HIDDEN, WIDTH))) as u64;
    let moved = bytes(&kernels(&report, "product_"));
    println!("{moved} bytes, of which {least} must be moved");
    assert!(moved >= least, "{moved} of {least} bytes");
    assert!(moved * 10 <= least * 11, "{moved} of {least} bytes");
}
