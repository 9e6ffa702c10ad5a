//! Progress on stderr: none when it is not a terminal, none when quiet.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const REDRAW: Duration = Duration::from_millis(200);

pub fn loading(bytes: u64, quiet: bool) -> ProgressBar {
    bar(bytes, quiet, "loading {bar:30} {bytes}/{total_bytes}")
}

pub fn requests(count: usize, label: &str, quiet: bool) -> ProgressBar {
    let template = format!("{label} {{bar:30}} {{pos}}/{{len}} requests, {{elapsed}}");
    let bar = bar(count as u64, quiet, &template);
    bar.enable_steady_tick(REDRAW);
    bar
}

/// Of a number of steps that is known later.
pub fn steps(label: &str, quiet: bool) -> ProgressBar {
    let template = format!("{label} {{bar:30}} {{pos}}/{{len}} steps, {{elapsed}}");
    let bar = bar(0, quiet, &template);
    bar.enable_steady_tick(REDRAW);
    bar
}

fn bar(length: u64, quiet: bool, template: &str) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
