//! What a step costs, by events of the devices that ran it.

use serde_json::Value;

use super::models::{engine, program};
use crate::cli_support::fixture;

/// A result, and its steps.
fn played(tp: usize, way: &str, more: &[&str]) -> Option<(Value, Vec<Value>)> {
    let (model, ranks) = (fixture("qwen2-tiny"), tp.to_string());
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("run");
    let mut args = vec!["bench", "--concurrency", "2", "--requests", "4"];
    args.extend(["--input-len", "8", "--output-len", "14"]);
    args.extend(["--out", dir.to_str().unwrap()]);
    args.extend(engine(&model, &ranks, way));
    args.extend(more);
    let results = program(tp, true, &args)?.succeeded().json();
    let lines = std::fs::read_to_string(dir.join("steps.jsonl")).unwrap();
    let steps = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    Some((results, steps.collect()))
}

#[test]
fn one_step_in_eight_tells_how_its_time_divides() {
    for (tp, way, more) in [
        (2, "host", &[][..]),
        (2, "host", &["--no-cuda-graphs"]),
        (2, "p2p", &[]),
        (1, "auto", &[]),
    ] {
        let Some((results, steps)) = played(tp, way, more) else {
            return;
        };
        let what = format!("{tp} by {way}, {more:?}");
        let mut timed = 0;
        for step in &steps {
            let of = |key: &str| step[key].as_f64();
            let is_timed = step["step"].as_u64().unwrap().is_multiple_of(8);
            timed += u64::from(is_timed);
            let all = ["compute_seconds", "communication_seconds", "wait_seconds"];
            let [compute, communication, wait] = all.map(of);
            assert_eq!(compute.is_some(), is_timed, "{what}: {step}");
            assert_eq!(communication.is_some(), is_timed, "{what}: {step}");
            let Some((compute, communication)) = compute.zip(communication) else {
                continue;
            };
            let wait = wait.unwrap();
            assert!(compute > 0.0, "{what}: {step}");
            assert_eq!(communication > 0.0, tp > 1, "{what}: {step}");
            assert!((0.0..=communication).contains(&wait), "{what}: {step}");
        }
        assert!(
            timed > 1 && timed < steps.len() as u64 / 4,
            "{what}: {timed}"
        );
        assert_eq!(results["engine"]["timed_by"], "device events");
        let run = &results["runs"][0];
        let extended = &run["extended"];
        assert_eq!(extended["timed_steps"], timed, "{what}");
        for name in ["communication_share_percent", "wait_share_percent"] {
            match tp {
                1 => assert_eq!(run["not_observed"][name], "one rank exchanges nothing"),
                _ => {
                    let share = extended[name].as_f64().unwrap();
                    assert!((0.0..100.0).contains(&share), "{what}: {name} {share}");
                }
            }
        }
    }
}
