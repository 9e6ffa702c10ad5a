//! How simulated cards add up: the ways and the choice by size of a session on real ones.

use candlepower::exec::Server;
use candlepower::ground::results::{self, AllReduceSize};
use candlepower::parallel::AllReduce;

use super::setup::{card, gpu, simulation};
use crate::cli_support::{refused, run};

fn told(gpu_name: &str, tp: usize, asked: AllReduce, server: bool) -> Option<results::AllReduce> {
    let server = server.then_some(Server::VLLM);
    let mut simulation = simulation(card("QwQ-32B"), gpu(gpu_name), tp, server);
    simulation.all_reduce = asked;
    simulation.start().unwrap().all_reduce
}

fn us(size: &AllReduceSize, way: &str) -> f64 {
    size.us[way]
}

#[test]
fn each_size_goes_as_was_fastest() {
    for tp in [2, 4, 8] {
        let told = told("rtx4090-48g", tp, AllReduce::Auto, false).unwrap();
        assert_eq!(told.asked, "auto");
        let host = ["host one-shot", "host two-shot", "host copies"];
        assert_eq!(told.ways, [&["nccl"][..], &host].concat());
        for size in &told.sizes {
            let least = size.us.values().copied().fold(f64::INFINITY, f64::min);
            assert_eq!(us(size, &size.way), least, "{size:?}");
        }
        let first = &told.sizes[0];
        assert_eq!(first.bytes, 4 << 10);
        assert!(first.way.ends_with("-shot"), "{first:?}");
        // Own sums of the largest step, 2048 rows of 5120 values.
        let own = self::told("rtx4090-48g", tp, AllReduce::Host, false).unwrap();
        let last = own.sizes.last().unwrap();
        assert_eq!((last.bytes, &*last.way), (32 << 20, "host copies"));
    }
}

/// Over two ranks one shot moves as much as two and meets once; over more it moves more.
#[test]
fn more_ranks_leave_one_shot_earlier() {
    let way_of = |tp, bytes| {
        let told = told("rtx4090-48g", tp, AllReduce::Host, false).unwrap();
        let size = told.sizes.iter().find(|size| size.bytes == bytes).unwrap();
        size.way.clone()
    };
    assert_eq!(way_of(2, 16 << 10), "host one-shot");
    assert_eq!(way_of(8, 16 << 10), "host two-shot");
}

#[test]
fn cards_that_reach_each_other_have_more_ways() {
    let told = told("h100-sxm", 4, AllReduce::P2p, false).unwrap();
    assert_eq!(told.ways, ["p2p one-shot", "p2p two-shot"]);
}

#[test]
fn a_server_adds_up_with_nccl_unless_it_is_told() {
    let ways = |asked| told("rtx4090-48g", 2, asked, true).unwrap().ways;
    assert_eq!(ways(AllReduce::Auto), ["nccl"]);
    assert_eq!(ways(AllReduce::Host).len(), 3);
}

#[test]
fn one_rank_adds_up_nothing() {
    assert_eq!(told("h100-sxm", 1, AllReduce::Host, false), None);
}

const BENCH: &str = "bench --device sim:rtx4090-48g --tp 2 --model QwQ-32B --concurrency 2 --requests 2 --input-len 8 --output-len 4 --json --all-reduce";

fn bench(way: &'static str) -> Vec<&'static str> {
    BENCH.split(' ').chain([way]).collect()
}

#[test]
fn a_result_says_how_its_cards_added_up() {
    let results = run(&bench("host")).succeeded().json();
    let told = &results["environment"]["all_reduce"];
    assert_eq!(told["asked"], "host");
    assert_eq!(told["ways"].as_array().unwrap().len(), 3);
    let tpot = |way| {
        let results = run(&bench(way)).succeeded().json();
        let tpot = &results["runs"][0]["extended"]["mean_tpot_ms"];
        tpot.as_f64().unwrap()
    };
    let [nccl, auto] = ["nccl", "auto"].map(tpot);
    assert!(auto < nccl, "{auto} of {nccl} ms");
}

#[test]
fn ways_that_cards_do_not_have_are_refused() {
    refused(
        &bench("p2p"),
        &[
            "--all-reduce p2p: 2 cards on PCIe without peer access have no such way to add up; use --all-reduce auto",
        ],
    );
}
