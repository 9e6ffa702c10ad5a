//! Work that may panic or not end, on a thread of its own.

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
            let _ = give.send(work());
        });
    let worker = spawned.map_err(|error| Stopped::Panicked(error.to_string()))?;
    match take.recv_timeout(limit) {
        Ok(answer) => Ok(answer),
        Err(RecvTimeoutError::Timeout) => Err(Stopped::Late),
        Err(RecvTimeoutError::Disconnected) => Err(Stopped::Panicked(match worker.join() {
            Ok(()) => "no answer".to_owned(),
            Err(panic) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic".to_owned()),
        })),
    }
}
