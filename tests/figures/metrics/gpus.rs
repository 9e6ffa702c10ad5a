//! GPUs over the window of the run that was worked out by hand: its samples at 1 and 3 s lie in it.

use std::collections::BTreeMap;

use candlepower::ground::results::Run;
use candlepower::ground::{GpuCounter, GpuIdentity, GpuSample, Refused, WatchedGpu};
use candlepower::metrics::{MeasureInput, measure};
use candlepower::report::{table, write_all};

use super::fixture::{Raw, raw, results, scenario};

/// Of a card that refuses nothing.
const IDLE_WATTS: f64 = 50.0;
/// Bits of NVML.
const IDLE: u64 = 0x1;
const POWER_CAP: u64 = 0x4;
const THERMAL: u64 = 0x20;

fn watched(index: usize, refused: &[(GpuCounter, &str)]) -> WatchedGpu {
    let idle = refused.is_empty().then_some(IDLE_WATTS);
    let refused = refused
        .iter()
        .map(|(counter, why)| (*counter, (*why).to_owned()));
    WatchedGpu {
        gpu: GpuIdentity {
            index,
            name: "a card".to_owned(),
            pci_bus_id: format!("0000:0{index}:00.0"),
            ..GpuIdentity::default()
        },
        host: None,
        refused: refused.collect::<Refused>(),
        idle_power_watts: idle,
    }
}

/// A card that tells all of it.
fn sample(watts: f64, celsius: f64, joules: f64, throttle: u64) -> GpuSample {
    GpuSample {
        memory_used_bytes: Some(celsius as u64),
        memory_total_bytes: Some(100),
        power_watts: Some(watts),
        temperature_c: Some(celsius),
        sm_clock_mhz: Some(2000.0),
        memory_clock_mhz: Some(9000.0),
        utilization_percent: Some(90.0),
        energy_j: Some(joules),
        throttle_bits: Some(throttle),
        pcie_generation: Some(if watts > 200.0 { 4 } else { 1 }),
        pcie_width: Some(8),
        other_processes: (celsius == 50.0).then_some(2),
    }
}

/// Samples of one card: before the run, twice in it, after it.
fn told() -> [GpuSample; 4] {
    [
        sample(900.0, 90.0, 0.0, THERMAL),
        sample(100.0, 50.0, 1000.0, IDLE | POWER_CAP),
        sample(300.0, 60.0, 1400.0, POWER_CAP),
        sample(900.0, 90.0, 9000.0, THERMAL),
    ]
}

fn raw_with(gpus: &[[GpuSample; 4]]) -> Raw {
    let mut raw = raw();
    for (at, sample) in raw.telemetry.iter_mut().enumerate() {
        sample.gpus = gpus.iter().map(|samples| samples[at]).collect();
    }
    raw
}

fn run(raw: &Raw, watched: &[WatchedGpu]) -> Run {
    let indices: Vec<usize> = watched.iter().map(|watched| watched.gpu.index).collect();
    let raw = raw.logs();
    measure(&MeasureInput {
        requests: &raw.requests,
        steps: &raw.steps,
        telemetry: &raw.telemetry,
        experts: &raw.experts,
        scenario: scenario(),
        model: "tiny",
        prompt: "synthetic",
        timestamp: "2026-01-01T00:00:00Z",
        capacity: 100,
        gpus: &indices,
        watched,
        roofs: None,
        clocks: None,
    })
}

#[test]
fn one_card_s_samples_in_the_window_are_summed_up() {
    let run = run(&raw_with(&[told()]), &[watched(2, &[])]);
    let [gpu] = run.gpus.as_slice() else {
        panic!("{:?}", run.gpus);
    };
    assert_eq!((gpu.index, gpu.pci_bus_id.as_str()), (2, "0000:02:00.0"));
    assert_eq!(gpu.mean_power_watts, Some(200.0));
    assert_eq!(gpu.peak_power_watts, Some(300.0));
    assert_eq!(gpu.mean_temperature_c, Some(55.0));
    assert_eq!(gpu.max_temperature_c, Some(60.0));
    assert_eq!(gpu.mean_memory_percent, Some(55.0));
    assert_eq!(gpu.peak_memory_bytes, Some(60));
    assert_eq!(gpu.mean_utilization_percent, Some(90.0));
    // Under load the link wakes up, and one sample of the two looked for others.
    assert_eq!((gpu.pcie_generation, gpu.pcie_width), (Some(4), Some(8)));
    assert_eq!(gpu.other_processes, Some(2));
    // 400 J in the 2 s between the samples are 200 W, and the window is 4 s long.
    assert_eq!(gpu.energy_j, Some(800.0));
    // From the window's start to 1 s, and from there to 3 s; idleness is no throttling.
    let throttled = BTreeMap::from([("sw_power_cap".to_owned(), 3.0)]);
    assert_eq!(gpu.throttled_s, Some(throttled));
    assert!(gpu.not_observed.is_empty(), "{:?}", gpu.not_observed);
    let metrics = &run.metrics;
    assert_eq!(metrics.avg_gpu_mem_percent, Some(55.0));
    assert_eq!(metrics.avg_gpu_power_watts, Some(200.0));
    assert_eq!(metrics.avg_gpu_temp_c, Some(55.0));
    assert_eq!(metrics.avg_gpu_clock_gr_mhz, Some(2000.0));
    assert_eq!(metrics.avg_gpu_clock_mem_mhz, Some(9000.0));
    assert_eq!(metrics.gpu_index, Some(vec![2]));
    assert_eq!(run.extended.energy_j, Some(800.0));
    // Seven tokens of three successful requests.
    assert_eq!(run.extended.energy_per_output_token_j, Some(800.0 / 7.0));
}

