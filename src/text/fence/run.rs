//! Work that may panic or not end.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug)]
pub enum Stopped {
    Late,
    Panicked(String),
}

/// The answer of `work`, or none after `limit`: then its thread is left behind, as nothing can end it, until the
/// process ends.
pub fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopped> {
    let (give, take) = sync_channel(1);
    let spawned = thread::Builder::new()
        .name("tokenizer".to_owned())
        .spawn(move || {
            // Nobody waits for an answer that comes late.
            let _ = give.send(caught(work));
        });
    spawned.map_err(|error| Stopped::Panicked(error.to_string()))?;
    match take.recv_timeout(limit) {
        Ok(answer) => answer.map_err(Stopped::Panicked),
        Err(RecvTimeoutError::Timeout) => Err(Stopped::Late),
        Err(RecvTimeoutError::Disconnected) => Err(Stopped::Panicked("no answer".to_owned())),
    }
}

thread_local! {
    /// Whether a panic of this thread is caught, and told by who caught it.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The answer of `work`, or the message with which it panicked, which nothing prints.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                usual(info);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    // What `work` held is gone with it.
    let answer = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outer);
    answer.map_err(message)
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}
