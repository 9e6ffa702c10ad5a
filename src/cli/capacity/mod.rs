//! `capacity`: the highest load within an objective.

mod args;

use anyhow::anyhow;

use super::console::Console;
use super::failure::Failure;
use super::output;
use crate::capacity::{self, CapacityPlan};
use crate::report;
use crate::session::{Job, ModelFiles};

pub use args::{CapacityArgs, objective, percentile};

/// The exit code where no load meets the objective.
const NOTHING_PASSES: u8 = 3;

/// Prints the answer; gives the exit code.
pub fn run(args: &CapacityArgs, job: Option<&Job>) -> Result<u8, Failure> {
    let progress = Console::watching(&args.common.output);
    let files = ModelFiles::find(&args.options(), progress.as_ref())?;
    args.server.check(&files.device).map_err(Failure::Usage)?;
    let plan = CapacityPlan::new(args.capacity(), &files, progress.as_ref())?;
    let remarks = plan.remarks().iter();
    remarks.for_each(|remark| progress.remark(remark));
    let session = files.open_for(plan.max_model_len(), job, &progress)?;
    let answer = capacity::edge(plan, session, job, &progress)?;
    match args.common.output.json {
        true => output::json(&answer)?,
        false => output::result(&report::capacity::text(&answer, output::width()))?,
    }
    match (answer.partial, &answer.passing) {
        (true, _) => Err(Failure::Run(anyhow!(
            "the search is partial: interrupted after {} loads",
            answer.runs.len()
        ))),
        (false, None) => Ok(NOTHING_PASSES),
        (false, Some(_)) => Ok(0),
    }
}
