//! `bench --shapes`: llama-bench's question and its forms of answer.

use anyhow::anyhow;

use super::super::failure::Failure;
use super::super::output;
use super::args::{BenchArgs, Format};
use crate::bench::{ShapePlan, Shapes};
use crate::report::shapes;
use crate::session::Session;

pub fn run(args: &BenchArgs, plan: &ShapePlan, session: &mut Session) -> Result<(), Failure> {
    let result = plan.run(session)?;
    if result.tests.is_empty() {
        return Err(Failure::Run(anyhow!(
            "interrupted before the first shape was measured, so there is no result"
        )));
    }
    show(args, &result)?;
    match result.partial {
        false => Ok(()),
        true => Err(Failure::Run(anyhow!(
            "the results are partial: interrupted after {}",
            result.tests.len()
        ))),
    }
}

fn show(args: &BenchArgs, result: &Shapes) -> Result<(), Failure> {
    let format = match args.common.output.json {
        true => Format::Json,
        false => args.format,
    };
    match format {
        Format::Json => output::json(result),
        Format::Jsonl => output::result(&shapes::lines(result).map_err(Failure::run)?),
        Format::Csv => output::result(&shapes::csv(result)),
        Format::Markdown => output::result(&shapes::markdown(result)),
        Format::Headline | Format::Full => output::result(&shapes::table(result, output::width())),
    }
}
