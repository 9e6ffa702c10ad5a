//! Ctrl-C: once ends the run with what there is, twice ends the program.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{failure, output};

/// Set by SIGINT or SIGTERM.
pub fn flag(quiet: bool) -> Arc<AtomicBool> {
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
