//! What changed from one release of vLLM to the next in how it counts memory, with the change it came by.

mod table;

use std::fmt;

use table::{RELEASES, V0_7_4, V0_8_0, V0_9_1};

/// Cards that get more tokens in a step and more sequences by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LargeCards {
    None,
    /// Named H100 or H200.
    Hopper,
    /// Of 70 GiB and more.
    From70Gib,
    /// Of 70 GiB and more, but the A100.
    From70GibButA100,
    /// The same, and those of 160 GiB and more get twice the tokens.
    AndFrom160Gib,
}

/// How much the trial run of the sampler takes for a logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// Sorts whole rows for top-k and top-p.
    Sort,
    /// Finds the threshold without sorting.
    Threshold,
}

/// Models that the second model runner serves by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondRunner {
    Never,
    Dense,
    Always,
}

/// What of the process a release counts beside PyTorch's memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outside {
    /// GiB outside of PyTorch of a rank that has no peers: cuBLAS, kernels, and the CUDA context where it counts.
    pub own_gib: f64,
    /// NCCL's buffers are in the budget. Later the measure begins once they are there.
    pub counts_nccl: bool,
    /// The workspace of FlashInfer's all-reduce is allocated, where it runs.
    pub all_reduce_workspace: bool,
}

/// How layers that keep only a window share the pool with those that keep everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hybrid {
    /// Every layer keeps every token.
    Full,
    /// Layers in groups of one size, the last of a kind filled up; the log divides the pool by all slots.
    Padded,
    /// The same groups; the log says how many tokens of the longest requests the pool holds.
    ByConcurrency,
}

/// What layers keep whose K and V are one latent (multi-head latent attention).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latent {
    /// K and V of every head, as if there were none.
    Unpacked,
    /// It, filled up to whole lines, and beside the checkpoint's matrices their products with those that unpack it.
    Absorbed,
    /// It.
    Kept,
}

/// The rules of a release, and of those after it up to the next in `RELEASES`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Release {
    /// Major, minor, patch.
    pub since: [u32; 3],
    /// Year and month it came out.
    pub month: [u32; 2],
    /// The engine that always chunks prompts and samples on every rank (the older on rank 0 alone).
    pub v1: bool,
    /// Tokens of a step of the older engine where contexts are long, which it then chunks unasked; `None`: it
    /// chunks none.
    pub chunk_tokens: Option<usize>,
    /// Defaults of cards with much memory.
    pub large_cards: LargeCards,
    /// Sequences at a time by default on the other cards.
    pub max_num_seqs: usize,
    /// Cards without bf16 run a bf16 checkpoint in f16 unasked.
    pub falls_back_to_f16: bool,
    /// Outside of PyTorch.
    pub outside: Outside,
    /// What PyTorch keeps for later counts as taken: the forward pass and the sampler behind it add up.
    pub counts_reserved: bool,
    /// The experts' buffers stay once they are there, beside the sampler's.
    pub keeps_workspaces: bool,
    /// What the sampler takes.
    pub sampler: Sampler,
    /// Which models the second model runner serves.
    pub second_runner: SecondRunner,
    /// Its trial run tries top-k and top-p too.
    pub second_runner_tries_all: bool,
    /// The budget makes room for CUDA graphs: in the first runner, in the second.
    pub reserves_graphs: [bool; 2],
    /// `gpu_memory_utilization` by default.
    pub utilization: f64,
    /// Layers whose K and V are one latent.
    pub latent: Latent,
    /// V of heads that are narrower than K's takes as much room.
    pub fills_values: bool,
    /// Layers of several kinds.
    pub hybrid: Hybrid,
    /// Layers of two kinds, of which one has fewer than so many times the other's: they are filled up to its number.
    pub few_more: f64,
    /// Steps that are under way at a time: a window moves on only behind them.
    pub steps_under_way: usize,
    /// Pages that a recurrent layer takes for a request: one more where prefixes are kept.
    pub recurrent_pages: u64,
}

