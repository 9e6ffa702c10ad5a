//! What keeps messages of GPUs in order: without any one part of it, sums come out wrong.

use super::*;
use crate::left_out;

/// `Order` of `kernels/exchange.cuh`.
const COMPLETE: &str = "COMPLETE";
const PARTS: [&str; 5] = [
    "BLOCK_HAS_WRITTEN",
    "RELEASE",
    "ACQUIRE",
    "BLOCK_HAS_WAITED",
    "TWO_HALVES",
];

/// `kernels/all_reduce.cu` without a part.
fn without(part: &str) -> Option<String> {
    left_out::without(part, "#include \"all_reduce.cu\"\n")
}

/// Numbers that came out wrong on any rank, over many messages.
fn wrong(ranks: usize, route: Route, ptx: &str) -> usize {
    let wrong = on_ranks(ranks, route, SMALL_SLOTS, Some(ptx), |member| {
        let (mut common, mut own) = (Random(5), Random(member.rank as u64));
        let mut wrong = 0;
        for _ in 0..40 {
            let message = Message::random(&mut common, route, 600);
            let x = message.send(member);
            delay(&mut own);
            message.reduce(member, &x);
            wrong += differences(&x, &message.sum(ranks));
        }
        wrong
    });
    wrong.into_iter().sum()
}

fn every_part_is_needed(test: &str, route: Route) {
    for part in [COMPLETE].into_iter().chain(PARTS) {
        let machine = Machine::new(2, route == Route::Peers).with("CANDLEPOWER_TEST_PART", part);
        if !machine.is_inside(test) {
            continue;
        }
        let part = std::env::var("CANDLEPOWER_TEST_PART").unwrap();
        let Some(ptx) = without(&part) else {
            return;
        };
        let wrong = wrong(2, route, &ptx);
        println!("{part} left out, {route:?}: {wrong} numbers wrong");
        assert_eq!(wrong == 0, part == COMPLETE, "{part}: {wrong} wrong");
        return;
    }
}

#[test]
fn every_part_of_a_meeting_is_needed_over_host_memory() {
    let name = "exchange::order::every_part_of_a_meeting_is_needed_over_host_memory";
    every_part_is_needed(name, Route::Host);
}

#[test]
fn every_part_of_a_meeting_is_needed_over_peers() {
    let name = "exchange::order::every_part_of_a_meeting_is_needed_over_peers";
    every_part_is_needed(name, Route::Peers);
}
