//! `compare`: results side by side.

mod args;
mod baseline;

use anyhow::anyhow;

use super::failure::Failure;
use super::output;
use crate::comparison::{self, Comparison, Side, Verdict};
use crate::report::comparison as shown;
use args::Format;

pub use args::CompareArgs;

/// The exit code of a result that is slower.
const SLOWER: u8 = 3;

/// Prints the comparisons; gives the exit code.
pub fn run(args: &CompareArgs) -> Result<u8, Failure> {
    let root = || baseline::root(args.baselines.as_deref());
    let mut names = args.results.clone();
    if let Some(name) = &args.baseline {
        names.insert(0, baseline::find(&root()?, name)?);
    }
    let sides = names.iter().map(|name| Side::read(name));
    let sides: Vec<Side> = sides.collect::<Result<_, _>>().map_err(Failure::usage)?;
    if let (Some(name), Some(last)) = (&args.save_baseline, args.results.last()) {
        if last.starts_with("reference:") {
            return Err(Failure::Usage(anyhow!(
                "--save-baseline {name}: {last} comes with the program; give a result of your own"
            )));
        }
        baseline::save(&root()?, name, last)?;
        if !args.output.quiet {
            output::note(&format!("{last} is kept as baseline {name}"));
        }
    }
    let (first, others) = match sides.split_first() {
        Some((first, others)) if !others.is_empty() => (first, others),
        _ if args.save_baseline.is_some() => return Ok(0),
        _ => {
            return Err(Failure::Usage(anyhow!(
                "compare {}: a result is compared with another; give two or more, or --baseline NAME",
                names.join(" ")
            )));
        }
    };
    let compared = others
        .iter()
        .map(|other| comparison::compare(first, other, args.tolerance));
    let compared: Vec<Comparison> = compared.collect();
    if let Some(none) = compared.iter().find(|one| one.metrics.is_empty()) {
        return Err(Failure::Usage(anyhow!(
            "compare {} {}: they have no figure in common; give results of one kind and load",
            none.a,
            none.b
        )));
    }
    show(args, &compared)?;
    let is_slower = compared.iter().any(|one| one.verdict == Verdict::Slower);
    Ok(if is_slower { SLOWER } else { 0 })
}

fn show(args: &CompareArgs, compared: &[Comparison]) -> Result<(), Failure> {
    let format = match args.output.json {
        true => Format::Json,
        false => args.format,
    };
    match format {
        Format::Json => match compared {
            [one] => output::json(one),
            several => output::json(&serde_json::json!({ "comparisons": several })),
        },
        Format::Table => {
            let width = output::width();
            let tables = compared.iter().map(|one| shown::table(one, width));
            output::result(&tables.collect::<Vec<_>>().join("\n"))
        }
        Format::Markdown => {
            let pages = compared.iter().map(shown::markdown);
            output::result(&pages.collect::<Vec<_>>().join("\n"))
        }
        Format::Csv => output::result(&shown::csv(compared)),
        Format::Html => output::result(&shown::html(compared)),
    }
}
