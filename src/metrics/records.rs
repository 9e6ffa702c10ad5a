//! The event stream folded into one record a request, while the run goes on. Records of requests that have
//! ended go to the log in order of their ids; only what is in flight, and what ended behind it, stays open.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::ground::{Event, EventKind, Log, Request, RequestId, RequestRecord};

/// Bytes that a request takes in all that handles it, but for its tokens.
const OWN_BYTES: u64 = 1024;
/// For each token of the prompt, which the request and the scheduler hold.
const PROMPT_TOKEN_BYTES: u64 = 8;
/// For each output token, which the scheduler holds, and its time stamp.
const OUTPUT_TOKEN_BYTES: u64 = 12;

/// Time stamps that a record has room for from the start; a longer output makes room as it comes.
const ROOM: usize = 1 << 16;

/// Records of requests with consecutive ids; times become seconds since `origin`, the run's start.
#[derive(Debug, Default)]
pub struct Book {
    origin: Duration,
    open: VecDeque<Open>,
    /// Of memory, for the open ones.
    bytes: u64,
    log: Log<RequestRecord>,
}

#[derive(Debug)]
struct Open {
    record: RequestRecord,
    arrival: Duration,
    bytes: u64,
    has_ended: bool,
}

/// Bytes of memory that a request takes from its submission to its end, about.
pub fn bytes_in_flight(prompt_tokens: usize, max_tokens: usize) -> u64 {
    let prompt = (prompt_tokens as u64).saturating_mul(PROMPT_TOKEN_BYTES);
    let output = (max_tokens as u64).saturating_mul(OUTPUT_TOKEN_BYTES);
    OWN_BYTES.saturating_add(prompt).saturating_add(output)
}

impl Book {
    pub fn new(origin: Duration) -> Self {
        Self {
            origin,
            ..Self::default()
        }
    }

    /// Opens the record of the next request: its id is one above the last one's.
    pub fn open(&mut self, request: &Request) {
        let record = RequestRecord {
            id: request.id,
            prompt_tokens: request.prompt.len(),
            output_tokens: 0,
            arrival: self.seconds(request.arrival),
            submitted: None,
            admitted: None,
            // All at once: nothing is moved while the clock runs.
            tokens: Vec::with_capacity(request.stop.max_tokens.min(ROOM)),
            finish: None,
            preemptions: 0,
            cached_tokens: None,
            error: None,
        };
        let bytes = bytes_in_flight(request.prompt.len(), request.stop.max_tokens);
        self.bytes = self.bytes.saturating_add(bytes);
        self.open.push_back(Open {
            record,
            arrival: request.arrival,
            bytes,
            has_ended: false,
        });
    }

    /// Of memory, that the requests with open records take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Events of other requests (warm-up) are left out. Those of one request come in order of time.
    pub fn apply(&mut self, event: &Event) {
        let time = self.seconds(event.time);
        let Some(index) = self.index(event.request) else {
            return;
        };
        let open = &mut self.open[index];
        let record = &mut open.record;
        match &event.kind {
            EventKind::Queued => {
                record.submitted.get_or_insert(time);
            }
            // A preempted request is admitted again; its queue time ended with the first.
            EventKind::Admitted { cached_tokens } => {
                if record.admitted.is_none() {
                    record.admitted = Some(time);
                    record.cached_tokens = *cached_tokens;
                }
            }
            EventKind::Token { .. } => {
                record.tokens.push(time);
                record.output_tokens += 1;
            }
            EventKind::Preempted => record.preemptions += 1,
            EventKind::Finished(reason) => {
                record.finish = Some(*reason);
                open.has_ended = true;
            }
            EventKind::Failed(reason) => {
                record.error = Some(reason.clone());
                open.has_ended = true;
            }
        }
    }

    /// Of a request whose record is still open.
    pub fn arrival(&self, id: RequestId) -> Option<Duration> {
        Some(self.open[self.index(id)?].arrival)
    }

    /// Of a request that has not ended, or ended behind one that has not.
    pub fn record(&self, id: RequestId) -> Option<&RequestRecord> {
        Some(&self.open[self.index(id)?].record)
    }

    /// The first request whose record is still open.
    pub fn oldest(&self) -> Option<RequestId> {
        Some(self.open.front()?.record.id)
    }

    /// Puts the records of requests that have ended, and follow no open one, into the log.
    ///
    /// # Errors
    /// The log's file cannot be written.
    pub fn settle(&mut self) -> io::Result<()> {
        while self.open.front().is_some_and(|open| open.has_ended) {
            if let Some(open) = self.open.pop_front() {
                self.bytes = self.bytes.saturating_sub(open.bytes);
                self.log.push(open.record)?;
            }
        }
        Ok(())
    }

    /// Every record, those of requests that have not ended too.
    ///
    /// # Errors
    /// The log's file cannot be written; the records are in memory then.
    pub fn into_log(mut self) -> (Log<RequestRecord>, io::Result<()>) {
        let records = self.open.into_iter().map(|open| self.log.push(open.record));
        let outcome = records.fold(Ok(()), Result::and);
        (self.log, outcome)
    }

    fn index(&self, id: RequestId) -> Option<usize> {
        let index = id.checked_sub(self.oldest()?)? as usize;
        (index < self.open.len()).then_some(index)
    }

    /// Signed, because warm-up leaves events before the origin.
    fn seconds(&self, time: Duration) -> f64 {
        if time >= self.origin {
            (time - self.origin).as_secs_f64()
        } else {
            -(self.origin - time).as_secs_f64()
        }
    }
}
