//! README.md and docs/: every command in them runs or says what it needs, every link and path leads somewhere,
//! the page that is made from the program's help is up to date, and no metric is left out.
//!
//! `UPDATE_DOCS=1 cargo nextest run --locked --test docs` writes `docs/cli.md` anew.

mod cli_support;

#[path = "docs/cli.rs"]
mod cli;
#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/metrics.rs"]
mod metrics;
#[path = "docs/page.rs"]
mod page;
#[path = "docs/world.rs"]
mod world;
