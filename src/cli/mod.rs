//! The command line: the only room that prints or reads arguments.

// Comments on flags are their help: `sim:<gpu>` is no HTML.
#![allow(rustdoc::invalid_html_tags)]

mod arguments;
mod bench;
mod capacity;
mod common;
mod compare;
mod console;
mod doctor;
mod explain;
mod failure;
mod fit;
mod generate;
mod gpus;
mod models;
mod output;
mod profile;
mod report;
mod shell;
mod sweep;
mod ticker;
mod values;
mod verify;
mod written;

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use clap::{CommandFactory, Parser, Subcommand};

use crate::ground::{self, Unwatched, revision};
use crate::ops::limits;
use crate::session::launch::{self, Launched};
use crate::session::{self, Job};
use arguments::Asked;
use common::CommonArgs;
use console::Console;
use failure::Failure;

#[derive(Debug, Parser)]
#[command(
    name = "candlepower",
    version = version(),
    about = "What can this machine do with a large language model, without a server in the way?",
    after_help = "Examples:\n  \
        candlepower bench                              about a minute: Qwen2.5-0.5B shapes, dummy weights\n  \
        candlepower bench --model ./my-model --concurrency 1,8 --requests 10,64\n  \
        candlepower capacity --slo ttft:2000,tpot:200       the highest load within these limits\n  \
        candlepower sweep --grid concurrency=1..64*2 --out sweep\n  \
        candlepower compare yesterday/ today/           which is faster, and how sure that is\n  \
        candlepower explain today/                      where its tokens a second went, from the data sheet down\n  \
        candlepower verify today/                       whether a result can be believed\n  \
        candlepower profile --batch 1,8,32              where the time of a step goes, operation by operation\n  \
        candlepower report results                      the page of a result, in one file\n  \
        candlepower generate --model ./my-model --prompt 'The capital of France is'\n  \
        candlepower fit --model QwQ-32B --gpu rtx4090-48g --gpus 2\n  \
        candlepower models                             the model cards that need no files\n  \
        candlepower gpus                               GPUs known by name: data sheets, measured limits\n  \
        candlepower doctor                             what this machine offers"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The crate's version, the revision, and what this build can run on: `--device cpu` and `sim:<gpu>` are always there.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let revision = revision().unwrap_or("no revision");
        let features: Vec<_> = session::features().collect();
        let features = match features.as_slice() {
            [] => "none".to_owned(),
            some => some.join(", "),
        };
        format!("{} ({revision}; features: {features})", ground::VERSION)
    });
    &VERSION
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a load against the engine and report the metric set.
    Bench(Box<bench::BenchArgs>),
    /// Find the highest load that meets an objective, and what binds there.
    Capacity(Box<capacity::CapacityArgs>),
    /// Play a grid of loads, settings and devices, and find the points that no other beats.
    Sweep(Box<sweep::SweepArgs>),
    /// Put results side by side: what differs, the ratio of each figure with its interval, a verdict.
    Compare(compare::CompareArgs),
    /// Say where the tokens a second of a run went: data sheet, roof, kernels, steps, batches, host, load, server.
    Explain(explain::ExplainArgs),
    /// Check a result: nothing was altered, every figure follows from the records, and these keep the laws of a run.
    Verify(verify::VerifyArgs),
    /// Time each operation of a step, beside the roofs of this machine.
    Profile(Box<profile::ProfileArgs>),
    /// Make the page of one result or more anew: plots, tables, definitions, in one file.
    Report(report::ReportArgs),
    /// Complete a prompt: proof that the engine computes the model.
    Generate(Box<generate::GenerateArgs>),
    /// Say whether a model runs on given GPUs, with what context and concurrency, and what would help.
    Fit(Box<fit::FitArgs>),
    /// List the model cards, or say what one checkpoint is: parameters, bytes by role, KV cache, context.
    Models(models::ModelsArgs),
    /// List the GPUs known by name: data sheets, measured limits, sources.
    Gpus(gpus::GpusArgs),
    /// Show what this machine offers, and what is missing for which command.
    Doctor(doctor::DoctorArgs),
    /// Print what makes a shell complete the words of this program.
    Completions(shell::CompletionsArgs),
    /// Print the manual page of the program, or of a command.
    Man(shell::ManArgs),
}

