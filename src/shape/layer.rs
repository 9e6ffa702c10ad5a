//! What one layer keeps of each token, and what stands behind its attention.

/// One decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    pub kv: Kv,
    pub mlp: Mlp,
}

/// What a layer keeps of the tokens that it has seen. Here alone is worked out how much that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kv {
    /// K and V of every token.
    Full { num_heads: usize, head_dim: usize },
    /// The same, of which a token sees the last `window`, itself included. All are kept: blocks that no
    /// token sees any more are not given back.
    Window {
        num_heads: usize,
        head_dim: usize,
        window: usize,
    },
}

impl Kv {
    /// Heads that ranks share: each holds an even share of them, and where ranks are more, neighbours hold
    /// the same one.
    pub fn num_heads(self) -> usize {
        match self {
            Self::Full { num_heads, .. } | Self::Window { num_heads, .. } => num_heads,
        }
    }

    /// Of those heads, on each of `tp` ranks.
    pub fn num_heads_of_rank(self, tp: usize) -> usize {
        (self.num_heads() / tp).max(1)
    }

    /// Elements that one token takes on each of `tp` ranks: K and V.
    pub fn elements_per_token(self, tp: usize) -> usize {
        match self {
            Self::Full { head_dim, .. } | Self::Window { head_dim, .. } => {
                2 * self.num_heads_of_rank(tp) * head_dim
            }
        }
    }

    /// The same in words, but for the number of layers: what comes before it and behind it in the product.
    pub fn factors(self, tp: usize) -> (&'static str, String) {
        match self {
            Self::Full { head_dim, .. } | Self::Window { head_dim, .. } => {
                let heads = self.num_heads_of_rank(tp);
                ("2 (K and V)", format!("{heads} KV heads x {head_dim}"))
            }
        }
    }

    /// Tokens that one sees, itself included; `None`: all.
    pub fn window(self) -> Option<usize> {
        match self {
            Self::Full { .. } => None,
            Self::Window { window, .. } => Some(window),
        }
    }
}

/// What stands behind attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// One gated MLP with `width` features inside.
    Dense { width: usize },
    /// A router, and experts of which each token takes some.
    Experts(Experts),
}

/// Routed experts, each a gated MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    pub count: usize,
    /// That a token chooses.
    pub per_token: usize,
    /// Features inside each.
    pub width: usize,
}

impl Mlp {
    pub fn experts(self) -> Option<Experts> {
        match self {
            Self::Dense { .. } => None,
            Self::Experts(experts) => Some(experts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_kv_heads_until_each_has_one() {
        let (num_heads, head_dim) = (8, 128);
        let full = Kv::Full {
            num_heads,
            head_dim,
        };
        let window = Kv::Window {
            num_heads,
            head_dim,
            window: 4096,
        };
        for kv in [full, window] {
            let of_each = [1, 2, 8, 16, 32].map(|tp| kv.elements_per_token(tp));
            assert_eq!(of_each, [2048, 1024, 256, 256, 256]);
            let (before, behind) = kv.factors(4);
            assert_eq!((before, &*behind), ("2 (K and V)", "2 KV heads x 128"));
        }
        assert_eq!((full.window(), window.window()), (None, Some(4096)));
    }
}
