//! What one card can show of many: ranks as streams of it, which add up through the host's memory, and NCCL with one rank.
//! `scripts/card-check` runs these on a real card; elsewhere a virtual one stands for it.

use std::sync::Arc;
use std::time::Instant;

use candle_core::DType;
use candlepower::ops::Queue;
use candlepower::ops::cuda::Gpu;
use candlepower::ops::cuda::exchange::{CHANNEL_BYTES, Route, Shots};
use candlepower::parallel::{AllReduce, Split, nccl};

use crate::case::Case;
use crate::common::random::Random;
use crate::exchange::{Machine, Manner, Message, delay, differences, on_ranks};
use crate::support::{ONE_CARD, cuda, sent, values};

/// How many sums each rank makes; on a real card a million.
const SUMS: &str = "CANDLEPOWER_TEST_SUMS";
const FEW_SUMS: usize = 240;
/// Sums of one message after the other, before its numbers are looked at.
const IN_A_ROW: usize = 12;

/// One card for all ranks.
fn is_on_one_card(test: &str) -> bool {
    Machine::new(1, false).with(ONE_CARD, 1).is_inside(test)
}

/// Golden tokens, with graphs and without, steps two deep.
fn tokens_are_golden(test: &str, name: &'static str, tp: usize) {
    if !is_on_one_card(test) {
        return;
    }
    for graphs in [false, true] {
        let case = Case {
            name,
            split: Split::from(tp),
            way: AllReduce::Host,
            graphs,
        };
        case.is_golden(3, 6);
    }
}

#[test]
fn tokens_are_golden_over_2_streams() {
    tokens_are_golden("card::tokens_are_golden_over_2_streams", "qwen2-tiny", 2);
}

#[test]
fn tokens_are_golden_over_4_streams() {
    tokens_are_golden("card::tokens_are_golden_over_4_streams", "qwen2-tiny", 4);
}

#[test]
fn tokens_are_golden_over_8_streams() {
    tokens_are_golden("card::tokens_are_golden_over_8_streams", "llama-tiny", 8);
}

/// Messages of random sizes, each added up several times in a row: after the first time each multiplies by the number of
/// ranks, a power of two, which is exact in bf16 and, on the way, in f32.
fn sums_under_delays(test: &str, ranks: usize) {
    if !is_on_one_card(test) {
        return;
    }
    let sums = std::env::var(SUMS).map_or(FEW_SUMS, |sums| sums.parse().unwrap());
    let start = Instant::now();
    on_ranks(ranks, Route::Host, CHANNEL_BYTES, None, |member| {
        let (mut common, mut own) = (Random(7), Random(member.rank as u64));
        for _ in 0..sums / IN_A_ROW {
            let message = Message {
                dtype: DType::BF16,
                manner: Manner::Shots(common.pick(&[Shots::One, Shots::Two])),
                ..Message::random(&mut common, Route::Host, 2000)
            };
            let x = message.send(member);
            for _ in 0..IN_A_ROW {
                delay(&mut own);
                message.reduce(member, &x);
            }
            let factor = (ranks as f32).powi(IN_A_ROW as i32 - 1);
            let mut expected = message.sum(ranks);
            let own = expected.iter_mut().take(message.len());
            own.for_each(|sum| *sum *= factor);
            assert_eq!(differences(&x, &expected), 0, "{message:?}");
        }
    });
    println!("{sums} sums over {ranks} streams in {:?}", start.elapsed());
}

#[test]
fn sums_hold_under_delays_over_2_streams() {
    sums_under_delays("card::sums_hold_under_delays_over_2_streams", 2);
}

#[test]
fn sums_hold_under_delays_over_4_streams() {
    sums_under_delays("card::sums_hold_under_delays_over_4_streams", 4);
}

#[test]
fn sums_hold_under_delays_over_8_streams() {
    sums_under_delays("card::sums_hold_under_delays_over_8_streams", 8);
}

/// A communicator of one rank: captured, replayed, and dropped after its graph.
#[test]
fn nccl_with_one_rank_is_captured_replayed_and_dropped() {
    if !nccl::IS_BUILT {
        return;
    }
    let cuda = cuda(DType::F32);
    let gpu: &Gpu = cuda.gpu();
    let comm = nccl::Meeting::new()
        .unwrap()
        .join(gpu, 0, 1, Arc::new(|| None))
        .unwrap();
    let numbers = candle_core::Tensor::new(&[[1.0_f32, 2.0, 3.0]], &candle_core::Device::Cpu);
    let x = sent(&cuda, &numbers.unwrap(), DType::F32);
    comm.all_reduce(&x, 3).unwrap();
    gpu.synchronize().unwrap();
    let mut work = || comm.all_reduce(&x, 3);
    let graph = cuda.capture(&mut work).unwrap();
    for _ in 0..3 {
        graph.replay().unwrap();
    }
    gpu.synchronize().unwrap();
    assert_eq!(values(&x), [1.0, 2.0, 3.0]);
    let start = Instant::now();
    drop(graph);
    drop(comm);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}
