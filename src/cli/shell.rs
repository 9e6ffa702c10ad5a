//! `completions` and `man`: what shells and `man` want to know of the command line.

use clap::{Args, Command};
use clap_complete::Shell;

use super::failure::Failure;
use super::output;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower completions bash > ~/.local/share/bash-completion/completions/candlepower\n  \
    candlepower completions zsh > ~/.zfunc/_candlepower\n  \
    candlepower completions fish > ~/.config/fish/completions/candlepower.fish")]
pub struct CompletionsArgs {
    /// The shell that is to complete words
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower man bench > candlepower-bench.1\n  \
    man -l <(candlepower man)")]
pub struct ManArgs {
    /// A command's page, in place of the program's
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

pub fn completions(args: &CompletionsArgs, mut program: Command) -> Result<(), Failure> {
    let name = program.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut program, name, &mut text);
    output::result(&String::from_utf8_lossy(&text))
}

pub fn man(args: &ManArgs, mut program: Command) -> Result<(), Failure> {
    program.build();
    let page = match &args.command {
        None => Some(program.clone()),
        Some(name) => program.find_subcommand(name).cloned(),
    };
    let Some(page) = page else {
        let name = args.command.as_deref().unwrap_or_default();
        let known = program.get_subcommands().map(Command::get_name);
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(anyhow::anyhow!(
            "man {name}: there is no such command; the commands are {known}"
        )));
    };
    let mut text = Vec::new();
    let written = clap_mangen::Man::new(page).render(&mut text);
    written.map_err(Failure::run)?;
    output::result(&String::from_utf8_lossy(&text))
}
