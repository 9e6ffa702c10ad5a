//! What changed from one release of vLLM to the next in how it counts memory, with the change it came by.
//! Changes are placed by their pull request's date where the release itself was not looked up: one may be
//! off by a release, and those marked as inferred rest on a log.

use std::fmt;

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
}

/// How much the trial run of the sampler takes for a logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// Sorts whole rows for top-k and top-p.
    Sort,
    /// Finds the threshold without sorting.
    Threshold,
}

/// Models that the second model runner serves by default: its trial run skips top-k and top-p.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondRunner {
    Never,
    Dense,
    Always,
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
    /// Tokens of a step of the older engine with chunked prompts, which it had only for long contexts.
    pub chunk_tokens: usize,
    /// Defaults of cards with much memory.
    pub large_cards: LargeCards,
    /// Sequences at a time by default on the other cards.
    pub max_num_seqs: usize,
    /// Cards without bf16 run a bf16 checkpoint in f16 unasked.
    pub falls_back_to_f16: bool,
    /// All that the process holds outside of PyTorch counts, its CUDA context too, and not only what was
    /// added since its start.
    pub counts_context: bool,
    /// What the sampler takes.
    pub sampler: Sampler,
    /// Which models the second model runner serves.
    pub second_runner: SecondRunner,
    /// The budget makes room for CUDA graphs: in the first runner, in the second.
    pub reserves_graphs: [bool; 2],
    /// `gpu_memory_utilization` by default.
    pub utilization: f64,
}

/// V0, with a token budget of its own for chunked prompts.
const V0: Release = Release {
    since: [0, 0, 0],
    month: [2023, 6],
    v1: false,
    chunk_tokens: 512,
    large_cards: LargeCards::None,
    max_num_seqs: 256,
    falls_back_to_f16: false,
    counts_context: false,
    sampler: Sampler::Sort,
    second_runner: SecondRunner::Never,
    reserves_graphs: [false, false],
    utilization: 0.9,
};
/// vllm#10544: chunks of 2,048 tokens.
const V0_6_5: Release = Release {
    since: [0, 6, 5],
    month: [2024, 12],
    chunk_tokens: 2048,
    ..V0
};
/// V1 becomes the default engine.
const V0_8_0: Release = Release {
    since: [0, 8, 0],
    month: [2025, 3],
    v1: true,
    large_cards: LargeCards::Hopper,
    max_num_seqs: 1024,
    counts_context: true,
    ..V0_6_5
};
/// vllm#16158: back to 256 sequences but on H100 and H200.
const V0_8_4: Release = Release {
    since: [0, 8, 4],
    month: [2025, 4],
    max_num_seqs: 256,
    ..V0_8_0
};
/// Large is who has 70 GiB (seen in a source between 0.8.4 and vllm#17885; the patch is inferred).
const V0_8_5: Release = Release {
    since: [0, 8, 5],
    month: [2025, 4],
    large_cards: LargeCards::From70Gib,
    ..V0_8_4
};
/// vllm#17885: the A100 is not large. A bf16 checkpoint falls back to f16 where there is no bf16 (the
/// release of that is inferred: the worker of spring 2025 still refuses).
const V0_9_0: Release = Release {
    since: [0, 9, 0],
    month: [2025, 5],
    large_cards: LargeCards::From70GibButA100,
    falls_back_to_f16: true,
    ..V0_8_5
};
/// Memory outside of PyTorch is measured against a snapshot at start-up (inferred: 0.74 GiB in a log of
/// May 2025, 0.21 in fit-08 of 0.10.2).
const V0_9_1: Release = Release {
    since: [0, 9, 1],
    month: [2025, 6],
    counts_context: false,
    ..V0_9_0
};
/// vllm#33538: top-k and top-p without sorting.
const V0_17: Release = Release {
    since: [0, 17, 0],
    month: [2026, 3],
    sampler: Sampler::Threshold,
    ..V0_9_1
};
/// vllm#38284: graphs are in the budget, and 0.92 of the memory makes up for it.
const V0_21: Release = Release {
    since: [0, 21, 0],
    month: [2026, 5],
    reserves_graphs: [true, false],
    utilization: 0.92,
    ..V0_17
};
/// vllm#44443: the second runner for dense models; it reserves nothing for graphs (vllm#49224).
const V0_25: Release = Release {
    since: [0, 25, 0],
    month: [2026, 7],
    second_runner: SecondRunner::Dense,
    ..V0_21
};
/// The second runner measures graphs too (inferred from fit-17; release notes have it in 0.29).
const V0_28: Release = Release {
    since: [0, 28, 0],
    month: [2026, 8],
    reserves_graphs: [true, true],
    ..V0_25
};
/// The second runner for all models.
const V0_29: Release = Release {
    since: [0, 29, 0],
    month: [2026, 9],
    second_runner: SecondRunner::Always,
    ..V0_28
};

/// In order.
const RELEASES: [&Release; 12] = [
    &V0, &V0_6_5, &V0_8_0, &V0_8_4, &V0_8_5, &V0_9_0, &V0_9_1, &V0_17, &V0_21, &V0_25, &V0_28,
    &V0_29,
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no release of vLLM; write its number, such as 0.10.2, or the month it came out, such as 2025-09"
)]
/// A release that is not among those known.
pub struct UnknownRelease(String);

impl Release {
    /// Of the reference runs, and where nothing is said: the rules of mid-2025 to early 2026.
    pub const USUAL: &'static Self = &V0_9_1;

    /// The rules of the release that `text` names first: by number (`0.10.2`) or by month (`2025-09`),
    /// whatever is written around it.
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
        found.ok_or_else(|| UnknownRelease(text.to_owned()))
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
        assert_eq!(since("0.6.4 (log format, 2024-12-02)"), [0, 0, 0]);
        assert_eq!(since("v0.6.5.dev"), [0, 6, 5]);
        assert_eq!(since("0.7.x V0 engine"), [0, 6, 5]);
        assert_eq!(since("0.9.x/0.10.0 (2025-07-22)"), [0, 9, 1]);
        assert_eq!(since("0.9.0"), [0, 9, 0]);
        assert_eq!(since("0.10.2"), [0, 9, 1]);
        assert_eq!(since("0.27.1"), [0, 25, 0]);
        assert_eq!(since("1.0"), [0, 29, 0]);
        assert_eq!(since("main, 2026-06"), [0, 21, 0]);
        for bad in ["", "newest", "10", "2026"] {
            let said = Release::named(bad).unwrap_err().to_string();
            assert!(said.contains("0.10.2"), "{said}");
        }
    }
}
