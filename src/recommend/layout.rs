//! Ways to lay a model on cards, in the order of what they cost.

use std::cmp::Ordering;

use super::options::RecommendOptions;
use crate::fit::Engine;
use crate::hardware::{Gpu, HardwareError, find, known};
use crate::parallel::Split;
use crate::shape::ModelShape;

/// GPUs of one machine.
const COUNTS: [usize; 4] = [1, 2, 4, 8];

/// Cards, and how the model lies on them.
#[derive(Debug, Clone)]
pub struct Layout {
    /// As the device takes it: a name, or a file.
    pub card: String,
    pub gpu: Gpu,
    pub gpus: usize,
    /// Of each copy of the model.
    pub split: Split,
    /// Pipeline stages of a copy: llama.cpp gives whole layers to each GPU.
    pub pp: usize,
    /// US dollars an hour, of all its GPUs; `None`: nobody named a price.
    pub price: Option<f64>,
}

impl Layout {
    /// Whole copies of the model.
    pub fn replicas(&self) -> usize {
        self.gpus / (self.split.tp * self.pp)
    }

    /// In words.
    pub fn place(&self) -> String {
        placed(self.gpus, &self.card, self.split, self.pp, self.replicas())
    }

    /// Cheapest first; those without a price behind all others, fewest GPUs first and of those the smallest.
    pub fn by_cost(&self, other: &Self) -> Ordering {
        let unpriced = |layout: &Self| layout.price.is_none();
        let price = |layout: &Self| layout.price.unwrap_or(0.0);
        unpriced(self)
            .cmp(&unpriced(other))
            .then(price(self).total_cmp(&price(other)))
            .then(self.gpus.cmp(&other.gpus))
            .then(self.gpu.memory_gib.total_cmp(&other.gpu.memory_gib))
    }
}

/// Cards and layout, in words; `pp`: pipeline stages of a copy.
pub fn placed(gpus: usize, card: &str, split: Split, pp: usize, copies: usize) -> String {
    let stages = match pp {
        1 => String::new(),
        n => format!(", pp {n}"),
    };
    let experts = match split.expert_parallel {
        true => ", expert parallel",
        false => "",
    };
    let copies = match copies {
        1 => String::new(),
        n => format!(", {n} copies"),
    };
    format!("{gpus} x {card}, tp {}{stages}{experts}{copies}", split.tp)
}

/// The cards that were asked for, with what names them to a device.
///
/// # Errors
/// There is no such card.
pub fn cards(asked: &[String]) -> Result<Vec<(String, Gpu)>, HardwareError> {
    if asked.is_empty() {
        let all = known()?.iter();
        return Ok(all.map(|gpu| (gpu.name.clone(), gpu.clone())).collect());
    }
    asked
        .iter()
        .map(|name| Ok((name.clone(), find(name)?)))
        .collect()
}

/// Every way, in the order of cost.
pub fn layouts(
    options: &RecommendOptions,
    shape: &ModelShape,
    cards: &[(String, Gpu)],
) -> Vec<Layout> {
    let mut all: Vec<Layout> = cards
        .iter()
        .flat_map(|(card, gpu)| of_card(options, shape, card, gpu))
        .collect();
    all.sort_by(Layout::by_cost);
    all
}

fn of_card(options: &RecommendOptions, shape: &ModelShape, card: &str, gpu: &Gpu) -> Vec<Layout> {
    let question = &options.question;
    let counts = match question.gpus.as_slice() {
        [] => &COUNTS[..],
        asked => asked,
    };
    let price = options.prices.of(&gpu.name);
    let mut all = Vec::new();
    for &gpus in counts {
        let layout = |split: Split, pp: usize| Layout {
            card: card.to_owned(),
            gpu: gpu.clone(),
            gpus,
            split,
            pp,
            price: price.map(|price| price.usd_per_hour * gpus as f64),
        };
        if matches!(question.engine, Engine::LlamaCpp(_)) {
            let whole = Split {
                tp: 1,
                expert_parallel: false,
            };
            all.push(layout(whole, gpus));
            continue;
        }
        let splits = (1..=gpus).filter(|tp| gpus.is_multiple_of(*tp));
        let splits = splits.filter(|&tp| question.tp.is_none_or(|asked| asked == tp));
        for tp in splits {
            let ways = ways(question.expert_parallel, shape, tp);
            all.extend(ways.iter().map(|&expert_parallel| {
                layout(
                    Split {
                        tp,
                        expert_parallel,
                    },
                    1,
                )
            }));
        }
    }
    all
}

/// Whether experts are whole on one rank each: as it was asked, else either way where there are some.
fn ways(asked: bool, shape: &ModelShape, tp: usize) -> &'static [bool] {
    match (asked, shape.experts().is_some() && tp > 1) {
        (true, _) => &[true],
        (false, true) => &[false, true],
        (false, false) => &[false],
    }
}
