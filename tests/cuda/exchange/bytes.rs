//! What a rank writes for one message of n bytes: (R - 1) n in one shot, 2 (R - 1) n / R in two, as the virtual GPU counts
//! the kernels' stores.

use serde_json::Value;

use super::*;

/// Of f32: in whole units on every rank, for every number of ranks; one channel in one shot.
const COUNT: usize = 1920;

/// Bytes that all ranks' kernels of that name stored.
fn stored(report: &Value, kernel: &str) -> u64 {
    let kernels = report["kernels"].as_array().unwrap();
    let row = kernels.iter().find(|row| row["name"] == kernel).unwrap();
    row["store_bytes"].as_u64().unwrap()
}

fn every_rank_writes(test: &str, route: Route) {
    for ranks in [2, 4, 8] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("report.json");
        let machine =
            Machine::new(ranks, route == Route::Peers).with("VGPU_REPORT", file.display());
        if machine.is_inside(test) {
            on_ranks(Gpu::count().unwrap(), route, 1 << 18, None, |member| {
                for shots in [Shots::One, Shots::Two] {
                    let x = member.send(&[1.0; COUNT], (1, COUNT), DType::F32);
                    member.exchange.all_reduce(&x, 1, shots).unwrap();
                    member.gpu().synchronize().unwrap();
                }
            });
            return;
        }
        let Ok(text) = std::fs::read_to_string(&file) else {
            return;
        };
        let report: Value = serde_json::from_str(&text).unwrap();
        let (r, n) = (ranks as u64, (COUNT * size_of::<f32>()) as u64);
        // The result, a flag for each other rank, and the number of the message.
        let own = |meetings: u64| n + meetings * (r - 1) * 4 + 4;
        let one = stored(&report, "one_shot_f32") / r;
        assert_eq!(one, (r - 1) * n + own(1), "one shot over {ranks}");
        let two = stored(&report, "two_shot_f32") / r;
        assert_eq!(two, 2 * (r - 1) * n / r + own(2), "two shots over {ranks}");
    }
}

#[test]
fn a_rank_writes_what_the_formulas_say_over_host_memory() {
    let name = "exchange::bytes::a_rank_writes_what_the_formulas_say_over_host_memory";
    every_rank_writes(name, Route::Host);
}

#[test]
fn a_rank_writes_what_the_formulas_say_over_peers() {
    let name = "exchange::bytes::a_rank_writes_what_the_formulas_say_over_peers";
    every_rank_writes(name, Route::Peers);
}
