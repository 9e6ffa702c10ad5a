//! The bytes of one file from the hub to the disk, resumed where the connection broke.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use ureq::Body;

use super::error::HubError;
use super::http::{Client, Facts};
use super::part::Part;
use super::settings::Patience;
use super::waiting::{GLANCE, Pace};
use crate::ground::Task;

/// Attempts in a row that may bring next to nothing before the download is given up.
const MAX_FRUITLESS_ATTEMPTS: u32 = 4;
/// New bytes with which an attempt counts as fruitful.
const FRUITFUL_BYTES: u64 = 32 << 10;
const COPY_BUFFER_BYTES: usize = 1 << 18;
/// Buffers between the connection and the disk.
const BUFFERS: usize = 4;
const TOO_MANY_REQUESTS: u16 = 429;
const FIRST_SERVER_ERROR: u16 = 500;

pub(super) struct Transfer<'a> {
    pub client: &'a Client<'a>,
    pub file: &'a str,
    pub facts: &'a Facts,
}

impl Transfer<'_> {
    /// Requests the rest of the file until it is whole.
    pub fn fill(&self, part: &mut Part) -> Result<(), HubError> {
        let mut furthest = part.length;
        let mut fruitless = 0;
        while part.length < self.facts.size {
            let Err(broken) = self.attempt(part) else {
                continue;
            };
            let (reason, wait) = match broken {
                Broken::Transient(reason, wait) => (reason, wait),
                Broken::Final(error) => {
                    // Bytes of a file that is not the announced one must not be resumed.
                    if matches!(error, HubError::WrongSize { .. }) {
                        part.truncate()?;
                    }
                    return Err(error);
                }
            };
            match part.length.saturating_sub(furthest) < FRUITFUL_BYTES {
                true => fruitless += 1,
                false => fruitless = 0,
            }
            furthest = furthest.max(part.length);
            if fruitless == MAX_FRUITLESS_ATTEMPTS {
                return Err(HubError::Cut {
                    file: self.file.to_owned(),
                    repo: self.client.repo.to_string(),
                    received: part.length,
                    expected: self.facts.size,
                    reason,
                });
            }
            self.client.pause(fruitless, wait)?;
        }
        Ok(())
    }

    /// One request, written to the part as far as it comes.
    fn attempt(&self, part: &mut Part) -> Result<(), Broken> {
        let Self {
            client,
            file,
            facts,
        } = self;
        let stream = client.open(file, part.length, facts).map_err(|error| {
            match passing(&error, &client.settings.patience) {
                Some(wait) => Broken::Transient(error.to_string(), wait),
                None => Broken::Final(error),
            }
        })?;
        if stream.start == 0 {
            part.truncate()?;
        }
        let task = Task::Download((*file).to_owned());
        client.progress.start(task, facts.size);
        client.progress.advance(part.length);
        let chunks = chunks(stream.body);
        let mut pace = Pace::new(&client.settings.patience);
        loop {
            let chunk = match chunks.recv_timeout(GLANCE) {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => return Err(Broken::Transient(error.to_string(), Duration::ZERO)),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) if part.length < facts.size => {
                    let reason = "the connection closed early";
                    return Err(Broken::Transient(reason.to_owned(), Duration::ZERO));
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            if client.progress.is_stopped() {
                return Err(Broken::Final(client.stopped()));
            }
            let received = part.length + chunk.len() as u64;
            if received > facts.size {
                return Err(Broken::Final(client.wrong_size(file, received, facts)));
            }
            part.append(&chunk)?;
            client.progress.advance(chunk.len() as u64);
            if let Some(rate) = pace.too_slow(chunk.len()) {
                return Err(Broken::Final(client.too_slow(file, rate)));
            }
        }
    }
}

/// A body as it comes. The thread that waits for it ends with the connection, or when nobody listens.
fn chunks(body: Body) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(BUFFERS);
    std::thread::spawn(move || {
        let mut body = body.into_reader();
        loop {
            let mut buffer = vec![0; COPY_BUFFER_BYTES];
            let chunk = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    buffer.truncate(count);
                    Ok(buffer)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = chunk.is_err();
            if sender.send(chunk).is_err() || last {
                break;
            }
        }
    });
    receiver
}

/// How an attempt ended early.
enum Broken {
    /// Worth another attempt, from the bytes that are there, after a pause that the server may have asked for.
    Transient(String, Duration),
    Final(HubError),
}

impl From<HubError> for Broken {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// The pause that the server asks for, if the same request may succeed a little later.
pub(super) fn passing(error: &HubError, patience: &Patience) -> Option<Duration> {
    let asked = match error {
        HubError::Unreachable { .. } => 0,
        HubError::Status {
            status,
            retry_after,
            ..
        } if *status == TOO_MANY_REQUESTS || *status >= FIRST_SERVER_ERROR => {
            retry_after.unwrap_or_default()
        }
        _ => return None,
    };
    let asked = Duration::from_secs(asked);
    (asked <= patience.longest_pause).then_some(asked)
}
