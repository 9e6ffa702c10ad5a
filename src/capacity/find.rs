//! The search, from a loaded engine to the answer.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use super::objective::Bound;
use super::options::Search;
use super::plan::CapacityPlan;
use super::raise::{self, Failed};
use super::result::{CAPACITY_SCHEMA, Capacity, Edge, LoadPoint, Raised, Trial};
use super::search::{Next, bracket, next};
use super::trial::{Play, play, play_alone};
use crate::bench;
use crate::ground::results::Kind;
use crate::ground::{Progress, Silent};
use crate::session::{Job, ModelFiles, RunError, Session, SessionError};
use crate::telemetry;

/// A raised limit is tried so far beyond the edge, clear of its noise.
const BEYOND: f64 = 1.1;
/// A figure that grows by less across the edge does not jump.
const JUMP: f64 = 1.5;

/// Finds the edge on `session`, which is closed before limits are raised.
///
/// # Errors
/// The engine failed, or it was stopped before anything was played.
pub fn edge(
    mut plan: CapacityPlan,
    mut session: Session,
    job: Option<&Job>,
    progress: &Arc<dyn Progress>,
) -> Result<Capacity, SessionError> {
    let (start, time) = (Instant::now(), telemetry::utc_now());
    let mut plays = Vec::new();
    let is_whole = search(&mut plan, &mut session, &mut plays)?;
    if plays.is_empty() {
        return Err(
            RunError::Interrupted("no load was played to its end, so there is no result").into(),
        );
    }
    let history: Vec<(f64, bool)> = history(&plays);
    let (passing, failing) = bracket(&history);
    let mut capacity = Capacity {
        schema: CAPACITY_SCHEMA.to_owned(),
        kind: session.kind,
        partial: !is_whole,
        environment: bench::environment(&session, time),
        model: session.model.clone(),
        hardware: session.hardware.clone(),
        engine: session.settings.clone(),
        search: plan.options.search,
        objective: plan.options.objective.clone(),
        passing: passing.and_then(|value| point(&plays, value, true)),
        failing: failing.and_then(|value| point(&plays, value, false)),
        binding: None,
        edge: None,
        raised: Vec::new(),
        runs: plays.iter().map(|play| play.trial.clone()).collect(),
        seconds: 0.0,
    };
    let of = |value: Option<f64>, passed| last(&plays, value?, passed);
    let (passed, failed) = (of(passing, true), of(failing, false));
    if let (Some(passed), Some(failed)) = (passed, failed) {
        capacity.edge = Some(shape(&passed.trial, &failed.trial));
    }
    if let (true, Some(failed)) = (is_whole, failed) {
        let value = beyond(&plan, passing, failed.trial.value);
        if plan.options.raise && job.is_none() {
            let (options, device) = (session.files.options.clone(), session.files.device.clone());
            let failed = Failed {
                options: &options,
                device: &device,
                settings: &capacity.engine,
                touched: failed.touched,
                value,
            };
            // Its memory is the next one's.
            drop(session);
            capacity.raised = raise::raise(&failed, &plan, progress)?;
        }
        capacity.binding = Some(binding(&capacity.raised, &failed.trial));
        capacity.partial |= progress.is_stopped();
    } else if is_whole {
        capacity.binding = Some("range".to_owned());
    }
    capacity.seconds = start.elapsed().as_secs_f64();
    Ok(capacity)
}

/// Plays loads until the edge is known; false: it was told to stop before.
fn search(
    plan: &mut CapacityPlan,
    session: &mut Session,
    plays: &mut Vec<Play>,
) -> Result<bool, SessionError> {
    if plan.options.search == Search::Rate {
        match play_alone(session, plan)? {
            Some(seconds) => plan.service = seconds,
            None if session.progress.is_stopped() => return Ok(false),
            None => {
                return Err(RunError::Failed(
                    "no request succeeded with the engine to itself".to_owned(),
                )
                .into());
            }
        }
    }
    let axis = plan.axis(session.kind);
    loop {
        let values = match next(&axis, &history(plays)) {
            Next::Play(values) => values,
            Next::Done { .. } => return Ok(true),
        };
        let numbered = numbered(&values, plays);
        let played = match (session.kind, numbered.as_slice()) {
            (Kind::Predicted, [_, _, ..]) => beside(session, plan, &numbered)?,
            _ => one_by_one(session, plan, &numbered)?,
        };
        let is_whole = played.len() == values.len();
        plays.extend(played);
        if !is_whole {
            return Ok(false);
        }
    }
}

