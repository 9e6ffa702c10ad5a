//! A run small enough to work out on paper: three requests that succeed, one that times out.

use candlepower::ground::results::{
    Engine, Environment, Hardware, Kind, Model, Results, Roofs, Run, SCHEMA, Scenario, Slo,
    StartUp, WeightSource,
};
use candlepower::ground::{
    ClockSpan, ExpertLoad, FinishReason, Log, RequestRecord, StepRecord, TelemetrySample,
};
use candlepower::metrics::{MeasureInput, measure};
use candlepower::report::RawRun;
use serde_json::{Map, Value};

/// What a run recorded, open to changes.
#[derive(Clone, Default)]
pub struct Raw {
    pub requests: Vec<RequestRecord>,
    pub steps: Vec<StepRecord>,
    pub telemetry: Vec<TelemetrySample>,
    pub experts: Vec<ExpertLoad>,
}

impl Raw {
    /// As a run hands them on.
    pub fn logs(&self) -> RawRun {
        RawRun {
            requests: Log::from(self.requests.clone()),
            steps: Log::from(self.steps.clone()),
            telemetry: self.telemetry.clone(),
            experts: self.experts.clone(),
        }
    }
}

pub fn request(
    id: u64,
    prompt_tokens: usize,
    [arrival, submitted, admitted]: [f64; 3],
    tokens: &[f64],
) -> RequestRecord {
    RequestRecord {
        id,
        prompt_tokens,
        output_tokens: tokens.len(),
        arrival,
        submitted: Some(submitted),
        admitted: Some(admitted),
        tokens: tokens.to_vec(),
        finish: Some(FinishReason::Length),
        preemptions: 0,
        cached_tokens: Some(0),
        error: None,
    }
}

pub fn timed_out(record: RequestRecord) -> RequestRecord {
    RequestRecord {
        finish: None,
        preemptions: 2,
        error: Some("timed out after 2 s".to_owned()),
        ..record
    }
}

fn step(step: u64, [start, end, exec_seconds]: [f64; 3], counts: [usize; 5]) -> StepRecord {
    let [
        running,
        scheduled,
        prefill_tokens,
        decode_tokens,
        kv_blocks_used,
    ] = counts;
    StepRecord {
        step,
        start,
        end,
        exec_seconds,
        running,
        scheduled,
        prefill_tokens,
        decode_tokens,
        kv_blocks_used,
        kv_blocks_total: 10,
        ..StepRecord::default()
    }
}

fn sample(time: f64, cpu_percent: f64, ram_percent: f64, rss_bytes: u64) -> TelemetrySample {
    TelemetrySample {
        time,
        cpu_percent,
        ram_percent,
        rss_bytes,
        gpus: Vec::new(),
        others: Vec::new(),
    }
}

pub fn raw() -> Raw {
    let [mut first, mut second, mut third] = [
        step(0, [0.0, 1.0, 0.75], [1, 1, 10, 0, 2]),
        step(1, [1.0, 2.0, 0.5], [4, 3, 50, 1, 10]),
        step(2, [2.0, 4.0, 1.75], [4, 4, 0, 4, 5]),
    ];
    (first.bytes, first.flops) = (100, 1000);
    (second.bytes, second.flops) = (300, 3000);
    (third.bytes, third.flops) = (600, 6000);
    (first.communication_bytes, second.communication_bytes) = (40, 60);
    let divided = |[compute, communication]: [f64; 2]| (Some(compute), Some(communication));
    (first.compute_seconds, first.communication_seconds) = divided([0.65, 0.1]);
    first.wait_seconds = Some(0.03);
    (second.compute_seconds, second.communication_seconds) = divided([0.3, 0.2]);
    (third.compute_seconds, third.communication_seconds) = divided([1.75, 0.0]);
    Raw {
        requests: vec![
            request(0, 10, [0.0, 0.0, 0.1], &[0.5, 0.7, 0.9, 1.1]),
            request(1, 20, [0.5, 0.6, 1.0], &[1.5, 2.5]),
            RequestRecord {
                cached_tokens: Some(16),
                ..request(2, 30, [1.0, 1.0, 2.0], &[4.0])
            },
            timed_out(request(3, 40, [1.5, 1.5, 2.0], &[3.0, 3.5])),
        ],
        steps: vec![first, second, third],
        telemetry: vec![
            sample(-1.0, 900.0, 90.0, 1),
            sample(1.0, 100.0, 50.0, 5),
            sample(3.0, 200.0, 60.0, 9),
            sample(5.0, 900.0, 90.0, 7),
        ],
        experts: vec![experts(1, [5, 5, 5, 5]), experts(3, [0, 1, 6, 1])],
    }
}

