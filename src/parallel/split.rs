//! How a model is split.

/// Over how many ranks, and how experts lie on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Split {
    /// Ranks.
    pub tp: usize,
    /// Each expert whole on one rank, instead of a part of it on every rank.
    pub expert_parallel: bool,
}

impl From<usize> for Split {
    fn from(tp: usize) -> Self {
        Self {
            tp,
            expert_parallel: false,
        }
    }
}