/// The first whose older engine serves no text model any more.
const WITHOUT_V0: [u32; 3] = [0, 10, 0];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no release of vLLM; write its number, such as 0.10.2, or the month it came out, such as 2025-09"
)]
/// A release that is not among those known.
pub struct UnknownRelease(String);

impl Release {
    /// Of the reference runs, and where nothing is said: the rules of mid-2025 to early 2026.
    pub const USUAL: &'static Self = &V0_9_1;

    /// The rules of the release that `text` names first: by number (`0.10.2`) or by month (`2025-09`), whatever is
    /// written around it; `V0` or `V1` beside it says which of two engines.
    ///
    /// # Errors
    /// There is neither in it.
    pub fn named(text: &str) -> Result<&'static Self, UnknownRelease> {
        let latest = |before: &dyn Fn(&Release) -> bool| {
            let known = RELEASES.iter().copied().rev();
            known.into_iter().find(|release| before(release))
        };
        let by_number = numbers(text, '.').map(|v| latest(&move |r| r.since <= v));
        let by_month = || numbers(text, '-').map(|[y, m, _]| latest(&move |r| r.month <= [y, m]));
        let found = by_number.or_else(by_month).flatten();
        let found = found.ok_or_else(|| UnknownRelease(text.to_owned()))?;
        // From 0.6.6 to 0.9 there were both engines, and a log says which one ran.
        let says = |engine: &str| {
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
            words.any(|word| word.eq_ignore_ascii_case(engine))
        };
        Ok(match (found.v1, found.since < WITHOUT_V0) {
            (true, true) if says("V0") && !says("V1") => &V0_7_4,
            (false, _) if says("V1") => &V0_8_0,
            _ => found,
        })
    }
}

impl fmt::Display for Release {
    /// The number these rules came with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.since;
        match patch {
            0 => write!(f, "{major}.{minor}"),
            _ => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

/// The first two or three numbers in `text` with `mark` between them; the last there could be for a third
/// that is not there: `0.9` stands for the last of its patches.
fn numbers(text: &str, mark: char) -> Option<[u32; 3]> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == mark));
    words.into_iter().find_map(|word| {
        let mut parts = word.split(mark);
        let (first, second) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let third = parts.next().and_then(|part| part.parse().ok());
        Some([first, second, third.unwrap_or(u32::MAX)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(text: &str) -> [u32; 3] {
        Release::named(text).unwrap().since
    }

    #[test]
    fn releases_are_in_order() {
        assert!(RELEASES.is_sorted_by(|a, b| a.since < b.since && a.month <= b.month));
    }

    #[test]
    fn a_release_is_found_by_number_or_month() {
        assert_eq!(since("0.6.4 (log format, 2024-12-02)"), [0, 6, 4]);
        assert_eq!(since("v0.5.2"), [0, 5, 1]);
        assert_eq!(since("v0.5.3"), [0, 5, 3]);
        assert_eq!(since("0.5.0.post1"), [0, 0, 0]);
        assert_eq!(since("v0.6.5.dev"), [0, 6, 5]);
        assert_eq!(since("0.7.3"), [0, 7, 1]);
        assert_eq!(since("0.7.x V0 engine"), [0, 7, 4]);
        assert_eq!(since("0.8.1 V0"), [0, 7, 4]);
        assert_eq!(since("0.6.6.dev (V1 engine)"), [0, 8, 0]);
        assert_eq!(since("0.9.x/0.10.0 (2025-07-22)"), [0, 9, 1]);
        assert_eq!(since("0.9.0"), [0, 9, 0]);
        assert_eq!(since("0.10.2"), [0, 9, 1]);
        assert_eq!(since("0.26.2"), [0, 25, 0]);
        assert_eq!(since("0.27.1"), [0, 27, 0]);
        assert_eq!(since("1.0"), [0, 31, 0]);
        assert_eq!(since("main, 2026-06"), [0, 21, 0]);
        for bad in ["", "newest", "10", "2026"] {
            let said = Release::named(bad).unwrap_err().to_string();
            assert!(said.contains("0.10.2"), "{said}");
        }
    }
}