fn experts(layer: usize, tokens: [u32; 4]) -> ExpertLoad {
    ExpertLoad {
        layer,
        tokens: tokens.to_vec(),
    }
}

pub fn scenario() -> Scenario {
    Scenario {
        name: "by hand".to_owned(),
        concurrency: Some(4),
        requests: Some(4),
        repeats: 1,
        request_timeout_s: Some(2.0),
        goodput: Some(Slo {
            ttft_ms: Some(1000.0),
            tpot_ms: Some(1000.0),
            e2el_ms: None,
        }),
        ..Scenario::default()
    }
}

/// A machine slow enough for round shares.
const ROOFS: Roofs = Roofs {
    read_bytes_per_s: 4000.0,
    flop_per_s: 10_000.0,
};

pub fn measured(raw: &Raw, scenario: Scenario) -> Run {
    measured_with(raw, scenario, None)
}

pub fn measured_with(raw: &Raw, scenario: Scenario, clocks: Option<ClockSpan>) -> Run {
    let raw = raw.logs();
    measure(&MeasureInput {
        requests: &raw.requests,
        steps: &raw.steps,
        telemetry: &raw.telemetry,
        experts: &raw.experts,
        scenario,
        model: "tiny",
        prompt: "synthetic",
        timestamp: "2026-01-01T00:00:00Z",
        capacity: 100,
        gpus: &[],
        watched: &[],
        roofs: Some(ROOFS),
        clocks,
    })
}

/// The run above, and nothing else.
pub fn results() -> Results {
    Results {
        schema: SCHEMA.to_owned(),
        kind: Kind::Measured,
        partial: false,
        environment: Environment {
            candlepower: "0.1.0".to_owned(),
            cpu: "a CPU".to_owned(),
            time: "2026-01-01T00:00:00Z".to_owned(),
            ..Environment::default()
        },
        model: Model {
            name: "org/Tiny".to_owned(),
            architecture: "llama".to_owned(),
            parameters: 1000,
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 2,
            model_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 4,
            vocab_size: 32,
            weights: WeightSource::Dummy,
            dtype: "bf16".to_owned(),
            quantization: None,
            assumptions: Vec::new(),
        },
        hardware: Hardware {
            device: "cpu".to_owned(),
            name: "a CPU".to_owned(),
            count: 1,
            memory_gib: 8.0,
            roofs: Some(ROOFS),
        },
        engine: Engine {
            scheduler: "mixed".to_owned(),
            tp: 1,
            ..Engine::default()
        },
        start_up: StartUp {
            total_s: Some(3.0),
            load_s: Some(2.5),
            ..StartUp::default()
        },
        runs: vec![measured(&raw(), scenario())],
        repeats: Vec::new(),
        references: Vec::new(),
    }
}

/// Every entry of `expected` within a relative 1e-12.
pub fn assert_entries(entries: &Map<String, Value>, expected: &[(&str, f64)]) {
    for (name, expected) in expected {
        let value = entries[*name].as_f64();
        let value = value.unwrap_or_else(|| panic!("{name} is {}", entries[*name]));
        let close = (value - expected).abs() <= 1e-12 * expected.abs().max(1.0);
        assert!(close, "{name}: {value}, by hand {expected}");
    }
}
