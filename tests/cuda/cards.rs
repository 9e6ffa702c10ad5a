//! How cards are set up: shown by `doctor`, kept in a result, refused where they cannot be measured.

use serde_json::json;

use crate::cli::{BENCH, Machine};
use crate::cli_support::{Outcome, fixture};

/// One with less than it could have, and another on another NUMA node.
const TWO: &str = "
[[device]]
[device.telemetry]
pcie_width = 8
power_limit_watts = 300.0
application_clock_mhz = 1500
ecc = true
numa_node = 1
[[device.telemetry.process]]
pid = 4242
mib = 2048
[[device]]
[device.telemetry]
mig = false
";

#[test]
fn doctor_shows_how_cards_are_set_up_and_joined() {
    let Some(machine) = Machine::new(TWO) else {
        return;
    };
    let doctor = |args: &[&str]| {
        let mut command = machine.command(args);
        command.env("NCCL_P2P_DISABLE", "1");
        Outcome::of(command.output().unwrap()).succeeded()
    };
    let found = doctor(&["doctor", "--json"]).json();
    let [one, two] = &found["cards"].as_array().unwrap()[..] else {
        panic!("{found}");
    };
    for (key, first, second) in [
        ("pcie_generation", json!(4), json!(4)),
        ("pcie_width", json!(8), json!(16)),
        ("pcie_width_max", json!(16), json!(16)),
        ("power_limit_watts", json!(300.0), json!(450.0)),
        ("power_limit_default_watts", json!(450.0), json!(450.0)),
        ("application_sm_clock_mhz", json!(1500), json!(null)),
        ("ecc", json!(true), json!(false)),
        ("mig", json!(null), json!(false)),
        ("numa_node", json!(1), json!(0)),
        (
            "other_processes",
            json!([{"pid": 4242, "memory_bytes": 2_u64 << 30}]),
            json!([]),
        ),
    ] {
        assert_eq!((&one[key], &two[key]), (&first, &second), "{key}");
        for card in [one, two] {
            let reason = &card["not_observed"][key];
            assert_eq!(card[key].is_null(), reason.is_string(), "{key}: {card}");
        }
    }
    let link = &found["gpu_links"].as_array().unwrap()[0];
    assert_eq!(link["gpus"], json!([0, 1]));
    assert_eq!(link["path"], "SYS");
    assert_eq!(
        (&link["nvlink"], &link["p2p"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(found["nccl_variables"], json!({"NCCL_P2P_DISABLE": "1"}));

    let page = doctor(&["doctor"]).stdout;
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "PCIe 4 x8 (at most 4 x16), 300.0 W (by default 450.0), SM clock set to 1500 of",
        "ECC on, NUMA node 1, used by process 4242 (2048 MiB)",
        "PCIe 4 x16 (at most 4 x16), 450.0 W (by default 450.0), ECC off, MIG off, NUMA node 0 ",
        "link SYS, no P2P: 0-1",
        "nccl env NCCL_P2P_DISABLE=1",
    ] {
        assert!(words.contains(part), "{part}: {page}");
    }
}

#[test]
fn a_result_says_when_another_process_used_the_card() {
    let Some(machine) = Machine::new(TWO) else {
        return;
    };
    let model = fixture("qwen2-tiny");
    let args = [&BENCH[..], &["--model", &model]].concat();
    let results = machine
        .run(&[&args[..], &["--json"]].concat())
        .succeeded()
        .json();
    let environment = &results["environment"];
    assert_eq!(environment["gpus"][0]["other_processes"][0]["pid"], 4242);
    assert_eq!(environment["gpus"][1]["other_processes"], json!([]));
    assert_eq!(environment["gpu_links"][0]["path"], "SYS");
    for run in results["runs"].as_array().unwrap() {
        let gpu = &run["gpus"][0];
        assert_eq!(gpu["other_processes"], 1, "{gpu}");
        assert_eq!(
            (&gpu["pcie_generation"], &gpu["pcie_width"]),
            (&json!(4), &json!(8))
        );
    }
    let screen = machine.run(&args).succeeded().stdout;
    assert!(
        screen.contains("c4: GPU 0 was SHARED with another process"),
        "{screen}"
    );
}

#[test]
fn a_card_that_is_cut_into_instances_is_refused() {
    let Some(machine) = Machine::new("[[device]]\n[device.telemetry]\nmig = true\n") else {
        return;
    };
    let model = fixture("qwen2-tiny");
    let outcome = machine.run(&[&BENCH[..], &["--model", &model]].concat());
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let reason = "has MIG on, and only whole cards are measured; turn it off with nvidia-smi -i ";
    assert!(outcome.stderr.contains(reason), "{outcome:?}");
    let page = machine.run(&["doctor"]).succeeded().stdout;
    assert!(page.contains("MIG on"), "{page}");
}
