//! Points played one after the other, each engine loaded once; simulations beside each other.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::effort::Effort;
use super::store::{POINT_SCHEMA, Store, StoreError, StoredPoint, name};
use super::swept::Sweep;
use super::title::{self, Titled};
use crate::bench::{self, BenchPlan, LoadOptions};
use crate::ground::results::Results;
use crate::ground::{Progress, Silent, Task};
use crate::session::{EngineOptions, ModelFiles, RunError, Session, SessionError};
use crate::telemetry;

/// One point as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What it changes, by flag.
    pub settings: Map<String, Value>,
    pub options: EngineOptions,
    pub load: LoadOptions,
}

impl Point {
    fn name(&self) -> String {
        name(
            &self.settings,
            &format!("{:?} {:?}", self.options, self.load),
        )
    }

    /// Its settings in words.
    fn title(&self) -> String {
        let words = self.settings.iter();
        let words = words.map(|(flag, value)| match value {
            Value::String(text) => format!("{flag}={text}"),
            value => format!("{flag}={value}"),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// What stops a sweep.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Points that one engine plays, and what it must hold.
struct Group<'a> {
    options: &'a EngineOptions,
    /// With the runs of each; those that cannot be have failed already.
    points: Vec<(&'a Point, BenchPlan)>,
    /// That its engine runs at a time.
    max_num_seqs: usize,
    max_model_len: usize,
    is_simulated: bool,
}

/// Plays what `store` has not got yet.
///
/// # Errors
/// A point cannot be kept. One that fails is a row.
pub fn sweep(
    points: &[Point],
    store: &Store,
    progress: &Arc<dyn Progress>,
) -> Result<Sweep, SweepError> {
    let mut done = 0;
    for point in points {
        done += usize::from(store.load(&point.name())?.is_some());
    }
    let groups = groups(points, store, progress)?;
    tell(points.len(), done, &groups, progress);
    let (simulated, real): (Vec<Group>, Vec<Group>) =
        groups.into_iter().partition(|group| group.is_simulated);
    let mut title = Titled::new(progress.clone(), efforts(&real));
    for group in &real {
        play_group(group, store, &mut title)?;
    }
    play_simulated(&simulated, store, progress)?;
    let mut stored = Vec::new();
    for point in points {
        let file = point.name();
        stored.extend(store.load(&file)?.map(|point| (file, point)));
    }
    Ok(Sweep::of(stored, points.len()))
}

/// How much there is to do.
fn tell(points: usize, done: usize, groups: &[Group], progress: &Arc<dyn Progress>) {
    let engines = groups.iter().filter(|group| !group.is_simulated).count();
    let done = match done {
        0 => String::new(),
        done => format!(", {done} of them done already"),
    };
    let loads = match engines {
        0 => String::new(),
        1 => "; one engine to load".to_owned(),
        engines => format!("; {engines} engines to load"),
    };
    progress.detail(&format!("{points} points{done}{loads}"));
}

/// Points by their engine, in order of the first of each. What an engine must hold depends on all of them, finished ones
/// too: a sweep that goes on goes on with the same.
fn groups<'a>(
    points: &'a [Point],
    store: &Store,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Group<'a>>, SweepError> {
    let mut by_engine: Vec<Vec<&Point>> = Vec::new();
    for point in points {
        let known = by_engine
            .iter_mut()
            .find(|group| group[0].options == point.options);
        match known {
            Some(group) => group.push(point),
            None => by_engine.push(vec![point]),
        }
    }
    let mut groups = Vec::new();
    for members in by_engine {
        let mut open = Vec::new();
        for point in &members {
            if store.load(&point.name())?.is_none() {
                open.push(*point);
            }
        }
        if open.is_empty() || progress.is_stopped() {
            continue;
        }
        let options = &members[0].options;
        let files = match ModelFiles::find(options, &Silent(progress.clone())) {
            Ok(files) => files,
            Err(error) => {
                for point in open {
                    store.save(&point.name(), &failed(point, error.to_string(), 0.0))?;
                }
                continue;
            }
        };
        let mut group = Group {
            options,
            points: Vec::new(),
            max_num_seqs: files.options.seqs(),
            max_model_len: 0,
            is_simulated: files.device.is_simulated(),
        };
        for point in members {
            let is_open = open.contains(&point);
            match BenchPlan::new(&point.load, &files, progress.as_ref()) {
                Ok(plan) => {
                    group.max_model_len = group.max_model_len.max(plan.max_model_len);
                    if is_open {
                        group.points.push((point, plan));
                    }
                }
                Err(_) if progress.is_stopped() => {}
                Err(error) if is_open => {
                    store.save(&point.name(), &failed(point, error.to_string(), 0.0))?;
                }
                Err(_) => {}
            }
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Of each point, in the order in which they are played.
fn efforts(groups: &[Group]) -> Vec<Effort> {
    let of = |group: &Group| {
        let plans = group.points.iter().map(|(_, plan)| plan);
        let efforts: Vec<Effort> = plans
            .map(|plan| Effort::of(plan, group.max_num_seqs))
            .collect();
        efforts
    };
    groups.iter().flat_map(of).collect()
}

/// On one engine, which is loaded for it.
fn play_group(group: &Group, store: &Store, title: &mut Titled) -> Result<(), SweepError> {
    if title.progress.is_stopped() || group.points.is_empty() {
        return Ok(());
    }
    let start = Instant::now();
    let watched = title.watched();
    let mut session = match open(group, &watched) {
        Ok(session) => session,
        Err(_) if title.progress.is_stopped() => return Ok(()),
        Err(error) => {
            let seconds = start.elapsed().as_secs_f64();
            for (point, _) in &group.points {
                store.save(&point.name(), &failed(point, error.to_string(), seconds))?;
                title.done();
            }
            return Ok(());
        }
    };
    title.loaded(&mut session);
    for (point, plan) in &group.points {
        title.begin(&point.title());
        match play(&mut session, point, plan) {
            Some(stored) => store.save(&point.name(), &stored)?,
            None => break,
        }
        title.done();
    }
    Ok(())
}

/// Each on an engine of its own: nothing is loaded.
fn play_simulated(
    groups: &[Group],
    store: &Store,
    progress: &Arc<dyn Progress>,
) -> Result<(), SweepError> {
    let all = groups.iter().flat_map(|group| {
        let points = group.points.iter();
        points.map(move |(point, plan)| (group, *point, plan))
    });
    let all: Vec<(&Group, &Point, &BenchPlan)> = all.collect();
    if all.is_empty() {
        return Ok(());
    }
    let guess = title::of_simulated(&efforts(groups), rayon::current_num_threads());
    guess.iter().for_each(|guess| progress.remark(guess));
    progress.start(Task::Points("simulated".to_owned()), all.len() as u64);
    let silent: Arc<dyn Progress> = Arc::new(Silent(progress.clone()));
    let played = all.par_iter().try_for_each(|(group, point, plan)| {
        if progress.is_stopped() {
            return Ok(());
        }
        let stored = match open(group, &silent) {
            Ok(mut session) => match play(&mut session, point, plan) {
                Some(stored) => stored,
                None => return Ok(()),
            },
            Err(error) => failed(point, error.to_string(), 0.0),
        };
        store.save(&point.name(), &stored)?;
        progress.advance(1);
        Ok(())
    });
    progress.finish();
    played
}

fn open(group: &Group, progress: &Arc<dyn Progress>) -> Result<Session, SessionError> {
    let files = ModelFiles::find(group.options, &Silent(progress.clone()))?;
    files.open_for(group.max_model_len, None, progress)
}

/// `None`: it was told to stop.
fn play(session: &mut Session, point: &Point, plan: &BenchPlan) -> Option<StoredPoint> {
    let (start, time) = (Instant::now(), telemetry::utc_now());
    let played = bench::play_all(session, plan, None);
    let seconds = start.elapsed().as_secs_f64();
    let played = match played {
        Ok(played) if played.cut_short.is_none() => Ok(played),
        _ if session.progress.is_stopped() => return None,
        Ok(played) => Err(RunError::Failed(played.cut_short.unwrap_or_default()).to_string()),
        Err(error) => Err(error.to_string()),
    };
    Some(match played {
        Err(error) => failed(point, error, seconds),
        Ok(played) => {
            let results = bench::results(session, &played, time, Vec::new());
            let error = nothing_succeeded(&results);
            StoredPoint {
                schema: POINT_SCHEMA.to_owned(),
                settings: point.settings.clone(),
                seconds,
                error,
                results: Some(results),
            }
        }
    })
}

/// Why a point whose every request failed has failed too.
fn nothing_succeeded(results: &Results) -> Option<String> {
    let run = results
        .runs
        .iter()
        .find(|run| run.extended.completed == 0)?;
    let first = run
        .failures
        .first()
        .map_or("unknown", |f| f.reason.as_str());
    Some(format!(
        "no request succeeded; the first failed with: {first}"
    ))
}

fn failed(point: &Point, error: String, seconds: f64) -> StoredPoint {
    StoredPoint {
        schema: POINT_SCHEMA.to_owned(),
        settings: point.settings.clone(),
        seconds,
        error: Some(error),
        results: None,
    }
}
