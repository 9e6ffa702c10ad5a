//! Published throughput, by the level that it was measured at: near at the median, and the spread is shown.

use std::collections::BTreeSet;

use candlepower::exec::Server;
use candlepower::exec::simulated::Kernels;
use rayon::prelude::*;

use super::published::{Case, Compared, Levels, cases, other_families};

/// Relative errors that half of the cases, and nine of ten, stay below.
const ERROR: Bounds = Bounds {
    median: 0.07,
    ninth: 0.25,
};
/// Half of those with FP8 weights or experts.
const MEDIAN_ERROR_OF_SPECIAL: f64 = 0.3;
/// Of publishers that nothing was fitted to.
const ERROR_OF_OTHERS: Bounds = Bounds {
    median: 0.10,
    ninth: 0.35,
};
/// Of families that nothing was fitted to at all.
const ERROR_OF_FAMILIES: Bounds = Bounds {
    median: 0.20,
    ninth: 0.35,
};
/// Fewer would say nothing.
const FEWEST_CASES: usize = 70;

/// The same constants, fitted to every second publisher alone.
const FITTED_TO_HALF: Levels = Levels {
    engine: Server {
        kernels: KERNELS_OF_HALF,
        step_ms: 0.51,
        rank_ms: 0.79,
        later_host: LATER_HOST_OF_HALF,
        ..Server::ENGINE
    },
    served: Server {
        kernels: KERNELS_OF_HALF,
        step_ms: 0.90,
        rank_ms: 0.04,
        request_ms: 0.072,
        layer_ms: 0.336,
        later_host: LATER_HOST_OF_HALF,
        ..Server::VLLM
    },
};
const KERNELS_OF_HALF: Kernels = Kernels {
    matmul_share: 0.85,
    attention_share: 0.71,
    decode_sm_flops_per_clock: Some(135.0),
    seconds: 6.6e-6,
    ..Kernels::ENGINES
};
const LATER_HOST_OF_HALF: f64 = 0.39;

struct Bounds {
    median: f64,
    ninth: f64,
}

struct Scored {
    case: Case,
    compared: Compared,
}

impl Scored {
    fn error(&self) -> f64 {
        self.compared.predicted / self.compared.published - 1.0
    }

    fn line(&self) -> String {
        let Self { case, compared } = self;
        let load = match (case.concurrency, case.request_rate_per_s) {
            (Some(concurrency), _) => format!("{concurrency} in flight"),
            (None, Some(rate)) => format!("{rate} requests/s"),
            (None, None) => "saturated".to_owned(),
        };
        let model = case.model_id.rsplit('/').next().unwrap();
        format!(
            "{:9} {:12} {:16} tp {} {model:30} {load:16} {:7.0} in {:5.0} out {:9.2} predicted {:9.2} published {:+6.1} %",
            case.case_id,
            case.engine,
            case.gpu,
            case.tensor_parallel_size,
            case.prompt_tokens.unwrap_or_default(),
            case.output_tokens.unwrap_or_default(),
            compared.predicted,
            compared.published,
            100.0 * self.error(),
        )
    }
}

fn scored(cases: Vec<Case>, levels: &Levels, wanted: impl Fn(&Case) -> bool + Sync) -> Vec<Scored> {
    let cases = cases.into_par_iter().filter(|case| wanted(case));
    let score = |case: Case| Scored {
        compared: case.compare(levels),
        case,
    };
    cases.map(score).collect()
}

/// Relative errors without their sign.
struct Errors(Vec<f64>);

impl Errors {
    fn new<'a>(what: &str, scored: impl IntoIterator<Item = &'a Scored>) -> Self {
        let mut errors: Vec<f64> = scored.into_iter().map(Scored::error).collect();
        errors.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let above = errors.iter().filter(|e| **e > 0.0).count();
        let errors = Self(errors.iter().map(|e| e.abs()).collect());
        println!(
            "{what}: {} cases: error {:.1} % at the median, {:.1} % at 75 %, {:.1} % at 90 %, {:.1} % at worst; {above} predicted too fast",
            errors.0.len(),
            100.0 * errors.at(0.5),
            100.0 * errors.at(0.75),
            100.0 * errors.at(0.9),
            100.0 * errors.at(1.0)
        );
        errors
    }

    fn at(&self, share: f64) -> f64 {
        self.0[(share * (self.0.len() - 1) as f64) as usize]
    }

    fn within(&self, bounds: &Bounds) -> bool {
        self.at(0.5) <= bounds.median && self.at(0.9) <= bounds.ninth
    }
}

fn is_compared(case: &Case) -> bool {
    case.left_out().is_none()
}

#[test]
fn published_throughput_is_near() {
    for case in cases() {
        if let Some(reason) = case.left_out() {
            println!("{:9} left out: {reason}", case.case_id);
        }
    }
    let scored = scored(cases(), &Levels::SHIPPED, is_compared);
    scored.iter().for_each(|one| println!("{}", one.line()));
    let of = |what, wanted: &dyn Fn(&Case) -> bool| {
        Errors::new(what, scored.iter().filter(|one| wanted(&one.case)))
    };
    of("engines", &Case::is_offline);
    of("servers", &|case| !case.is_offline());
    let special = of("FP8 and experts", &Case::is_special);
    let all = of("all", &|_| true);
    assert!(all.0.len() >= FEWEST_CASES);
    assert!(all.within(&ERROR));
    assert!(special.at(0.5) <= MEDIAN_ERROR_OF_SPECIAL);
}

/// Publishers in the order of their names: every second one fits, and the others are predicted.
#[test]
fn half_of_the_publishers_predict_the_others() {
    let compared = cases().into_iter().filter(is_compared);
    let publishers: BTreeSet<String> = compared.map(|case| case.publisher()).collect();
    let fitted: BTreeSet<&String> = publishers.iter().skip(1).step_by(2).collect();
    println!("fitted: {fitted:?}");
    let is_fitted = |case: &Case| fitted.contains(&case.publisher());
    let scored = scored(cases(), &FITTED_TO_HALF, is_compared);
    let (own, others): (Vec<&Scored>, Vec<&Scored>) =
        scored.iter().partition(|one| is_fitted(&one.case));
    let own = Errors::new("fitted", own);
    let others = Errors::new("others", others);
    assert!(own.0.len() >= FEWEST_CASES / 3 && others.0.len() >= FEWEST_CASES / 3);
    assert!(own.within(&ERROR_OF_OTHERS));
    assert!(others.within(&ERROR_OF_OTHERS));
}

/// Mixtures of experts of another family, and latents: bytes and FLOPs by their shapes, constants as they are.
#[test]
fn families_that_nothing_was_fitted_to_are_near() {
    let scored = scored(other_families(), &Levels::SHIPPED, |_| true);
    scored.iter().for_each(|one| println!("{}", one.line()));
    let all = Errors::new("other families, engines", &scored);
    assert!(all.0.len() >= 30);
    assert!(all.within(&ERROR_OF_FAMILIES));
}
