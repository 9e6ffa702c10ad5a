//! Requests that are made up: random ids, of drawn lengths, behind beginnings that some of them share.

use std::sync::Arc;

use super::lengths::{Lengths, Side};
use super::{WorkItem, item_seed};
use crate::text::TokenPool;

/// Keeps shared beginnings apart from all that is a request's own.
const PREFIX_SALT: u64 = 0x51_7cc1_b727_220a;

/// Random ids of a pool, another prompt for every request.
#[derive(Debug, Clone)]
pub struct Synthetic {
    pub lengths: Drawn,
    pub prefixes: Prefixes,
    pub pool: Arc<TokenPool>,
}

/// Beginnings that prompts share: requests are of the groups in turn, and those of one group begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// Tokens, before those of the prompt's own; 0: nothing is shared.
    pub len: usize,
    /// At least 1.
    pub groups: usize,
}

impl Prefixes {
    pub const NONE: Self = Self { len: 0, groups: 1 };
}

/// Lengths of both sides of a request, which together are at most `longest`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    input: Lengths,
    output: Lengths,
    longest: usize,
}

impl Drawn {
    /// Without a bound but their own.
    pub fn new(input: impl Into<Lengths>, output: impl Into<Lengths>) -> Self {
        let (input, output) = (input.into(), output.into());
        Self {
            input,
            output,
            longest: input.most().saturating_add(output.most()),
        }
    }

    /// What a context must hold; tails are cut to one that holds no more.
    pub fn least_room(&self) -> usize {
        let input = self.input.least_room();
        input.saturating_add(self.output.least_room())
    }

    /// With tails cut so that no request has more than `longest` tokens, which are at least [`Self::least_room`].
    pub fn within(self, longest: usize) -> Self {
        Self {
            longest: self.longest.min(longest),
            ..self
        }
    }

    pub fn input(&self) -> &Lengths {
        &self.input
    }

    pub fn output(&self) -> &Lengths {
        &self.output
    }

    /// Tokens of the longest request that there may be.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Tokens in and out of the request of that seed.
    pub fn draw(&self, seed: u64) -> (usize, usize) {
        let room = self.longest.saturating_sub(self.input.least_room());
        let output = self.output.cut(Side::Output, seed, room);
        let room = self.longest.saturating_sub(output);
        (self.input.cut(Side::Input, seed, room), output)
    }
}

impl Synthetic {
    /// Of prompts that share nothing.
    pub fn new(lengths: Drawn, pool: Arc<TokenPool>) -> Self {
        Self {
            lengths,
            prefixes: Prefixes::NONE,
            pool,
        }
    }

    /// The `index`-th request under `seed`.
    pub fn item(&self, index: usize, seed: u64) -> WorkItem {
        let bare = self.bare_item(index, seed);
        let Prefixes { len, groups } = self.prefixes;
        if len == 0 {
            return bare;
        }
        let seed = item_seed(seed ^ PREFIX_SALT, index % groups);
        let shared = self.pool.synthetic_prompt(len, seed);
        WorkItem {
            prompt: [&shared, &*bare.prompt].concat().into(),
            ..bare
        }
    }

    /// The same without what is shared.
    pub(super) fn bare_item(&self, index: usize, seed: u64) -> WorkItem {
        let seed = item_seed(seed, index);
        let (input_len, output_len) = self.lengths.draw(seed);
        WorkItem {
            prompt: self.pool.synthetic_prompt(input_len, seed).into(),
            output_len,
            arrival: None,
        }
    }

    /// See [`Drawn::least_room`].
    pub fn least_room(&self) -> usize {
        self.prefixes.len.saturating_add(self.lengths.least_room())
    }

    /// See [`Drawn::within`].
    pub fn within(self, longest: usize) -> Self {
        let own = longest.saturating_sub(self.prefixes.len);
        Self {
            lengths: self.lengths.within(own),
            ..self
        }
    }

    /// Tokens of the longest request that there may be.
    pub fn longest(&self) -> usize {
        self.prefixes.len.saturating_add(self.lengths.longest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_give_way_to_the_context_and_bounds_that_were_asked_for_do_not() {
        let lengths = |text: &str| text.parse::<Lengths>().unwrap();
        for (input, output) in [
            ("lognormal:300,300", "lognormal:300,300"),
            ("600", "normal:300,200"),
            ("normal:800,400", "uniform:100-200"),
            ("mooncake", "mooncake"),
        ] {
            let (input, output) = (lengths(input), lengths(output));
            let drawn = Drawn::new(input, output).within(1000);
            let mut longest = 0;
            for seed in 0..2000 {
                let (prompt, answer) = drawn.draw(seed);
                assert!(
                    prompt >= 1 && answer >= 1,
                    "{input} {output}: {prompt} {answer}"
                );
                longest = longest.max(prompt + answer);
                let asked = (input.fixed() == Some(600)).then_some(600);
                assert!(asked.is_none_or(|len| len == prompt));
            }
            assert!(
                (950..=1000).contains(&longest),
                "{input} {output}: {longest}"
            );
        }
        assert_eq!(Drawn::new(600, lengths("normal:300,200")).least_room(), 601);
    }

    #[test]
    fn requests_of_a_group_begin_alike_and_go_on_apart() {
        let pool = Arc::new(TokenPool::below(1000).unwrap());
        let work = Synthetic {
            prefixes: Prefixes { len: 20, groups: 3 },
            ..Synthetic::new(Drawn::new(10, 5), pool.clone())
        };
        assert_eq!(work.longest(), 35);
        let prompts: Vec<_> = (0..6).map(|index| work.item(index, 7).prompt).collect();
        for (a, first) in prompts.iter().enumerate() {
            assert_eq!(first.len(), 30);
            for (b, second) in prompts.iter().enumerate().skip(a + 1) {
                assert_eq!(first[..20] == second[..20], (b - a) % 3 == 0, "{a} {b}");
                assert_ne!(first[20..], second[20..]);
            }
        }
        // What is a prompt's own is what it would be without a prefix.
        let bare = Synthetic::new(Drawn::new(10, 5), pool);
        assert_eq!(bare.item(4, 7).prompt[..], prompts[4][20..]);
        assert_ne!(work.item(0, 8).prompt[..20], prompts[0][..20]);
    }
}
