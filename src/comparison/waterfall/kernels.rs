//! Operations one by one, at the rates of a profile.

use std::collections::BTreeMap;

use super::fall::Found;
use super::level::Origin;
use super::peaks::{seconds, work_seconds};
use crate::ground::StepRecord;
use crate::ground::results::setting::slice_label;
use crate::ground::results::{Kind, Results, Roofs};
use crate::profile::{Phase, Profile};
use crate::reference::same_model;

const MICRO: f64 = 1e6;
/// Part by which the tokens of a step and of a profile may differ and be the same.
const SAME_ROWS: f64 = 0.05;
/// Operations that read and others that compute do not lie over each other, as the roof of a whole step takes it.
const IN_TURN: &str = "reading and computing in turn";

/// Sums over the steps of a run.
pub struct Kernels<'a> {
    profiles: Vec<&'a Profile>,
    roofs: Roofs,
    seconds: f64,
    /// Above the roof, by operation.
    above: BTreeMap<&'a str, f64>,
    in_turn: f64,
    /// A phase of which a step has no profile.
    missing: Option<Phase>,
    /// Every step has a profile of its own tokens.
    exact: bool,
}

impl<'a> Kernels<'a> {
    /// # Errors
    /// No profile is of this model and device.
    pub fn of(
        profiles: &'a [Profile],
        results: &Results,
        roofs: &Result<Roofs, String>,
    ) -> Result<Self, String> {
        let roofs = roofs.clone()?;
        let last = profiles.last().ok_or("no profile was given (--profile)")?;
        let (model, hardware) = (results.model.label(), &results.hardware);
        let is_of_it = |profile: &&Profile| {
            let label = slice_label(&profile.model, profile.layers, profile.model_layers);
            same_model(&label, &model)
                && profile.device == hardware.device
                && profile.hardware == hardware.name
                && profile.tp == results.engine.tp
        };
        let own: Vec<&Profile> = profiles.iter().filter(is_of_it).collect();
        if own.is_empty() {
            let there = slice_label(&last.model, last.layers, last.model_layers);
            return Err(format!(
                "the profile is of {there} on {} ({}) by {} ranks, the run of {model} on {} ({}) by {}",
                last.device,
                last.hardware,
                last.tp,
                hardware.device,
                hardware.name,
                results.engine.tp
            ));
        }
        Ok(Self {
            profiles: own,
            roofs,
            seconds: 0.0,
            above: BTreeMap::new(),
            in_turn: 0.0,
            missing: None,
            exact: true,
        })
    }

    /// A step that counts so often, by the profile of its phase with the nearest tokens.
    pub fn add(&mut self, step: &StepRecord, weight: f64) {
        let floor = seconds(&self.roofs, step);
        if weight == 0.0 || floor == 0.0 {
            return;
        }
        let phase = match step.prefill_tokens {
            0 => Phase::Decode,
            _ => Phase::Prefill,
        };
        let rows = (step.prefill_tokens + step.decode_tokens) as f64;
        let apart = |profile: &Profile| (profile.rows as f64 / rows).ln().abs();
        let of_phase = self
            .profiles
            .iter()
            .filter(|profile| profile.phase == phase);
        let nearest = of_phase.min_by(|a, b| apart(a).total_cmp(&apart(b)));
        let Some(profile) = nearest.copied() else {
            self.missing = Some(phase);
            return;
        };
        self.exact &= (profile.rows as f64 - rows).abs() <= SAME_ROWS * rows;
        // A profile counts the work of one rank.
        let ranks = profile.tp as f64;
        let at_roof = |bytes: u64, flops: u64| {
            work_seconds(&self.roofs, ranks * bytes as f64, ranks * flops as f64)
        };
        let whole = at_roof(profile.totals.bytes, profile.totals.flops);
        let scale = weight * floor / whole;
        let mut floors = 0.0;
        for op in &profile.ops {
            let own = at_roof(op.bytes, op.flops);
            floors += own;
            *self.above.entry(&op.name).or_default() += scale * (op.us / MICRO - own);
            self.seconds += scale * op.us / MICRO;
        }
        self.in_turn += scale * (floors - whole);
    }

    /// # Errors
    /// A step has no profile of its phase.
    pub fn found(self) -> Result<Found, String> {
        if let Some(phase) = self.missing {
            return Err(format!(
                "no profile is of a {phase} step, and the run has some (profile --phase {phase})"
            ));
        }
        let is_measured = self.profiles.iter().all(|one| one.kind == Kind::Measured);
        let origin = match (is_measured, self.exact) {
            (true, true) => Origin::Measured,
            _ => Origin::Predicted,
        };
        let above = self.above.into_iter();
        let above = above.map(|(name, seconds)| (name.to_owned(), seconds));
        let found = Found {
            origin,
            seconds: self.seconds,
            parts: above.chain([(IN_TURN.to_owned(), self.in_turn)]).collect(),
            note: None,
        };
        let batches: Vec<String> = self.profiles.iter().map(|p| words(p)).collect();
        let how = match self.exact {
            true => "",
            false => ", taken to the steps of the run by their work",
        };
        Ok(found.noted(format!("by profiles of {}{how}", batches.join("; "))))
    }
}

fn words(profile: &Profile) -> String {
    format!(
        "{} of {} x {} tokens",
        profile.phase, profile.batch, profile.context
    )
}
