//! `sweep`: a grid of loads, settings and devices, and what no other point beats.

mod args;
mod listed;

use anyhow::anyhow;
use serde_json::{Map, Value};

use super::bench::Format;
use super::console::Console;
use super::failure::Failure;
use super::output;
use crate::bench::{LoadOptions, Preset};
use crate::capacity::{self, Point, SWEEP, Store, Sweep};
use crate::report::sweep as report;
use crate::session::launch;

pub use args::SweepArgs;

pub fn run(args: &SweepArgs) -> Result<(), Failure> {
    if launch::launched().is_some() {
        return Err(Failure::Usage(anyhow!(
            "sweep loads one engine after the other in one process; start it without mpirun or srun"
        )));
    }
    args.check().map_err(|why| Failure::Usage(anyhow!(why)))?;
    let Some(dir) = &args.bench.out else {
        return Err(Failure::Usage(anyhow!(
            "--out is missing: each point is kept there; give a directory"
        )));
    };
    let progress = Console::watching(&args.bench.common.output);
    let points = points(args)?;
    let store = Store::open(dir, args.bench.overwrite).map_err(Failure::usage)?;
    let swept = capacity::sweep(&points, &store, &progress).map_err(Failure::run)?;
    for (name, text) in [
        (SWEEP, report::json(&swept).map_err(Failure::run)?),
        ("sweep.md", report::markdown(&swept)),
        ("sweep.csv", report::csv(&swept)),
        ("frontier.svg", report::svg(&swept)),
    ] {
        store.page(name, &text).map_err(Failure::run)?;
    }
    if !args.bench.common.output.quiet {
        output::note(&format!("written to {}", dir.display()));
    }
    show(args, &swept)?;
    verdict(&swept, points.len())
}

/// Every point, each one load.
fn points(args: &SweepArgs) -> Result<Vec<Point>, Failure> {
    let usage = |text: String| Failure::Usage(anyhow!(text));
    let grid = capacity::points(&args.grid).map_err(|why| usage(format!("--grid: {why}")))?;
    let listed = match &args.points {
        Some(path) => listed::read(path).map_err(usage)?,
        None => vec![Vec::new()],
    };
    let mut points = Vec::new();
    for own in &listed {
        for combined in &grid {
            let settings = [own.as_slice(), combined.as_slice()].concat();
            let said = settings.iter();
            let said: Vec<String> = said
                .map(|(flag, value)| format!("{flag}={value}"))
                .collect();
            let said = said.join(" ");
            let twice = |(flag, _): &&(String, String)| combined.iter().any(|(f, _)| f == flag);
            if let Some((flag, _)) = own.iter().find(twice) {
                return Err(usage(format!(
                    "{said}: --points and --grid both set {flag}; leave it to one of them"
                )));
            }
            let bench = args.point(&settings);
            let bench = bench.map_err(|why| usage(format!("the point {said}: {why}")))?;
            let load = bench.load().and_then(one_load);
            let load = load.map_err(|why| usage(format!("the point {said}: {why}")))?;
            let settings: Map<String, Value> = settings
                .into_iter()
                .map(|(flag, value)| (flag, value_of(&value)))
                .collect();
            points.push(Point {
                settings,
                options: bench.options(),
                load,
            });
        }
    }
    Ok(points)
}

/// A point is one load: one at a time where nothing is said.
fn one_load(mut load: LoadOptions) -> Result<LoadOptions, String> {
    if load.concurrency.len().max(load.request_rate.len()) > 1 || load.requests.len() > 1 {
        return Err(
            "several loads; give the numbers as a grid, such as --grid concurrency=1,8".to_owned(),
        );
    }
    if matches!(load.scenario, Some(Preset::Quick | Preset::All)) {
        return Err("several loads; name one of c1, c50, c300 and c1000".to_owned());
    }
    let is_said =
        load.scenario.is_some() || !load.request_rate.is_empty() || load.dataset.is_some();
    if !is_said && load.concurrency.is_empty() {
        load.concurrency.push(1);
    }
    Ok(load)
}

/// As the shortest kind of value that reads the same.
fn value_of(text: &str) -> Value {
    let known = serde_json::from_str::<Value>(text).ok();
    let known = known.filter(|value| value.is_number() || value.is_boolean());
    let same = known.filter(|value| text == format!("{value}"));
    same.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn show(args: &SweepArgs, swept: &Sweep) -> Result<(), Failure> {
    let format = match args.bench.common.output.json {
        true => Format::Json,
        false => args.bench.format,
    };
    output::result(&match format {
        Format::Headline | Format::Full => report::table(swept),
        Format::Markdown => report::markdown(swept),
        Format::Csv => report::csv(swept),
        Format::Json | Format::Jsonl => report::json(swept).map_err(Failure::run)?,
    })
}

fn verdict(swept: &Sweep, asked: usize) -> Result<(), Failure> {
    if swept.partial {
        return Err(Failure::Run(anyhow!(
            "the sweep is partial: interrupted after {} points of {asked}; the same command goes on",
            swept.points.len()
        )));
    }
    let first = swept
        .points
        .first()
        .and_then(|point| point.error.as_deref());
    match swept.points.iter().all(|point| point.error.is_some()) {
        true => Err(Failure::Run(anyhow!(
            "every point failed; the first with: {}",
            first.unwrap_or("there is none")
        ))),
        false => Ok(()),
    }
}
