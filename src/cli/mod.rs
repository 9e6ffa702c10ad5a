//! The command line: the only room that prints or reads arguments.

mod bench;
mod bench_args;
mod bench_plan;
mod common;
mod device;
mod doctor;
mod failure;
mod fit;
mod fit_args;
mod fit_text;
mod generate;
mod generate_args;
mod gpus;
mod interrupt;
mod memory_check;
mod model_files;
mod models;
mod output;
mod probe;
mod progress;
mod server_cost;
mod session;
mod simulated;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "candlepower",
    version,
    about = "What can this machine do with a large language model, without a server in the way?",
    after_help = "Examples:\n  \
        candlepower bench                              about a minute: Qwen2.5-0.5B shapes, dummy weights\n  \
        candlepower bench --model ./my-model --concurrency 1,8 --requests 10,64\n  \
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

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a load against the engine and report the metric set.
    Bench(Box<bench_args::BenchArgs>),
    /// Complete a prompt: proof that the engine computes the model.
    Generate(Box<generate_args::GenerateArgs>),
    /// Say whether a model runs on given GPUs, with what context and concurrency, and what would help.
    Fit(Box<fit_args::FitArgs>),
    /// List the model cards: shapes that run without any files.
    Models(models::ModelsArgs),
    /// List the GPUs known by name: data sheets, measured limits, sources.
    Gpus(gpus::GpusArgs),
    /// Show what this machine offers, and what is missing for which command.
    Doctor(doctor::DoctorArgs),
}

/// Parses, dispatches, and turns the outcome into the process's exit code.
pub fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version also come this way; clap knows which stream they belong on.
            let code = if error.use_stderr() {
                failure::USAGE
            } else {
                0
            };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let outcome = match cli.command {
        Command::Bench(args) => bench::run(&args).map(done),
        Command::Generate(args) => generate::run(&args).map(done),
        Command::Fit(args) => fit::run(&args),
        Command::Models(args) => models::run(&args).map(done),
        Command::Gpus(args) => gpus::run(&args).map(done),
        Command::Doctor(args) => doctor::run(&args).map(done),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::error(&failure);
            ExitCode::from(failure.code())
        }
    }
}

/// The exit code of a command that can only succeed or fail.
fn done((): ()) -> u8 {
    0
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    // `--layers -1` is a bad value of --layers, not an unknown flag -1.
    let command = Cli::command().mut_subcommands(|command| {
        command.mut_args(|arg| {
            let takes_value = arg.get_action().takes_values();
            arg.allow_negative_numbers(takes_value)
        })
    });
    let matches = command.try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::Generate(args), Some((_, matches))) = (&mut cli.command, matches.subcommand())
    {
        args.order_inputs(matches);
    }
    Ok(cli)
}
