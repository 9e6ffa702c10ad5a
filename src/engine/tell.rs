//! What a decision of the scheduler tells of requests.

use std::time::Duration;

use crate::ground::{Event, EventKind};
use crate::scheduler::Decision;

/// Appends it to `events`, as of `time`. `finds_prefixes`: the scheduler looks for prompts in its cache.
pub fn of_decision(
    decision: &Decision,
    finds_prefixes: bool,
    time: Duration,
    events: &mut Vec<Event>,
) {
    let mut emit = |request, kind| {
        events.push(Event {
            time,
            request,
            kind,
        });
    };
    for &id in &decision.preempted {
        emit(id, EventKind::Preempted);
    }
    // Both are in order of arrival. What is not computed was found.
    let mut entries = decision.entries.iter();
    for &id in &decision.admitted {
        let entry = entries.find(|entry| entry.id == id);
        let found = entry.map(|entry| entry.start);
        let cached_tokens = found.filter(|_| finds_prefixes);
        emit(id, EventKind::Admitted { cached_tokens });
    }
}
