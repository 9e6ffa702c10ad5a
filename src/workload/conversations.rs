//! Conversations that grow: each turn's prompt is all that was said before, and something new.

use std::sync::Arc;
use std::time::Duration;

use super::WorkItem;
use super::synthetic::Synthetic;

/// Turns, and how they follow each other.
#[derive(Debug, Clone)]
pub struct Conversations {
    pub turns_of: Turns,
    /// At least 1; of recorded conversations the most.
    pub turns: usize,
    /// From the end of an answer to the arrival of the next turn.
    pub think_time: Duration,
}

/// What each turn adds, and how long its answer is.
#[derive(Debug, Clone)]
pub enum Turns {
    /// What prompts share begins the first turn.
    MadeUp(Synthetic),
    /// At least one conversation of at least one turn. After the last comes the first again.
    Recorded(Arc<[Vec<WorkItem>]>),
}

impl Conversations {
    /// What is new in a turn, counted from 0, of the `index`-th conversation under `seed`.
    pub fn turn(&self, index: usize, turn: usize, seed: u64) -> WorkItem {
        match (&self.turns_of, turn) {
            (Turns::MadeUp(turns), 0) => turns.item(index, seed),
            (Turns::MadeUp(turns), turn) => turns.bare_item(index, later(seed, turn)),
            (Turns::Recorded(talks), turn) => talks[index % talks.len()][turn].clone(),
        }
    }

    /// Turns of the `index`-th conversation.
    pub fn turns_in(&self, index: usize) -> usize {
        match &self.turns_of {
            Turns::MadeUp(_) => self.turns,
            Turns::Recorded(talks) => talks[index % talks.len()].len(),
        }
    }

    /// Of all recorded conversations; `None`: they are made up, as many as are wanted.
    pub fn recorded(&self) -> Option<impl Iterator<Item = &WorkItem>> {
        match &self.turns_of {
            Turns::MadeUp(_) => None,
            Turns::Recorded(talks) => Some(talks.iter().flatten()),
        }
    }

    /// What a context must hold, or turns are not those asked for.
    pub fn least_room(&self) -> usize {
        match &self.turns_of {
            Turns::MadeUp(turns) => self.of_turns(turns, turns.lengths.least_room()),
            Turns::Recorded(_) => self.longest(),
        }
    }

    /// With tails cut so that no conversation is longer. Recorded ones are as they are.
    pub fn within(self, longest: usize) -> Self {
        let Turns::MadeUp(turns) = self.turns_of else {
            return self;
        };
        let own = longest.saturating_sub(turns.prefixes.len) / self.turns;
        let lengths = turns.lengths.within(own);
        Self {
            turns_of: Turns::MadeUp(Synthetic { lengths, ..turns }),
            ..self
        }
    }

    /// Tokens of the longest conversation that there may be.
    pub fn longest(&self) -> usize {
        let turns = match &self.turns_of {
            Turns::MadeUp(turns) => return self.of_turns(turns, turns.lengths.longest()),
            Turns::Recorded(talks) => talks,
        };
        let of_talk = |talk: &Vec<WorkItem>| {
            let turns = talk.iter();
            turns.map(|turn| turn.prompt.len() + turn.output_len).sum()
        };
        turns.iter().map(of_talk).max().unwrap_or(0)
    }

    fn of_turns(&self, turns: &Synthetic, turn: usize) -> usize {
        turn.saturating_mul(self.turns)
            .saturating_add(turns.prefixes.len)
    }
}

/// Keeps the turns of a conversation apart.
fn later(seed: u64, turn: usize) -> u64 {
    const SALT: u64 = 0xa076_1d64_78bd_642f;
    seed ^ SALT.wrapping_mul(turn as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TokenPool;
    use crate::workload::{Drawn, Prefixes};

    #[test]
    fn turns_are_apart_and_only_the_first_begins_with_what_is_shared() {
        let pool = TokenPool::below(1000).unwrap().into();
        let talks = Conversations {
            turns_of: Turns::MadeUp(Synthetic {
                prefixes: Prefixes { len: 6, groups: 1 },
                ..Synthetic::new(Drawn::new(10, 5), pool)
            }),
            turns: 3,
            think_time: Duration::ZERO,
        };
        assert_eq!((talks.longest(), talks.least_room()), (51, 51));
        let turns: Vec<_> = (0..3).map(|turn| talks.turn(0, turn, 9).prompt).collect();
        assert_eq!(
            turns.iter().map(|turn| turn.len()).collect::<Vec<_>>(),
            [16, 10, 10]
        );
        assert_ne!(turns[1], turns[2]);
        assert_ne!(turns[1][..], turns[0][6..]);
        let other = talks.turn(1, 0, 9).prompt;
        assert_eq!(other[..6], turns[0][..6]);
        assert_ne!(other[6..], turns[0][6..]);
        // Each turn has its part of a context.
        let lengths = Drawn::new(
            10,
            "normal:500,100"
                .parse::<crate::workload::Lengths>()
                .unwrap(),
        );
        let Turns::MadeUp(turns) = talks.turns_of else {
            unreachable!("they are made up")
        };
        let wide = Conversations {
            turns_of: Turns::MadeUp(Synthetic { lengths, ..turns }),
            ..talks
        };
        assert_eq!(wide.within(606).longest(), 606);
    }
}
