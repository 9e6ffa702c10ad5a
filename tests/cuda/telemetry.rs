//! Telemetry of GPUs through NVML. Values are checked where the cards follow a script, which only virtual ones do.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Tensor};
use candlepower::ground::results::{Run, Scenario};
use candlepower::ground::{
    Clock, FinishReason, GpuCounter, GpuIdentity, Log, Recorded, RequestRecord, WallClock,
    WatchedGpu,
};
use candlepower::metrics::{MeasureInput, measure};
use candlepower::ops::cuda::{Gpu, is_out_of_memory};
use candlepower::telemetry::nvml::{cuda_version, driver_version};
use candlepower::telemetry::{NvmlProbe, Sampler};

const INTERVAL: Duration = Duration::from_millis(20);
const RUN: Duration = Duration::from_millis(200);
/// Name of the cards of a script.
const SCRIPTED: &str = "Scripted card";
/// Set in the process that a script is for.
const FOLLOWS: &str = "CANDLEPOWER_TEST_FOLLOWS_SCRIPT";

/// Runs `check` in a process of its own, whose virtual GPUs are those of `script`; real ones follow none.
fn scripted(test: &str, script: &str, check: fn()) {
    if std::env::var_os(FOLLOWS).is_some() {
        if Gpu::identify(0).unwrap().name == SCRIPTED {
            check();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.toml");
    std::fs::write(&path, script).unwrap();
    let outcome = in_process(test, &path);
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

fn in_process(test: &str, script: &Path) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("VGPU_CONFIG", script)
        .env_remove("VGPU_DEVICES")
        .env(FOLLOWS, "1")
        .output()
        .unwrap()
}

/// What a sampler sees of `gpus` in a while.
fn watch(gpus: Vec<GpuIdentity>) -> Recorded {
    let clock: Arc<dyn Clock> = Arc::new(WallClock::start());
    let probe = Arc::new(NvmlProbe::open(gpus));
    let sampler = Sampler::start(clock, INTERVAL, Some(probe), |_| {}).unwrap();
    std::thread::sleep(RUN);
    sampler.stop()
}

/// The metric set of one request that ran from the first sample to the last.
fn measured(seen: &Recorded) -> Run {
    let samples = &seen.samples;
    let (first, last) = (samples[0].time, samples[samples.len() - 1].time);
    let request = RequestRecord {
        id: 0,
        prompt_tokens: 1,
        output_tokens: 2,
        arrival: first,
        submitted: Some(first),
        admitted: Some(first),
        tokens: vec![first, last],
        finish: Some(FinishReason::Length),
        preemptions: 0,
        cached_tokens: None,
        error: None,
    };
    let indices: Vec<usize> = seen.gpus.iter().map(|watched| watched.gpu.index).collect();
    let mut requests = Log::default();
    requests.push(request).unwrap();
    measure(&MeasureInput {
        requests: &requests,
        steps: &Log::default(),
        telemetry: samples,
        experts: &[],
        scenario: Scenario::default(),
        model: "",
        prompt: "",
        timestamp: "",
        capacity: 1,
        gpus: &indices,
        watched: &seen.gpus,
        roofs: None,
        clocks: None,
    })
}

fn refusals(watched: &WatchedGpu) -> Vec<GpuCounter> {
    watched.refused.keys().copied().collect()
}

#[test]
fn any_gpu_tells_what_it_is_and_does() {
    let gpu = Gpu::identify(0).unwrap();
    let opened = Gpu::open(0).unwrap();
    assert!(!gpu.name.is_empty());
    assert_eq!(gpu.capability, opened.capability);
    assert_eq!(gpu.memory_bytes, opened.memory().unwrap().total);
    assert_eq!(gpu.pci_bus_id.matches(':').count(), 2, "{}", gpu.pci_bus_id);
    assert!(Gpu::identify(Gpu::count().unwrap()).is_err());
    assert!(driver_version().is_some_and(|version| version.contains('.')));
    assert!(cuda_version().is_some_and(|version| version.contains('.')));
    let probe = NvmlProbe::open(vec![gpu.clone()]);
    assert_eq!(probe.failure(), None);
    let seen = watch(vec![gpu]);
    assert!(seen.samples.len() > 3, "{} samples", seen.samples.len());
    for sample in &seen.samples {
        let gpu = &sample.gpus[0];
        let (used, total) = (
            gpu.memory_used_bytes.unwrap(),
            gpu.memory_total_bytes.unwrap(),
        );
        assert!(used > 0 && used < total, "{used} of {total}");
        assert!(
            gpu.power_watts
                .is_none_or(|watts| (1.0..2000.0).contains(&watts))
        );
        assert!(
            gpu.temperature_c
                .is_none_or(|celsius| (1.0..120.0).contains(&celsius))
        );
        assert!(
            gpu.sm_clock_mhz
                .is_none_or(|mhz| (1.0..5000.0).contains(&mhz))
        );
        assert!(
            gpu.utilization_percent
                .is_none_or(|p| (0.0..=100.0).contains(&p))
        );
    }
}

#[test]
fn values_are_the_script_s() {
    let script = format!(
        "[[device]]\nname = \"{SCRIPTED}\"\nmemory_gib = 10.0\ncontext_mib = 512\n[device.telemetry]\n\
         power_watts = [100.0, 300.0]\ncelsius = [50, 60]\nclock_mhz = [2000]\n\
         memory_clock_mhz = [9000]\nutilisation = [80, 100]\nthrottle = [5]\n"
    );
    scripted("telemetry::values_are_the_script_s", &script, || {
        let _context = Gpu::open(0).unwrap();
        let seen = watch(vec![Gpu::identify(0).unwrap()]);
        assert!(refusals(&seen.gpus[0]).is_empty(), "{:?}", seen.gpus);
        let readings = || seen.samples.iter().map(|sample| sample.gpus[0]);
        let watts: Vec<f64> = readings().filter_map(|gpu| gpu.power_watts).collect();
        let expected = [100.0, 300.0].into_iter().cycle().take(watts.len());
        assert_eq!(watts, expected.collect::<Vec<_>>());
        assert!(readings().all(|gpu| gpu.memory_used_bytes == Some(512 << 20)));
        assert!(readings().all(|gpu| gpu.memory_total_bytes == Some(10 << 30)));
        let run = measured(&seen);
        let gpu = &run.gpus[0];
        assert_eq!(gpu.mean_memory_percent, Some(5.0));
        assert_eq!(gpu.peak_power_watts, Some(300.0));
        assert_eq!(gpu.max_temperature_c, Some(60.0));
        assert_eq!(gpu.mean_sm_clock_mhz, Some(2000.0));
        assert_eq!(gpu.mean_memory_clock_mhz, Some(9000.0));
        // The counter rises by 10 J a reading, made every 20 ms or so.
        assert!(gpu.energy_j.is_some_and(|joules| joules >= 20.0), "{gpu:?}");
        let throttled = gpu.throttled_s.as_ref().unwrap();
        assert_eq!(throttled.keys().collect::<Vec<_>>(), ["sw_power_cap"]);
        assert!(
            run.metrics
                .avg_gpu_power_watts
                .is_some_and(|w| (100.0..300.0).contains(&w))
        );
        assert_eq!(run.metrics.avg_gpu_clock_gr_mhz, Some(2000.0));
    });
}

#[test]
fn two_gpus_are_told_apart_and_a_refusal_keeps_its_reason() {
    let script = format!(
        "[[device]]\nname = \"{SCRIPTED}\"\n[device.telemetry]\ncelsius = [40]\n\
         [[device]]\nname = \"{SCRIPTED}\"\n[device.telemetry]\ncelsius = [70]\n\
         power_watts = []\nenergy_counter = false\n"
    );
    let test = "telemetry::two_gpus_are_told_apart_and_a_refusal_keeps_its_reason";
    scripted(test, &script, || {
        let _contexts = [0, 1].map(|gpu| Gpu::open(gpu).unwrap());
        // In the ranks' order, which need not be NVML's.
        let seen = watch([1, 0].map(|gpu| Gpu::identify(gpu).unwrap()).to_vec());
        assert_eq!(
            refusals(&seen.gpus[0]),
            [GpuCounter::Power, GpuCounter::Energy]
        );
        assert!(refusals(&seen.gpus[1]).is_empty());
        let run = measured(&seen);
        assert_eq!(run.metrics.gpu_index, Some(vec![1, 0]));
        assert_eq!(run.gpus[0].mean_temperature_c, Some(70.0));
        assert_eq!(run.gpus[1].mean_temperature_c, Some(40.0));
        assert_eq!(run.metrics.avg_gpu_temp_c, Some(55.0));
        assert_eq!(run.gpus[1].mean_power_watts, Some(250.0));
        for (name, value) in [
            ("avg_gpu_power_watts", run.metrics.avg_gpu_power_watts),
            ("energy_j", run.extended.energy_j),
        ] {
            assert_eq!(value, None, "{name}");
            let reason = &run.not_observed[name];
            assert!(
                reason.starts_with("GPU 1: NVML: ") && reason.contains("not available"),
                "{reason}"
            );
        }
    });
}

#[test]
fn a_gpu_that_nvml_does_not_find_is_no_end_of_the_run() {
    let lost = GpuIdentity {
        pci_bus_id: "0000:7f:1f.0".to_owned(),
        ..Gpu::identify(0).unwrap()
    };
    let probe = NvmlProbe::open(vec![lost.clone()]);
    assert!(
        probe
            .failure()
            .is_some_and(|why| why.contains("0000:7f:1f.0"))
    );
    let seen = watch(vec![lost]);
    assert_eq!(seen.gpus[0].refused.len(), 10);
    let run = measured(&seen);
    assert_eq!(run.metrics.avg_gpu_temp_c, None);
    assert!(run.not_observed["avg_gpu_temp_C"].contains("does not find the GPU"));
}

#[test]
fn running_out_of_memory_is_told_from_other_errors() {
    let device = Gpu::open(0).unwrap().candle();
    // A tebibyte.
    let error = Tensor::zeros(1 << 38, DType::F32, &device).unwrap_err();
    assert!(is_out_of_memory(&error), "{error}");
    assert!(is_out_of_memory(&error.context("while loading")));
    let missing = Gpu::identify(Gpu::count().unwrap()).unwrap_err();
    assert!(!is_out_of_memory(&missing), "{missing}");
    let shapes = Tensor::zeros((2, 3), DType::F32, &device).unwrap();
    assert!(!is_out_of_memory(&shapes.reshape((4, 4)).unwrap_err()));
}