/// Parses, dispatches, and turns the outcome into the process's exit code.
pub fn main() -> ExitCode {
    limits::outlive_file_size();
    let launched = launch::launched();
    let speaks = launched.is_none_or(|launched| launched.rank == 0);
    let end = |code: u8| {
        if code != 0 && !speaks {
            launch::let_rank_0_speak();
        }
        ExitCode::from(code)
    };
    let command = match arguments::parse(std::env::args_os()) {
        Ok(Asked::Run(cli)) => cli.command,
        Ok(Asked::Settings(text)) => {
            let told = if speaks {
                output::result(&text)
            } else {
                Ok(())
            };
            return end(told.map_or_else(|failure| failure.code(), |()| 0));
        }
        Err(error) => {
            // Help and version also come this way; clap knows which stream they belong on.
            let code = if error.use_stderr() {
                failure::USAGE
            } else {
                0
            };
            if speaks {
                output::usage(&error);
            }
            return end(code);
        }
    };
    let outcome = match launched.zip(command.engine()) {
        Some((launched, args)) => in_job(&command, args, launched),
        None if speaks => command.run(None),
        None => Ok(0),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if speaks {
                output::error(&failure);
            }
            end(failure.code())
        }
    }
}

/// Runs the command as one process of several, of which rank 0 speaks for all.
fn in_job(command: &Command, args: &CommonArgs, launched: Launched) -> Result<u8, Failure> {
    let options = args.options();
    let tell = |line: &str| output::note(&format!("error: {line}"));
    // Rank 0 decides when to stop, by a signal handler of its own; of the others a second signal ends the process.
    let job = match launched.rank {
        0 => Job::join(
            launched,
            &options,
            Arc::default(),
            tell,
            &Console::plain(&args.output),
        ),
        _ => {
            let told_to_end = console::told_to_stop(true);
            Job::join(launched, &options, told_to_end, tell, &Unwatched)
        }
    }?;
    match job.rank() {
        0 => {
            if let Err(failure) = command.run(Some(&job)) {
                output::error(&failure);
                job.abort(failure.code());
            }
        }
        _ => session::serve(&job, &options),
    }
    job.leave();
    Ok(0)
}

impl Command {
    /// The exit code of what went well.
    fn run(&self, job: Option<&Job>) -> Result<u8, Failure> {
        let done = |(): ()| 0;
        match self {
            Self::Bench(args) => bench::run(args, job).map(done),
            Self::Capacity(args) => capacity::run(args, job),
            Self::Sweep(args) => sweep::run(args).map(done),
            Self::Compare(args) => compare::run(args),
            Self::Explain(args) => explain::run(args).map(done),
            Self::Verify(args) => verify::run(args),
            Self::Profile(args) => profile::run(args, job).map(done),
            Self::Generate(args) => generate::run(args, job).map(done),
            Self::Report(args) => report::run(args).map(done),
            Self::Fit(args) => fit::run(args),
            Self::Models(args) => models::run(args).map(done),
            Self::Gpus(args) => gpus::run(args).map(done),
            Self::Doctor(args) => doctor::run(args).map(done),
            Self::Completions(args) => shell::completions(args, Cli::command()).map(done),
            Self::Man(args) => shell::man(args, Cli::command()).map(done),
        }
    }

    /// The flags of a command with an engine.
    fn engine(&self) -> Option<&CommonArgs> {
        match self {
            Self::Bench(args) => Some(&args.common),
            Self::Capacity(args) => Some(&args.common),
            Self::Profile(args) => Some(&args.common),
            Self::Generate(args) => Some(&args.common),
            Self::Report(_)
            | Self::Sweep(_)
            | Self::Compare(_)
            | Self::Explain(_)
            | Self::Verify(_)
            | Self::Fit(_)
            | Self::Models(_)
            | Self::Gpus(_)
            | Self::Doctor(_)
            | Self::Completions(_)
            | Self::Man(_) => None,
        }
    }
}
