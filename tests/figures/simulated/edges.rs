//! `capacity` finds the edge that playing every load finds, in a tenth of the loads.

use std::sync::Arc;

use candlepower::EngineOptions;
use candlepower::capacity::{Capacity, CapacityOptions, CapacityPlan, Objective, edge};
use candlepower::ground::results::Slo;
use candlepower::ground::{Progress, Unwatched};
use candlepower::session::ModelFiles;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

const MOST: usize = 256;
const MODELS: [&str; 5] = [
    "Qwen2.5-0.5B",
    "DeepSeek-R1-Distill-Qwen-1.5B",
    "DeepSeek-R1-Distill-Llama-8B",
    "DeepSeek-R1-Distill-Qwen-14B",
    "Qwen3-0.6B",
];
const CARDS: [&str; 6] = [
    "h100-sxm",
    "a100-80g",
    "l40s",
    "rtx4090-48g",
    "h200",
    "a6000",
];

#[derive(Debug, Clone)]
struct Case {
    options: EngineOptions,
    asked: CapacityOptions,
}

impl Case {
    fn random(rng: &mut StdRng) -> Self {
        let model = MODELS[rng.random_range(0..MODELS.len())];
        let card = CARDS[rng.random_range(0..CARDS.len())];
        let options = EngineOptions::new(model)
            .device(format!("sim:{card}"))
            .max_num_seqs([16, 64, 256][rng.random_range(0..3)])
            .max_num_batched_tokens([512, 2048, 8192][rng.random_range(0..3)]);
        let asked = CapacityOptions {
            max: Some(MOST as f64),
            raise: false,
            input_len: Some(rng.random_range(16..600_usize).into()),
            output_len: Some(rng.random_range(4..10_usize).into()),
            requests: Some(MOST),
            ..CapacityOptions::default()
        };
        let mut case = Self { options, asked };
        // Limits that some load of the range meets just so.
        let at = rng.random_range(1..=MOST);
        case.asked.objective.slo.e2el_ms = Some(1e9);
        let figures = case.between(at, at).passing.unwrap().extended;
        let (ttft, tpot) = (figures.ttft.p95_ttft_ms, figures.tpot.p95_tpot_ms);
        let slack = rng.random_range(1.0..1.2);
        let limit = |value: Option<f64>| value.map(|value| value * slack);
        case.asked.objective = Objective {
            slo: match rng.random_range(0..3) {
                0 => Slo {
                    ttft_ms: limit(ttft),
                    ..Slo::default()
                },
                1 => Slo {
                    tpot_ms: limit(tpot),
                    ..Slo::default()
                },
                _ => Slo {
                    ttft_ms: limit(ttft),
                    tpot_ms: limit(tpot),
                    ..Slo::default()
                },
            },
            ..Objective::default()
        };
        case
    }

    fn between(&self, min: usize, max: usize) -> Capacity {
        let progress: Arc<dyn Progress> = Arc::new(Unwatched);
        let files = ModelFiles::find(&self.options, progress.as_ref()).unwrap();
        let asked = CapacityOptions {
            min: Some(min as f64),
            max: Some(max as f64),
            ..self.asked.clone()
        };
        let plan = CapacityPlan::new(asked, &files, progress.as_ref()).unwrap();
        let session = files
            .open_for(plan.max_model_len(), None, &progress)
            .unwrap();
        edge(plan, session, None, &progress).unwrap()
    }
}

#[test]
fn a_search_finds_what_playing_every_load_finds_in_a_tenth_of_them() {
    let mut rng = StdRng::seed_from_u64(21);
    let cases: Vec<Case> = (0..20).map(|_| Case::random(&mut rng)).collect();
    let off: Vec<String> = cases
        .par_iter()
        .enumerate()
        .filter_map(|(index, case)| {
            let found = case.between(1, MOST);
            let passes: Vec<bool> = (1..=MOST)
                .into_par_iter()
                .map(|load| case.between(load, load).passing.is_some())
                .collect();
            // The load before the first that fails.
            let every = passes.iter().take_while(|passes| **passes).count();
            let value = found.passing.as_ref().map_or(0.0, |point| point.value);
            let near = (value - every as f64).abs() <= (0.02 * every as f64).max(0.5);
            let loads = found.runs.len();
            let told = format!(
                "{index}: found {value} in {loads} loads, every load says {every}: {:?} {passes:?}",
                case.asked.objective.slo
            );
            (!near || loads * 10 > MOST).then_some(told)
        })
        .collect();
    assert!(off.is_empty(), "{}", off.join("\n"));
}
