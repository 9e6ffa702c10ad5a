//! Ranks that meet: sums, copies, stops.

use interleavings::rendezvous::Rendezvous;
use interleavings::{Arc, every_order, explore, on_ranks, thread};

/// Two stripes at least: each rank writes into the others' values.
const LEN: usize = 40;

/// Some seconds' worth.
const MOST_ORDERS: usize = 1_000_000;

/// Values of a rank in a round, and what they come to over all ranks. Small whole numbers: sums are exact.
fn values(rank: usize, round: usize) -> Vec<f32> {
    (0..LEN)
        .map(|i| (i + 10 * rank + 100 * round) as f32)
        .collect()
}

fn sums(ranks: usize, round: usize) -> Vec<f32> {
    let mut sums = vec![0.0; LEN];
    for rank in 0..ranks {
        let own = values(rank, round);
        sums.iter_mut()
            .zip(own)
            .for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// Two rounds: what a rank does early in the second must not reach another that is late in the first.
fn sum_twice(ranks: usize, spin: bool) {
    on_ranks(ranks, spin, move |rendezvous, rank| {
        for round in 0..2 {
            let mut own = values(rank, round);
            rendezvous.sum(rank, &mut own).unwrap();
            assert_eq!(own, sums(ranks, round), "rank {rank}, round {round}");
            own.fill(f32::NAN);
        }
    });
}

#[test]
fn sums_are_whole_in_any_order() {
    explore(10_000, || sum_twice(2, false));
    explore(10_000, || sum_twice(3, false));
}

#[test]
fn sums_are_whole_when_ranks_spin() {
    explore(2_000, || sum_twice(2, true));
}

/// One meeting is the smallest thing that can lose a wake-up.
#[test]
fn one_meeting_in_every_order() {
    every_order(MOST_ORDERS, || {
        let shared = Arc::new(Rendezvous::new(2, false));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.meet())
        };
        shared.meet().unwrap();
        other.join().unwrap().unwrap();
    });
}

/// A rank that will not come, and one that waits for it or is about to.
#[test]
fn a_stop_in_every_order() {
    every_order(MOST_ORDERS, || {
        let shared = Arc::new(Rendezvous::new(2, false));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.stop(1, "gone"))
        };
        assert!(shared.gather(0, &[0], &mut Vec::new()).is_err());
        other.join().unwrap();
    });
}

#[test]
fn copies_are_whole_in_any_order() {
    explore(10_000, || {
        on_ranks(3, false, |rendezvous, rank| {
            let mut all = Vec::new();
            for round in 0..3_u32 {
                let own = [round, rank as u32];
                rendezvous.gather(rank, &own, &mut all).unwrap();
                assert_eq!(all, [round, 0, round, 1, round, 2]);
            }
        });
    });
}

/// Whenever it comes: nobody waits for ever, a meeting ends for all or for none, and all are told the reason.
#[test]
fn a_rank_that_stops_releases_the_others() {
    for spin in [false, true] {
        let orders = if spin { 2_000 } else { 10_000 };
        explore(orders, move || {
            let met = on_ranks(3, spin, |rendezvous, rank| {
                let mut own = values(rank, 0);
                rendezvous.sum(rank, &mut own).unwrap();
                assert_eq!(own, sums(3, 0));
                if rank == 1 {
                    rendezvous.stop(rank, "no more memory");
                }
                let reason = rendezvous.sum(rank, &mut own).unwrap_err();
                assert_eq!(reason.to_string(), "rank 1 failed: no more memory");
            });
            assert_eq!(met.len(), 3);
        });
    }
}

/// A rank stops without having come to the meeting in which the others are.
#[test]
fn a_stop_beside_a_meeting_ends_it_for_all() {
    explore(10_000, || {
        let met = on_ranks(3, false, |rendezvous, rank| {
            if rank == 2 {
                rendezvous.stop(rank, "gone");
                return false;
            }
            rendezvous.gather(rank, &[0], &mut Vec::new()).is_ok()
        });
        assert_eq!(met, [false; 3]);
    });
}

#[test]
fn unequal_lengths_stop_everyone() {
    explore(10_000, || {
        let refused = on_ranks(3, false, |rendezvous, rank| {
            let mut own = vec![1.0; LEN + usize::from(rank == 2)];
            rendezvous.sum(rank, &mut own).is_err()
        });
        assert_eq!(refused, [true; 3]);
    });
}
