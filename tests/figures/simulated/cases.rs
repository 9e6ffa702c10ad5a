//! Published throughput of dense 16-bit models: near at the median, and the spread is shown.

use super::published::{Case, Compared, cases};

/// Relative error that half of the cases must stay below.
const MEDIAN_ERROR: f64 = 0.15;
/// The same of FP8 weights and of experts.
const MEDIAN_ERROR_OF_SPECIAL: f64 = 0.3;
/// Fewer would say nothing.
const FEWEST_CASES: usize = 50;

fn line(case: &Case, compared: &Compared) -> String {
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
        100.0 * error(compared),
    )
}

fn error(compared: &Compared) -> f64 {
    compared.predicted / compared.published - 1.0
}

/// Relative errors without their sign.
struct Errors(Vec<f64>);

impl Errors {
    fn new(mut errors: Vec<f64>) -> Self {
        errors.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let above = errors.iter().filter(|e| **e > 0.0).count();
        let errors = Self(errors.iter().map(|e| e.abs()).collect());
        println!(
            "{} cases: error {:.1} % at the median, {:.1} % at 75 %, {:.1} % at 90 %, {:.1} % at worst; {above} predicted too fast",
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
}

fn shown(case: &Case) -> f64 {
    let compared = case.compare();
    println!("{}", line(case, &compared));
    error(&compared)
}

#[test]
fn published_throughput_is_near_at_the_median() {
    let mut errors = Vec::new();
    for case in cases() {
        match case.left_out() {
            Some(reason) => println!("{:9} left out: {reason}", case.case_id),
            None => errors.push(shown(&case)),
        }
    }
    let errors = Errors::new(errors);
    assert!(errors.0.len() >= FEWEST_CASES);
    assert!(errors.at(0.5) <= MEDIAN_ERROR);
}

/// No constant was fitted to them.
#[test]
fn fp8_and_experts_are_not_far_at_the_median() {
    let special = cases().into_iter().filter(Case::is_special);
    let errors = Errors::new(special.map(|case| shown(&case)).collect());
    assert!(errors.at(0.5) <= MEDIAN_ERROR_OF_SPECIAL);
}
