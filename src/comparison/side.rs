//! One result of a comparison: its loads, with all that is known of each.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::blocks::{self, Blocks};
use super::circumstances::{self, Difference};
use crate::archive;
use crate::ground::results::{ReferenceRun, Results, Scenario};
use crate::profile::Profile;
use crate::reference::{self, ReferenceError, value};

/// Figures of a profile: the step, and each operation.
pub const STEP: &str = "step_us";
pub const OPERATION: &str = "op ";
/// Before the name of a reference run.
const REFERENCE: &str = "reference:";

#[derive(Debug, thiserror::Error)]
pub enum SideError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Archive(#[from] archive::ArchiveError),
    #[error(
        "{0}: no such file or directory; give the --out directory of a run, a results file, or reference:NAME"
    )]
    Missing(String),
    #[error("{0}: a directory that holds no results.json; give the --out directory of a run")]
    NoResult(String),
}

/// A result.
#[derive(Debug, Default)]
pub struct Side {
    /// As it was named.
    pub name: String,
    pub loads: Vec<Load>,
    /// What it ran on and with, by name.
    pub circumstances: BTreeMap<String, String>,
}

/// One load and all its plays.
#[derive(Debug, Default)]
pub struct Load {
    pub name: String,
    pub circumstances: BTreeMap<String, String>,
    plays: Vec<ReferenceRun>,
    /// Of its only play.
    blocks: Option<Blocks>,
    /// Of a profile.
    own: BTreeMap<String, f64>,
}

impl Load {
    /// The mean over plays.
    pub fn value(&self, name: &str) -> Option<f64> {
        if let Some(own) = self.own.get(name) {
            return Some(*own);
        }
        let values = self.values(name);
        let sum: f64 = values.iter().sum();
        (!values.is_empty() && values.len() == self.plays.len()).then(|| sum / values.len() as f64)
    }

    /// Of each play that has it.
    pub fn values(&self, name: &str) -> Vec<f64> {
        let plays = self.plays.iter();
        plays.filter_map(|play| value(name, play)).collect()
    }

    pub fn first(&self) -> Option<&ReferenceRun> {
        self.plays.first()
    }

    pub fn blocks(&self) -> Option<&Blocks> {
        self.blocks.as_ref()
    }

    /// Figures that no run of ours has.
    pub fn own_names(&self) -> impl Iterator<Item = &str> {
        let beside = self.first().into_iter().flat_map(|play| play.beside.keys());
        beside.chain(self.own.keys()).map(String::as_str)
    }
}

impl Side {
    /// What `named` names: `reference:NAME`, the directory of a result, a file of results of this program or another,
    /// or a profile.
    ///
    /// # Errors
    /// It is none of them, or cannot be read.
    pub fn read(named: &str) -> Result<Self, SideError> {
        if let Some(name) = named.strip_prefix(REFERENCE) {
            return Ok(Self::of_runs(named, reference::named(name)?));
        }
        let path = Path::new(named);
        if !path.exists() {
            return Err(SideError::Missing(named.to_owned()));
        }
        if let Some(dir) = archive::directory(path) {
            let results = archive::results(&dir.join(archive::RESULTS))?;
            let has_requests = dir.join("requests.jsonl").is_file();
            let blocks = match has_requests {
                true => blocks::read(&dir, results.runs.len())?,
                false => vec![None; results.runs.len()],
            };
            return Ok(Self::of_results(named, &results, blocks));
        }
        if path.is_dir() {
            return Err(SideError::NoResult(named.to_owned()));
        }
        if let Some(side) = archive::value(path).ok().and_then(|v| own(named, v)) {
            return Ok(side);
        }
        Ok(Self::of_runs(named, reference::load(path)?))
    }

    /// Runs of this program; `blocks` has one entry for each.
    pub fn of_results(named: &str, results: &Results, blocks: Vec<Option<Blocks>>) -> Self {
        let references = reference::from_results(results, named);
        let mut loads: Vec<(Scenario, Load)> = Vec::new();
        let runs = results.runs.iter().zip(references).zip(blocks);
        for ((run, reference), blocks) in runs {
            let scenario = run.scenario.unrepeated();
            match loads.iter_mut().find(|(known, _)| *known == scenario) {
                Some((_, load)) => {
                    load.plays.push(reference);
                    // Several plays tell their spread themselves.
                    load.blocks = None;
                }
                None => loads.push((
                    scenario,
                    Load {
                        name: run.scenario.name.clone(),
                        circumstances: circumstances::of_scenario(&run.scenario),
                        plays: vec![reference],
                        blocks,
                        own: BTreeMap::new(),
                    },
                )),
            }
        }
        Self {
            name: named.to_owned(),
            loads: loads.into_iter().map(|(_, load)| load).collect(),
            circumstances: circumstances::of_results(results),
        }
    }

    fn of_runs(named: &str, runs: Vec<ReferenceRun>) -> Self {
        let circumstances = runs.first().map(circumstances::of_run).unwrap_or_default();
        let loads = runs.into_iter().map(|run| Load {
            name: run.name.clone(),
            circumstances: circumstances::of_load(&run),
            plays: vec![run],
            ..Load::default()
        });
        Self {
            name: named.to_owned(),
            loads: loads.collect(),
            circumstances,
        }
    }

    fn of_profiles(named: &str, profiles: &[Profile]) -> Self {
        let loads = profiles.iter().map(|profile| {
            let mut own = BTreeMap::from([(STEP.to_owned(), profile.step_us)]);
            for row in &profile.ops {
                *own.entry(format!("{OPERATION}{}", row.name)).or_default() += row.us;
            }
            Load {
                name: circumstances::profile_load(profile),
                circumstances: circumstances::of_profile_load(profile),
                own,
                ..Load::default()
            }
        });
        let first = profiles.first();
        Self {
            name: named.to_owned(),
            loads: loads.collect(),
            circumstances: first.map(circumstances::of_profile).unwrap_or_default(),
        }
    }
}

/// A file of this program: results without their directory, or profiles.
fn own(named: &str, file: Value) -> Option<Side> {
    let first = file.get(0).unwrap_or(&file);
    if first.get("schema")?.as_str()? == crate::profile::SCHEMA {
        return Some(Side::of_profiles(named, &Profile::list(file)?));
    }
    let results = Results::of(file).ok()?;
    let blocks = vec![None; results.runs.len()];
    Some(Side::of_results(named, &results, blocks))
}

/// A load of each side.
pub type Pair<'a> = (&'a Load, &'a Load);

/// Loads that stand against each other, and those that stand alone. A single one of each side does, whatever they are.
pub fn paired<'a>(a: &'a Side, b: &'a Side) -> (Vec<Pair<'a>>, Vec<Difference>) {
    if let ([one], [other]) = (&a.loads[..], &b.loads[..]) {
        return (vec![(one, other)], Vec::new());
    }
    let mut left: Vec<&Load> = b.loads.iter().collect();
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    for one in &a.loads {
        let same =
            |other: &&Load| circumstances::same_load(&one.circumstances, &other.circumstances);
        match left.iter().position(same) {
            Some(at) => pairs.push((one, left.remove(at))),
            None => alone.push(Difference::only_in_a(&one.name)),
        }
    }
    alone.extend(left.iter().map(|load| Difference::only_in_b(&load.name)));
    (pairs, alone)
}