/// Each value with the number of plays that it had before.
fn numbered(values: &[f64], plays: &[Play]) -> Vec<(f64, usize)> {
    let mut numbered: Vec<(f64, usize)> = Vec::new();
    for &value in values {
        let before = plays.iter().filter(|play| play.trial.value == value);
        let now = numbered.iter().filter(|(other, _)| *other == value);
        numbered.push((value, before.count() + now.count()));
    }
    numbered
}

fn one_by_one(
    session: &mut Session,
    plan: &CapacityPlan,
    values: &[(f64, usize)],
) -> Result<Vec<Play>, SessionError> {
    let mut plays = Vec::new();
    for &(value, number) in values {
        match play(session, plan, value, number)? {
            Some(play) => plays.push(play),
            None => break,
        }
    }
    Ok(plays)
}

/// Simulations beside each other, each on an engine of its own.
fn beside(
    session: &Session,
    plan: &CapacityPlan,
    values: &[(f64, usize)],
) -> Result<Vec<Play>, SessionError> {
    let options = &session.files.options;
    let silent: Arc<dyn Progress> = Arc::new(Silent(session.progress.clone()));
    let plays: Result<Vec<Option<Play>>, SessionError> = values
        .par_iter()
        .map(|&(value, number)| {
            let files = ModelFiles::find(options, silent.as_ref())?;
            let mut own = files.open_for(plan.max_model_len(), None, &silent)?;
            play(&mut own, plan, value, number)
        })
        .collect();
    Ok(plays?.into_iter().flatten().collect())
}

fn history(plays: &[Play]) -> Vec<(f64, bool)> {
    let trials = plays.iter().map(|play| &play.trial);
    trials.map(|trial| (trial.value, trial.passed)).collect()
}

/// The latest play of `value` that ended so.
fn last(plays: &[Play], value: f64, passed: bool) -> Option<&Play> {
    let is_it = |play: &&Play| play.trial.value == value && play.trial.passed == passed;
    plays.iter().rfind(is_it)
}

fn point(plays: &[Play], value: f64, passed: bool) -> Option<LoadPoint> {
    let run = &last(plays, value, passed)?.run;
    Some(LoadPoint {
        value,
        scenario: run.scenario.clone(),
        metrics: run.metrics.clone(),
        extended: run.extended.clone(),
    })
}

fn beyond(plan: &CapacityPlan, passing: Option<f64>, failing: f64) -> f64 {
    let value = passing.map_or(failing, |passing| failing.max(passing * BEYOND));
    match plan.options.search {
        Search::Concurrency => value.ceil(),
        Search::Rate => value,
    }
}

/// By the bound that the failing load breaks worst.
fn shape(passing: &Trial, failing: &Trial) -> Edge {
    let figure = |trial: &Trial, name: &str| {
        let is_it = |bound: &&Bound| bound.name == name;
        trial
            .bounds
            .iter()
            .find(is_it)
            .and_then(|bound| bound.value)
    };
    let grown = failing.worst().and_then(|worst| {
        let (before, after) = (figure(passing, &worst.name)?, worst.value?);
        // A share that falls is as one that grows.
        Some((after / before).max(before / after))
    });
    let load = failing.value / passing.value;
    match grown {
        Some(grown) if grown < JUMP.max(load * load) => Edge::Smooth,
        _ => Edge::Cliff,
    }
}

/// The setting whose raise helps most, else the bound that is broken worst.
fn binding(raised: &[Raised], failing: &Trial) -> String {
    let moved = raised
        .iter()
        .filter(|raised| raised.is_setting() && raised.moved == Some(true));
    let excess = |raised: &Raised| raised.excess.unwrap_or(f64::INFINITY);
    let best = moved.min_by(|a, b| excess(a).total_cmp(&excess(b)));
    match (best, failing.worst()) {
        (Some(raised), _) => raised.what.clone(),
        (None, Some(bound)) => bound.name.clone(),
        (None, None) => "range".to_owned(),
    }
}
