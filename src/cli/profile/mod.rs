//! `profile`: one step over and over, operation by operation.

mod args;

use std::io::Write;

use anyhow::anyhow;

use super::console::Console;
use super::failure::Failure;
use super::output;
use super::written::Written;
use crate::profile::{Profile, ProfilePlan, Profiled};
use crate::report::profile::{csv, plot, text};
use crate::session::{Job, ModelFiles};

pub use args::ProfileArgs;

pub fn run(args: &ProfileArgs, job: Option<&Job>) -> Result<(), Failure> {
    let progress = Console::watching(&args.common.output);
    let files = ModelFiles::find(&args.common.options(), progress.as_ref())?;
    let plan = ProfilePlan::new(&args.profile(), files)?;
    let plot = Plot::open(args)?;
    let trace_file = Written::open("--trace", args.trace.as_deref())?;
    let csv_file = Written::open("--csv", args.csv.as_deref())?;
    let files = [
        trace_file.as_ref(),
        csv_file.as_ref(),
        plot.as_ref().map(|plot| &plot.file),
    ];
    Written::distinct(&files)?;
    let Profiled {
        profiles,
        trace,
        is_partial,
    } = plan.run(job, &progress)?;
    if profiles.is_empty() {
        return Err(Failure::Run(anyhow!(
            "interrupted before the first load was measured, so there is no profile"
        )));
    }
    // Files first: a reader who closes the pipe early ends the program in `show`. Whatever becomes of them, the table is
    // shown.
    let written = [
        trace_file.map(|file| file.fill(|out| trace.write(out))),
        csv_file.map(|file| file.fill(|out| out.write_all(csv(&profiles).as_bytes()))),
        plot.map(|plot| plot.fill(&profiles)),
    ];
    show(args, &profiles)?;
    for outcome in written.into_iter().flatten() {
        outcome?;
    }
    match is_partial {
        false => Ok(()),
        true => Err(Failure::Run(anyhow!(
            "interrupted: the profile is partial, {} loads of {} were measured",
            profiles.len(),
            args.batch.len() * args.context.len()
        ))),
    }
}

fn show(args: &ProfileArgs, profiles: &[Profile]) -> Result<(), Failure> {
    if args.common.output.json {
        return match profiles {
            [one] => output::json(one),
            all => output::json(&all),
        };
    }
    let width = output::width();
    output::result(&text(profiles, width))
}

/// A file for the roofline, drawn by the ending of its name.
struct Plot {
    file: Written,
    draw: fn(&[Profile]) -> String,
}

impl Plot {
    fn open(args: &ProfileArgs) -> Result<Option<Self>, Failure> {
        let Some(path) = &args.plot else {
            return Ok(None);
        };
        let draw = match path.extension().and_then(|end| end.to_str()) {
            Some("svg") => plot::svg,
            Some("html") => plot::html,
            _ => {
                return Err(Failure::Usage(anyhow!(
                    "--plot {}: a plot is an .svg or an .html file; let its name end so",
                    path.display()
                )));
            }
        };
        let file = Written::open("--plot", Some(path))?;
        Ok(file.map(|file| Self { file, draw }))
    }

    fn fill(self, profiles: &[Profile]) -> Result<(), Failure> {
        let drawn = (self.draw)(profiles);
        self.file.fill(|out| out.write_all(drawn.as_bytes()))
    }
}
