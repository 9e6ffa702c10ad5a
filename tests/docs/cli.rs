//! `docs/cli.md` is the program's own help, level by level.

use std::fs;

use crate::cli_support::{Outcome, command};
use crate::page::root;

const PAGE: &str = "docs/cli.md";
/// Set to anything: the page is written, not compared.
const UPDATE: &str = "UPDATE_DOCS";
/// Width of the help's lines, whatever the terminal.
const COLUMNS: &str = "100";

const HEAD: &str = "\
# The command line

This page is the program's own help. It is made by
`UPDATE_DOCS=1 cargo nextest run --locked --test docs cli_page`, and that test holds it: edit the texts in
`src/cli`, not here.

Exit codes: 0 done; 1 the run failed; 2 the command line or an input file is wrong; 3 `fit`: it does not fit.
Results go to stdout, everything else to stderr.
";

fn help(path: &[String]) -> String {
    let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
    arguments.push("--help");
    let mut asked = command(&arguments);
    let outcome = Outcome::of(asked.env("COLUMNS", COLUMNS).output().unwrap());
    outcome.succeeded().stdout
}

/// Names below `Commands:`, but that of the help itself.
fn subcommands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

/// The help of `path` and of every command below it.
fn section(path: &[String], page: &mut String) {
    let help = help(path);
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let name = ["candlepower".to_owned()]
        .into_iter()
        .chain(path.iter().cloned());
    let name = name.collect::<Vec<_>>().join(" ");
    *page += &format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        lines.join("\n").trim_end()
    );
    for name in subcommands(&help) {
        section(&[path, &[name.to_owned()]].concat(), page);
    }
}

#[test]
fn cli_page_is_the_programs_help() {
    let mut made = HEAD.to_owned();
    section(&[], &mut made);
    assert!(made.contains("\n## candlepower bench\n"), "{made}");
    let path = root().join(PAGE);
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(made.lines()).find(|(old, new)| old != new);
    assert!(
        page == made,
        "{PAGE} is not what the program says (first difference: {differs:?}); write it anew: {UPDATE}=1 cargo nextest run --locked --test docs cli_page"
    );
}
