//! Conversations in play: which turn is due when, and what was said before it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::ground::{Event, EventKind, RequestId};
use crate::workload::{Conversations, Work, WorkItem};

/// The conversations of a run.
pub struct Talks<'a> {
    of: &'a Conversations,
    seed: u64,
    /// Conversations that have begun.
    begun: usize,
    /// Turns that these have, but those that will not be asked any more.
    promised: usize,
    /// Between two turns, each with the arrival of the next. All think for as long, so who was answered first asks first.
    resting: VecDeque<(Duration, Talk)>,
    /// In flight, by request.
    asking: HashMap<RequestId, Talk>,
}

struct Talk {
    index: usize,
    turn: usize,
    /// All tokens so far, of prompts and answers.
    said: Vec<u32>,
}

impl<'a> Talks<'a> {
    /// `None`: requests are no turns.
    pub fn of(work: &'a Work, seed: u64) -> Option<Self> {
        let Work::Conversations(of) = work else {
            return None;
        };
        Some(Self {
            of,
            seed,
            begun: 0,
            promised: 0,
            resting: VecDeque::new(),
            asking: HashMap::new(),
        })
    }

    /// Whether one more is to begin in a run of so many requests: a recorded one begins where requests are left for its first turn.
    pub fn may_begin(&self, requests: usize) -> bool {
        self.of.recorded().is_none() || self.promised < requests
    }

    /// When the next turn of a conversation that has begun arrives.
    pub fn next_turn(&self) -> Option<Duration> {
        self.resting.front().map(|(arrival, _)| *arrival)
    }

    /// The first turn of the next conversation, which request `id` asks.
    pub fn begin(&mut self, id: RequestId) -> WorkItem {
        let index = self.begun;
        self.begun += 1;
        self.promised += self.of.turns_in(index);
        let talk = Talk {
            index,
            turn: 0,
            said: Vec::new(),
        };
        self.ask(id, talk)
    }

    /// The turn that arrives then, which request `id` asks; `None`: there is none.
    pub fn go_on(&mut self, arrival: Duration, id: RequestId) -> Option<WorkItem> {
        if self.next_turn()? != arrival {
            return None;
        }
        let (_, talk) = self.resting.pop_front()?;
        Some(self.ask(id, talk))
    }

    /// All that was said, and what is new.
    fn ask(&mut self, id: RequestId, mut talk: Talk) -> WorkItem {
        let new = self.of.turn(talk.index, talk.turn, self.seed);
        talk.said.extend_from_slice(&new.prompt);
        let prompt = talk.said.as_slice().into();
        self.asking.insert(id, talk);
        WorkItem { prompt, ..new }
    }

    /// Takes note of what happened to a request; true: its conversation goes on.
    pub fn note(&mut self, event: &Event) -> bool {
        match event.kind {
            EventKind::Token { token, .. } => {
                if let Some(talk) = self.asking.get_mut(&event.request) {
                    talk.said.push(token);
                }
                true
            }
            EventKind::Finished(reason) if reason.is_whole() => {
                self.rest(event.request, event.time)
            }
            // Who was not answered does not ask on.
            EventKind::Finished(_) | EventKind::Failed(_) => {
                if let Some(talk) = self.asking.remove(&event.request) {
                    self.promised -= self.of.turns_in(talk.index) - (talk.turn + 1);
                }
                false
            }
            _ => true,
        }
    }

    /// After an answer: the next turn follows its end and the time to think.
    fn rest(&mut self, id: RequestId, end: Duration) -> bool {
        let Some(mut talk) = self.asking.remove(&id) else {
            return false;
        };
        talk.turn += 1;
        let goes_on = talk.turn < self.of.turns_in(talk.index);
        if goes_on {
            let arrival = end.saturating_add(self.of.think_time);
            self.resting.push_back((arrival, talk));
        }
        goes_on
    }
}
