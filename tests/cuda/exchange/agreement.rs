//! What ranks agree in without a host: the highest of their numbers. And how they end when one of them never comes.

use std::time::Instant;

use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr};

use super::*;

/// Any end.
const END: Duration = Duration::from_secs(10);

fn at<T>(slice: &CudaSlice<T>, gpu: &Gpu) -> u64 {
    slice.device_ptr(&gpu.stream()).0
}

fn highest(route: Route) {
    let ranks = Gpu::count().unwrap();
    on_ranks(ranks, route, SMALL_SLOTS, None, |member| {
        let (gpu, exchange) = (member.gpu(), &member.exchange);
        let stream = gpu.stream();
        for (round, count) in [1, 2, 3, 16, 255, 700].into_iter().enumerate() {
            let of = |rank: usize| {
                let mut random = Random((round * 100 + rank) as u64);
                (0..count).map(|_| random.bits()).collect::<Vec<u64>>()
            };
            let own = stream.clone_htod(&of(member.rank)).unwrap();
            exchange.all_reduce_max_u64(at(&own, gpu), count).unwrap();
            let highest = |i: usize| (0..ranks).map(|rank| of(rank)[i]).max().unwrap();
            let expected: Vec<u64> = (0..count).map(highest).collect();
            assert_eq!(stream.clone_dtoh(&own).unwrap(), expected);
        }
    });
}

#[test]
fn the_highest_number_over_host_memory() {
    for ranks in [2, 4, 8] {
        let name = "exchange::agreement::the_highest_number_over_host_memory";
        if Machine::new(ranks, false).is_inside(name) {
            return highest(Route::Host);
        }
    }
}

#[test]
fn the_highest_number_over_peers() {
    for ranks in [2, 4] {
        let name = "exchange::agreement::the_highest_number_over_peers";
        if Machine::new(ranks, true).is_inside(name) {
            return highest(Route::Peers);
        }
    }
}

/// The last rank never calls: the others wait on their GPUs, until they are told not to.
#[test]
fn an_abort_ends_all_waiting() {
    for peers in [false, true] {
        let machine = Machine::new(4, peers);
        if !machine.is_inside("exchange::agreement::an_abort_ends_all_waiting") {
            continue;
        }
        let route = match Gpu::peer_access(2).unwrap() {
            Some(true) => Route::Peers,
            _ => Route::Host,
        };
        let times = on_ranks(4, route, SMALL_SLOTS, None, |member| {
            let start = Instant::now();
            if member.rank == 3 {
                std::thread::sleep(Duration::from_millis(300));
                member.exchange.abort();
                return start.elapsed();
            }
            let x = member.send(&[1.0; 64], (1, 64), DType::F32);
            for shots in [Shots::One, Shots::Two, Shots::One] {
                member.exchange.all_reduce(&x, 1, shots).unwrap();
            }
            member.gpu().synchronize().unwrap();
            start.elapsed()
        });
        assert!(times.iter().all(|time| *time < END), "{times:?}");
        assert!(times[0] >= Duration::from_millis(200), "{times:?}");
        return;
    }
}

/// A rank that has no GPU for its part must not be waited for.
#[test]
fn nobody_joins_before_all_inboxes_are_there() {
    let machine = Machine::new(1, false);
    if !machine.is_inside("exchange::agreement::nobody_joins_before_all_inboxes_are_there") {
        return;
    }
    let inboxes = Arc::new(Inboxes::new(2, Route::Host, SMALL_SLOTS).unwrap());
    let gpu = Gpu::open(0).unwrap();
    inboxes.open(&gpu, 0).unwrap();
    let error = Exchange::join(&gpu, 0, inboxes).err().unwrap().to_string();
    assert!(error.contains("no inbox yet"), "{error}");
    for (ranks, bytes) in [(0, SMALL_SLOTS), (17, SMALL_SLOTS), (2, 16)] {
        assert!(Inboxes::new(ranks, Route::Host, bytes).is_err());
    }
}
