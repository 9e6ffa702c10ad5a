//! How evenly tokens went to experts: the fullest of a layer sets its time where experts lie on several ranks.

use super::quantile::ratio;
use super::{MeasureInput, NotObserved, reason};
use crate::ground::ExpertLoad;
use crate::ground::results::Extended;

pub fn experts(extended: &mut Extended, input: &MeasureInput, nulls: &mut NotObserved) {
    let layers: Vec<f64> = input.experts.iter().filter_map(imbalance).collect();
    let mean = ratio(layers.iter().sum(), layers.len() as f64);
    let worst = layers.iter().copied().reduce(f64::max);
    let mut note = |name, value| nulls.note(name, value, reason::NO_EXPERTS);
    extended.mean_expert_imbalance = note("mean_expert_imbalance", mean);
    extended.max_expert_imbalance = note("max_expert_imbalance", worst);
}

/// Tokens of the fullest expert over the mean of all; `None`: the layer saw no token.
fn imbalance(load: &ExpertLoad) -> Option<f64> {
    let fullest = load.tokens.iter().max().copied()?;
    let all: u64 = load.tokens.iter().map(|&tokens| u64::from(tokens)).sum();
    let mean = ratio(all as f64, load.tokens.len() as f64)?;
    ratio(f64::from(fullest), mean)
}
