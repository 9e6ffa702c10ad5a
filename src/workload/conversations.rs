//! Conversations that grow: each turn's prompt is all that was said before, and something new.

use std::time::Duration;

use super::WorkItem;
use super::synthetic::Synthetic;

/// Of made-up turns.
#[derive(Debug, Clone)]
pub struct Conversations {
    /// What each turn adds, and how long its answer is. What prompts share begins the first turn.
    pub turns_of: Synthetic,
    /// At least 1.
    pub turns: usize,
    /// From the end of an answer to the arrival of the next turn.
    pub think_time: Duration,
}

impl Conversations {
    /// What is new in a turn, counted from 0, of the `index`-th conversation under `seed`.
    pub fn turn(&self, index: usize, turn: usize, seed: u64) -> WorkItem {
        match turn {
            0 => self.turns_of.item(index, seed),
            turn => self.turns_of.bare_item(index, later(seed, turn)),
        }
    }

    /// What a context must hold, or turns are not those asked for.
    pub fn least_room(&self) -> usize {
        let turn = self.turns_of.lengths.least_room();
        self.of_turns(turn)
    }

    /// With tails cut so that no conversation is longer.
    pub fn within(self, longest: usize) -> Self {
        let own = longest.saturating_sub(self.turns_of.prefixes.len) / self.turns;
        let lengths = self.turns_of.lengths.within(own);
        Self {
            turns_of: Synthetic {
                lengths,
                ..self.turns_of
            },
            ..self
        }
    }

    /// Tokens of the longest conversation that there may be.
    pub fn longest(&self) -> usize {
        self.of_turns(self.turns_of.lengths.longest())
    }

    fn of_turns(&self, turn: usize) -> usize {
        let prefix = self.turns_of.prefixes.len;
        turn.saturating_mul(self.turns).saturating_add(prefix)
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
            turns_of: Synthetic {
                prefixes: Prefixes { len: 6, groups: 1 },
                ..Synthetic::new(Drawn::new(10, 5), pool)
            },
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
        let wide = Conversations {
            turns_of: Synthetic {
                lengths,
                ..talks.turns_of
            },
            ..talks
        };
        assert_eq!(wide.within(606).longest(), 606);
    }
}
