//! What a command tells while it works: bars and remarks on stderr, and Ctrl-C on its way in.

use std::fmt;
use std::io::{self, IsTerminal};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::common::OutputArgs;
use super::ticker::{Ticker, words};
use super::{failure, output};
use crate::ground::{Live, Progress, Task};

const REDRAW: Duration = Duration::from_millis(200);

/// A person at a terminal, or the log that stands for one.
pub struct Console {
    quiet: bool,
    verbose: bool,
    /// Of the task that goes on.
    bar: Mutex<ProgressBar>,
    /// Of the run that goes on.
    live: Arc<Live>,
    /// Tells of it where there is no bar.
    ticker: Mutex<Option<Ticker>>,
    stop: Arc<AtomicBool>,
}

impl Console {
    /// Ctrl-C once ends the work with what there is, twice ends the program.
    pub fn watching(args: &OutputArgs) -> Arc<dyn Progress> {
        let stop = told_to_stop(args.quiet);
        Arc::new(Self {
            stop,
            ..Self::plain(args)
        })
    }

    /// Ctrl-C ends the program, as it does any other.
    pub fn plain(args: &OutputArgs) -> Self {
        Self {
            quiet: args.quiet,
            verbose: args.verbose,
            bar: Mutex::new(ProgressBar::hidden()),
            live: Arc::default(),
            ticker: Mutex::default(),
            stop: Arc::default(),
        }
    }

    fn tick(&self, ticker: Option<Ticker>) {
        let mut current = self.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        *current = ticker;
    }

    fn replace(&self, bar: ProgressBar) {
        let mut current = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, bar).finish_and_clear();
    }
}

impl Progress for Console {
    fn start(&self, task: Task, total: u64) {
        if self.quiet {
            return;
        }
        // No bar when stderr is not a terminal.
        if !io::stderr().is_terminal() {
            if let Task::Requests(name) = task {
                self.tick(Ticker::start(name, total, self.live.clone()));
            }
            return;
        }
        let (template, ticks) = match &task {
            Task::Download(_) => (
                "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})",
                false,
            ),
            Task::Headers(_) => ("headers of {msg} {bar:30} {pos}/{len} files", false),
            Task::Load => ("loading {bar:30} {bytes}/{total_bytes}", false),
            Task::Requests(_) if total == 0 => ("{msg} {pos} requests, {elapsed}\n{live}", true),
            Task::Requests(_) => (
                "{msg} {bar:30} {pos}/{len} requests, {elapsed}, {eta} left\n{live}",
                true,
            ),
            Task::Points(_) => ("{msg} {bar:30} {pos}/{len} points, about {eta} left", true),
            Task::Steps(_) => ("{msg} {bar:30} {pos}/{len} steps, {elapsed}", true),
        };
        let label = match task {
            Task::Load => String::new(),
            Task::Download(label)
            | Task::Headers(label)
            | Task::Requests(label)
            | Task::Points(label)
            | Task::Steps(label) => label,
        };
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(Some(total), target).with_message(label);
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => {
                let live = self.live.clone();
                let words = move |_: &ProgressState, out: &mut dyn fmt::Write| {
                    let _ = out.write_str(&words(&live.look()));
                };
                bar.with_style(style.with_key("live", words))
            }
            Err(_) => bar,
        };
        if ticks {
            bar.enable_steady_tick(REDRAW);
        }
        self.replace(bar);
    }

    fn advance(&self, units: u64) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        bar.inc(units);
        let ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ticker) = ticker.as_ref() {
            ticker.advance(units);
        }
    }

    fn finish(&self) {
        self.replace(ProgressBar::hidden());
        self.tick(None);
    }

    fn live(&self) -> Option<&Live> {
        (!self.quiet).then_some(&*self.live)
    }

    fn remark(&self, text: &str) {
        if !self.quiet {
            output::note(text);
        }
    }

    fn detail(&self, text: &str) {
        if self.verbose {
            output::note(text);
        }
    }

    fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}

/// Set by SIGINT, SIGTERM and SIGHUP; a second one ends the program.
pub fn told_to_stop(quiet: bool) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let handler = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            exit(i32::from(failure::RUN));
        }
        if !quiet {
            output::note("stopping after this step; once more to stop at once");
        }
    });
    if let Err(error) = handler {
        output::note(&format!(
            "Ctrl-C will end the program without a partial result: {error}"
        ));
    }
    stop
}
