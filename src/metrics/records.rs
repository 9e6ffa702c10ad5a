//! The event stream folded into one record a request, while the run goes on: memory grows by one
//! number a token.

use std::time::Duration;

use crate::ground::{Event, EventKind, Request, RequestRecord};

/// Records of requests with consecutive ids; times become seconds since `origin`, the run's start.
#[derive(Debug, Default)]
pub struct Book {
    origin: Duration,
    records: Vec<RequestRecord>,
}

impl Book {
    pub fn new(origin: Duration) -> Self {
        Self {
            origin,
            records: Vec::new(),
        }
    }

    /// Opens the record of the next request: its id is one above the last one's.
    pub fn open(&mut self, request: &Request) {
        self.records.push(RequestRecord {
            id: request.id,
            prompt_tokens: request.prompt.len(),
            output_tokens: 0,
            arrival: self.seconds(request.arrival),
            submitted: None,
            admitted: None,
            // All at once: nothing is moved while the clock runs.
            tokens: Vec::with_capacity(request.stop.max_tokens),
            finish: None,
            preemptions: 0,
            error: None,
        });
    }

    /// Events of other requests (warm-up) are left out. Those of one request come in order of time.
    pub fn apply(&mut self, event: &Event) {
        let time = self.seconds(event.time);
        let first = self.records.first().map_or(0, |record| record.id);
        let index = event.request.checked_sub(first);
        let Some(record) = index.and_then(|i| self.records.get_mut(i as usize)) else {
            return;
        };
        match &event.kind {
            EventKind::Queued => {
                record.submitted.get_or_insert(time);
            }
            // A preempted request is admitted again; its queue time ended with the first.
            EventKind::Admitted => {
                record.admitted.get_or_insert(time);
            }
            EventKind::Token { .. } => {
                record.tokens.push(time);
                record.output_tokens += 1;
            }
            EventKind::Preempted => record.preemptions += 1,
            EventKind::Finished(reason) => record.finish = Some(*reason),
            EventKind::Failed(reason) => record.error = Some(reason.clone()),
        }
    }

    pub fn into_records(self) -> Vec<RequestRecord> {
        self.records
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
