//! From the data sheet to the server: the output tokens a second that are lost at each level between them.
//!
//! At each level the tokens of the run take so many seconds. Upper levels count a full schedule: decode steps that ran as
//! many requests as the fullest, as often as the tokens of all decode steps ask, and every step that reads prompts. The
//! level of batches is where the steps that were not full come in.

mod fall;
mod foreign;
mod kernels;
mod level;
mod peaks;
mod schedule;

use self::fall::{Fall, Found};
use self::kernels::Kernels;
pub use self::level::{LeftOut, Level, Name, Origin, Part, SCHEMA, Waterfall};
use self::schedule::Schedule;
use crate::ground::results::{Kind, ReferenceRun, Results, Roofs, Run};
use crate::ground::{Log, StepRecord};
use crate::profile::Profile;

/// One run, and what there is beside it.
#[derive(Debug, Clone, Copy)]
pub struct Explained<'a> {
    /// Tells it from the others of its result.
    pub name: &'a str,
    pub results: &'a Results,
    /// Its place in `results.runs`.
    pub run: usize,
    pub steps: &'a Log<StepRecord>,
    /// Of the same model on the same device, as many batches as there are.
    pub profiles: &'a [Profile],
    pub imports: &'a [ReferenceRun],
}

/// Sums over the steps, seconds: of a full schedule, but for `executor`.
#[derive(Default)]
struct Sums {
    sheet: f64,
    roof: f64,
    full: f64,
    executor: f64,
    idle: f64,
    /// Of the steps whose time is divided.
    timed: f64,
    compute: f64,
    communication: f64,
    wait: f64,
}

/// The waterfall of a run; without its steps, only what lies below them is observed.
pub fn waterfall(of: &Explained) -> Waterfall {
    let results = of.results;
    let mut made = Waterfall {
        schema: SCHEMA.to_owned(),
        run: of.name.to_owned(),
        model: results.model.label(),
        device: results.hardware.device.clone(),
        hardware: results.hardware.name.clone(),
        count: results.hardware.count,
        levels: Vec::new(),
        left_out: Vec::new(),
    };
    if let Some(run) = results.runs.get(of.run) {
        fill(&mut made, of, run);
    }
    made
}

fn fill(made: &mut Waterfall, of: &Explained, run: &Run) {
    let extended = &run.extended;
    let succeeded = extended.total_output_tokens as f64;
    let tokens = succeeded + extended.failed_output_tokens as f64;
    let duration = match (extended.duration, succeeded > 0.0) {
        (Some(duration), true) => Ok(duration),
        _ => Err("no request succeeded".to_owned()),
    };
    let mut fall = Fall::new(tokens);
    let idle = engine(&mut fall, of, run, &duration);
    let kind = of.results.kind;
    let load = duration.map(|duration| {
        let failed = duration * (tokens / succeeded - 1.0);
        let parts = [
            ("no request was there", idle),
            ("tokens of requests that failed", Some(failed)),
        ];
        let parts = parts.map(|(name, seconds)| Some((name.to_owned(), seconds?)));
        Found {
            parts: parts.into_iter().collect::<Option<_>>().unwrap_or_default(),
            ..Found::new(kind, duration + failed)
        }
    });
    fall.add(Name::Load, load);
    let (server, left_out) = foreign::found(of.results, of.run, of.imports, tokens);
    fall.add(Name::Server, server);
    (made.levels, made.left_out) = (fall.levels, left_out);
}

/// Levels of the engine; gives the seconds without a request, where steps tell them.
fn engine(
    fall: &mut Fall,
    of: &Explained,
    run: &Run,
    duration: &Result<f64, String>,
) -> Option<f64> {
    let (results, kind) = (of.results, of.results.kind);
    let duration = match (duration, of.steps.is_empty()) {
        (Ok(duration), false) => *duration,
        (outcome, _) => {
            let missing = "no step was recorded, or steps.jsonl is not there".to_owned();
            let reason = outcome.clone().err().unwrap_or(missing);
            for name in [
                Name::DataSheet,
                Name::Roof,
                Name::Kernels,
                Name::Steps,
                Name::Batches,
                Name::Host,
            ] {
                fall.add(name, Err(reason.clone()));
            }
            return None;
        }
    };
    let (sheet, roof) = (peaks::data_sheet(results), peaks::roof(results));
    let schedule = Schedule::of(of.steps, &run.scenario);
    let mut kernels = Kernels::of(of.profiles, results, &roof);
    let mut sums = Sums::default();
    for step in of.steps {
        let weight = schedule.weight(&step);
        sums.add(&step, weight, [&sheet, &roof]);
        if let Ok(kernels) = &mut kernels {
            kernels.add(&step, weight);
        }
    }
    fall.add(
        Name::DataSheet,
        sheet.map(|_| Found::new(Origin::Predicted, sums.sheet)),
    );
    let roof = roof.map(|_| Found::new(kind, sums.roof));
    let above = roof.as_ref().map(|found| found.seconds).ok();
    fall.add(Name::Roof, roof);
    let kernels = kernels.and_then(Kernels::found);
    let steps = match &kernels {
        Ok(_) => Found::new(kind, sums.full),
        Err(_) => sums.steps(kind, above),
    };
    fall.add(Name::Kernels, kernels);
    fall.add(Name::Steps, Ok(steps));
    let batches = |note| Found::new(kind, sums.executor).noted(note);
    fall.add(Name::Batches, schedule.note().map(batches));
    let busy = duration - sums.idle;
    fall.add(Name::Host, Ok(Found::new(kind, busy)));
    Some(sums.idle)
}

impl Sums {
    fn add(&mut self, step: &StepRecord, weight: f64, [sheet, roof]: [&Result<Roofs, String>; 2]) {
        let at = |roofs: &Result<Roofs, String>| match roofs {
            Ok(roofs) => weight * peaks::seconds(roofs, step),
            Err(_) => 0.0,
        };
        self.sheet += at(sheet);
        self.roof += at(roof);
        self.full += weight * step.exec_seconds;
        self.executor += step.exec_seconds;
        self.idle += step.idle_seconds;
        if let Some((compute, communication)) = step.compute_seconds.zip(step.communication_seconds)
        {
            self.timed += weight * step.exec_seconds;
            self.compute += weight * compute;
            self.communication += weight * communication;
            self.wait += weight * step.wait_seconds.unwrap_or(0.0);
        }
    }

    /// The level of steps; `roof`: the seconds above, where they are known.
    fn steps(&self, kind: Kind, roof: Option<f64>) -> Found {
        let found = Found::new(kind, self.full);
        let Some(roof) = roof.filter(|_| self.communication > 0.0 && self.timed > 0.0) else {
            return found;
        };
        // Steps that were not timed are taken to divide as the others.
        let part = |seconds: f64| self.full * seconds / self.timed;
        let rest = self.timed - self.compute - self.communication;
        let parts = [
            ("computing, above the roof", part(self.compute) - roof),
            (
                "exchanges between ranks",
                part(self.communication - self.wait),
            ),
            ("waiting for the slowest rank", part(self.wait)),
            ("the way to the devices and back", part(rest)),
        ];
        let parts = parts.into_iter().filter(|(_, seconds)| *seconds != 0.0);
        let parts = parts.map(|(name, seconds)| (name.to_owned(), seconds));
        Found {
            parts: parts.collect(),
            ..found
        }
    }
}