#[test]
fn means_are_over_cards_and_energy_is_their_sum() {
    let mut hotter = told();
    for sample in &mut hotter {
        sample.power_watts = sample.power_watts.map(|watts| watts + 100.0);
        sample.energy_j = sample.energy_j.map(|joules| joules * 2.0);
    }
    let run = run(
        &raw_with(&[told(), hotter]),
        &[watched(0, &[]), watched(1, &[])],
    );
    assert_eq!(run.metrics.avg_gpu_power_watts, Some(250.0));
    assert_eq!(run.extended.energy_j, Some(2400.0));
    assert_eq!(run.metrics.gpu_index, Some(vec![0, 1]));
}

#[test]
fn what_one_card_refuses_is_null_with_its_words() {
    let mut silent = told();
    for sample in &mut silent {
        (sample.power_watts, sample.energy_j, sample.throttle_bits) = (None, None, None);
    }
    let refused = [
        (GpuCounter::Power, "no power"),
        (GpuCounter::Energy, "no counter"),
        (GpuCounter::Throttle, "no reasons"),
    ];
    let gpus = [watched(0, &[]), watched(1, &refused)];
    let run = run(&raw_with(&[told(), silent]), &gpus);
    assert_eq!(run.gpus[0].mean_power_watts, Some(200.0));
    assert_eq!(run.gpus[1].mean_power_watts, None);
    let expected = [
        ("energy_by", "no counter"),
        ("energy_j", "no counter"),
        ("idle_power_watts", "no power"),
        ("mean_power_watts", "no power"),
        ("peak_power_watts", "no power"),
        ("throttled_s", "no reasons"),
    ];
    let expected = expected.map(|(name, why)| (name.to_owned(), why.to_owned()));
    assert_eq!(run.gpus[1].not_observed, BTreeMap::from(expected));
    assert_eq!(run.metrics.avg_gpu_power_watts, None);
    assert_eq!(run.not_observed["avg_gpu_power_watts"], "GPU 1: no power");
    assert_eq!(run.not_observed["energy_j"], "GPU 1: no counter");
    assert_eq!(
        run.not_observed["energy_per_output_token_j"],
        "GPU 1: no counter"
    );
    assert_eq!(run.metrics.avg_gpu_temp_c, Some(55.0));
}

#[test]
fn where_the_counter_refuses_the_integral_of_power_stands_for_it() {
    let mut uncounted = told();
    for sample in &mut uncounted {
        sample.energy_j = None;
    }
    let idle = WatchedGpu {
        idle_power_watts: Some(IDLE_WATTS),
        ..watched(0, &[(GpuCounter::Energy, "no counter")])
    };
    let run = run(&raw_with(&[uncounted]), &[idle]);
    // 100 W and 300 W two seconds apart, through a window of 4 s.
    assert_eq!(run.gpus[0].energy_j, Some(800.0));
    assert_eq!(run.gpus[0].energy_by.as_deref(), Some("power"));
    assert_eq!(run.extended.energy_by.as_deref(), Some("power"));
    assert_eq!(run.extended.energy_above_idle_j, Some(600.0));
    let mut results = results();
    results.runs = vec![run];
    let text = table(&results, 200);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("energy 800.0 J (integral of power)"),
        "{text}"
    );
}

#[test]
fn one_sample_is_no_energy_and_none_is_nothing() {
    let mut raw = raw_with(&[told()]);
    raw.telemetry.truncate(2);
    let gpus = [watched(0, &[])];
    let energy = run(&raw, &gpus);
    assert!(energy.gpus[0].not_observed["energy_j"].contains("less than twice"));
    raw.telemetry.truncate(1);
    let nothing = run(&raw, &gpus);
    assert!(nothing.gpus[0].not_observed["mean_power_watts"].contains("no telemetry sample"));
    assert!(nothing.not_observed["avg_gpu_temp_C"].starts_with("GPU 0: no telemetry sample"));
}

#[test]
fn reports_show_each_card() {
    let raw = raw_with(&[told()]);
    let mut results = results();
    results.runs = vec![run(&raw, &[watched(0, &[])])];
    let text = table(&results, 200);
    assert!(
        text.contains("GPU 0 (a card): 200.0 W (at most 300.0), 55.00 C (at most 60.00)"),
        "{text}"
    );
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rest =
        "energy 800.0 J, throttled: sw_power_cap 3.000 s, PCIe 4 x8, SHARED with 2 other processes";
    assert!(words.contains(rest), "{text}");
    assert!(text.contains("avg_gpu_power_watts"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), false, &results, &[raw.logs()], &[]).unwrap();
    let csv = std::fs::read_to_string(dir.path().join("telemetry.csv")).unwrap();
    let mut lines = csv.lines();
    let head = lines.next().unwrap();
    assert!(
        head.contains(",rss_bytes,gpu0_memory_used_bytes,"),
        "{head}"
    );
    assert!(
        head.ends_with(",gpu0_pcie_generation,gpu0_pcie_width,gpu0_other_processes"),
        "{head}"
    );
    let columns = head.split(',').count();
    assert!(
        lines.all(|line| line.split(',').count() == columns),
        "{csv}"
    );
    let schema = candlepower::ground::results::Results::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value = serde_json::to_value(&results).unwrap();
    assert!(validator.is_valid(&value));
    assert_eq!(value["runs"][0]["gpus"][0]["peak_memory_bytes"], 60);
}
