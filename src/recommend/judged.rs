//! What fit says of a layout.

use super::layout::Layout;
use super::target::{Demand, Target};
use crate::fit::{Answer, Ask, Card, Engine, Limits, Load, Verdict, assess};

/// A layout, and the answer of `fit`.
#[derive(Debug, Clone)]
pub struct Judged {
    pub layout: Layout,
    pub answer: Answer,
    /// As it was asked.
    limits: Limits,
}

impl Judged {
    /// `base`: of the model and the engine's limits.
    pub fn new(base: &Ask, layout: Layout, target: &Target) -> Self {
        let (limits, answer) = judge(base, base.engine, &layout, target);
        Self {
            layout,
            answer,
            limits,
        }
    }

    /// What `fit` was asked.
    pub fn ask(&self, base: &Ask, target: &Target) -> Ask {
        ask(base, base.engine, &self.layout, target, self.limits)
    }

    /// The same layout under the rules of another engine.
    pub fn under(&self, base: &Ask, engine: Engine, target: &Target) -> Answer {
        judge(base, engine, &self.layout, target).1
    }

    /// All requests have room at once.
    pub fn holds(&self) -> bool {
        self.answer.verdict == Verdict::Fits
    }
}

fn judge(base: &Ask, engine: Engine, layout: &Layout, target: &Target) -> (Limits, Answer) {
    let share = target.demand.at_once().div_ceil(layout.replicas());
    let mut limits = match engine {
        // One context, which its requests share.
        Engine::LlamaCpp(_) => Limits {
            max_model_len: Some(target.context.saturating_mul(share)),
            max_num_seqs: Some(share),
            ..base.limits
        },
        _ => Limits {
            max_model_len: Some(target.context),
            ..base.limits
        },
    };
    let answer = assess(&ask(base, engine, layout, target, limits));
    // Where only the engine's default is in the way, it is told otherwise.
    let seats = matches!(target.demand, Demand::Concurrency(_))
        && answer.verdict == Verdict::RunsQueued
        && limits.max_num_seqs.is_none()
        && answer.max_num_seqs < share;
    if !seats {
        return (limits, answer);
    }
    limits.max_num_seqs = Some(share);
    let answer = assess(&ask(base, engine, layout, target, limits));
    (limits, answer)
}

fn ask(base: &Ask, engine: Engine, layout: &Layout, target: &Target, limits: Limits) -> Ask {
    Ask {
        card: Card::from(&layout.gpu),
        gpus: layout.gpus,
        split: layout.split,
        pp: layout.pp,
        engine,
        limits,
        load: Some(Load {
            concurrency: target.demand.at_once(),
            input_len: target.input_len,
            output_len: target.output_len,
        }),
        ..base.clone()
    }
}
