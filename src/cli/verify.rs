//! `verify`: whether a result can be believed.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::common::OutputArgs;
use super::failure::{Failure, RUN};
use super::output;
use crate::archive;
use crate::audit::{Audit, audit};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower bench --out today/ && candlepower verify today/\n  \
    candlepower verify today/ --json\n\n\
    Exit codes: 0 every check holds, 1 one does not, 2 there is no result to check.\n\
    Whoever writes all files anew, records and manifest too, can tell any story that keeps the laws of a run.")]
pub struct VerifyArgs {
    /// Directory of a result: that of bench --out
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Prints the checks that do not hold and the line to cite; gives the exit code.
pub fn run(args: &VerifyArgs) -> Result<u8, Failure> {
    let shown = args.dir.display();
    let dir = archive::directory(&args.dir).ok_or_else(|| {
        Failure::Usage(anyhow!(
            "verify {shown}: there is no results.json; give the --out directory of a run"
        ))
    })?;
    let audit = audit(&dir).map_err(Failure::usage)?;
    match args.output.json {
        true => output::json(&audit)?,
        false => output::result(&text(&audit, args.output.verbose))?,
    }
    Ok(if audit.ok { 0 } else { RUN })
}

fn text(audit: &Audit, all: bool) -> String {
    let checks = audit.checks.iter().filter(|check| all || !check.ok);
    let lines = checks.map(|check| {
        let mark = if check.ok { "holds" } else { "does not hold" };
        format!("{}: {mark}: {}\n", check.name, check.detail)
    });
    lines.collect::<String>() + &audit.line + "\n"
}
