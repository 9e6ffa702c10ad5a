//! Sums: the same bits on every rank, those of a sum in rank order on the host.

use candlepower::ops::Queue;

use super::*;

fn sums_are_in_rank_order(ranks: usize, route: Route) {
    for (channel_bytes, largest, messages) in [(SMALL_SLOTS, 3000, 24), (256 << 10, 9000, 8)] {
        on_ranks(ranks, route, channel_bytes, None, |member| {
            let mut random = Random(ranks as u64);
            for _ in 0..messages {
                let message = Message::random(&mut random, route, largest);
                let x = message.send(member);
                message.reduce(member, &x);
                let wrong = differences(&x, &message.sum(ranks));
                assert_eq!(wrong, 0, "rank {} of {ranks}: {message:?}", member.rank);
            }
        });
    }
}

#[test]
fn over_host_memory() {
    for ranks in [2, 4, 8] {
        let machine = Machine::new(ranks, false);
        if machine.is_inside("exchange::sums::over_host_memory") {
            return sums_are_in_rank_order(Gpu::count().unwrap(), Route::Host);
        }
    }
}

#[test]
fn over_peers() {
    for ranks in [2, 4, 8] {
        let machine = Machine::new(ranks, true);
        if machine.is_inside("exchange::sums::over_peers") {
            return sums_are_in_rank_order(Gpu::count().unwrap(), Route::Peers);
        }
    }
}

/// More than the staging memory holds at a time, and an end that is no whole unit of any rank.
#[test]
fn large_messages_are_staged_in_pieces() {
    let machine = Machine::new(2, false);
    if !machine.is_inside("exchange::sums::large_messages_are_staged_in_pieces") {
        return;
    }
    let message = Message {
        seed: 3,
        rows: 1,
        width: (9 << 20) / 2 + 5,
        dtype: DType::BF16,
        manner: Manner::Copies,
    };
    on_ranks(2, Route::Host, SMALL_SLOTS, None, |member| {
        let x = message.send(member);
        message.reduce(member, &x);
        assert_eq!(differences(&x, &message.sum(2)), 0, "rank {}", member.rank);
    });
}

/// Many sums one after the other, single and in graphs, queued ahead by hosts that are not together.
fn many_calls(ranks: usize, route: Route, rounds: usize) {
    const MESSAGES: usize = 12;
    const CAPTURED: usize = 3;
    let calls = on_ranks(ranks, route, SMALL_SLOTS, None, |member| {
        let mut common = Random(11);
        let mut own = Random(100 + member.rank as u64);
        let messages: Vec<Message> = (0..MESSAGES)
            .map(|_| Message::random(&mut common, route, 400))
            .collect();
        let expected: Vec<_> = messages.iter().map(|m| m.sum(ranks)).collect();
        let buffers: Vec<Buffer> = messages.iter().map(|m| m.send(member)).collect();
        let fresh: Vec<Buffer> = messages.iter().map(|m| m.send(member)).collect();
        let mut graphs = Vec::new();
        for first in 0..4 {
            let mut work = || {
                (first..first + CAPTURED).for_each(|i| messages[i].reduce(member, &buffers[i]));
                Ok(())
            };
            graphs.push(member.cuda.capture(&mut work).unwrap());
        }
        let mut calls = 0;
        for _ in 0..rounds {
            for (buffer, fresh) in buffers.iter().zip(&fresh) {
                // On the rank's stream, behind what was queued.
                buffer.slice_set(fresh, 0, 0).unwrap();
            }
            // A graph over some, single calls over the others, in any order.
            let first = common.within(0..graphs.len());
            let graph_at = common.within(0..MESSAGES - CAPTURED + 1);
            let single = (0..MESSAGES).filter(|i| !(first..first + CAPTURED).contains(i));
            for (at, i) in single.enumerate() {
                delay(&mut own);
                if at == graph_at {
                    graphs[first].replay().unwrap();
                }
                messages[i].reduce(member, &buffers[i]);
            }
            if graph_at == MESSAGES - CAPTURED {
                graphs[first].replay().unwrap();
            }
            calls += MESSAGES;
            for (i, buffer) in buffers.iter().enumerate() {
                let wrong = differences(buffer, &expected[i]);
                assert_eq!(wrong, 0, "rank {}, {calls}: {:?}", member.rank, messages[i]);
            }
        }
        calls
    });
    assert!(calls.iter().all(|&c| c == rounds * MESSAGES));
}

fn in_any_mixture(test: &str, route: Route) {
    for ranks in [2, 4, 8] {
        if Machine::new(ranks, route == Route::Peers).is_inside(test) {
            let ranks = Gpu::count().unwrap();
            return many_calls(ranks, route, 200 / ranks);
        }
    }
}

#[test]
fn thousands_of_calls_in_any_mixture_over_host_memory() {
    let name = "exchange::sums::thousands_of_calls_in_any_mixture_over_host_memory";
    in_any_mixture(name, Route::Host);
}

#[test]
fn thousands_of_calls_in_any_mixture_over_peers() {
    let name = "exchange::sums::thousands_of_calls_in_any_mixture_over_peers";
    in_any_mixture(name, Route::Peers);
}
