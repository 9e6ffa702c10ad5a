//! What one layer keeps of each token, and what stands behind its attention.

/// One decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Of each token.
    pub kv: Kv,
    /// Of each sequence, however long it is; `None`: the layer is not recurrent.
    pub state: Option<State>,
    pub mlp: Mlp,
}

/// K and V by head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    pub count: usize,
    /// Elements of K in each.
    pub key_dim: usize,
    /// Elements of V in each.
    pub value_dim: usize,
}

impl Heads {
    /// K and V alike, as nearly all models have them.
    pub fn alike(count: usize, head_dim: usize) -> Self {
        Self {
            count,
            key_dim: head_dim,
            value_dim: head_dim,
        }
    }
}

/// What a layer keeps of the tokens that it has seen. Here alone is worked out how much that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kv {
    /// K and V of every token.
    Full(Heads),
    /// The same, of which a token sees the last `window`, itself included. Whether what no token sees any more
    /// is given back is the engine's choice.
    Window { heads: Heads, window: usize },
    /// The same, of which a token sees those of its own run of `chunk` tokens.
    Chunked { heads: Heads, chunk: usize },
    /// One vector of `width` elements a token for all heads, K and V in one (multi-head latent attention):
    /// every rank holds all of it. The last `rotary` of them carry the position, and are of K alone. Beside it lies a key of
    /// `index` features, by which an indexer picks the tokens that are read; 0: there is none.
    Latent {
        width: usize,
        rotary: usize,
        index: usize,
    },
    /// Latents of the last tokens, and one for each few of all (DeepSeek-V4).
    Compressed(Compressed),
    /// No attention, or one that reads what another layer keeps.
    Nothing,
}

/// One latent a token, of which a token sees the last few, and one made of each `ratio` tokens, of which it sees all or those
/// that an indexer picks. Every rank holds all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed {
    /// Of a latent.
    pub width: usize,
    /// Of these the elements that carry the position.
    pub rotary: usize,
    /// Tokens that are seen as they are.
    pub window: usize,
    /// Tokens of a compressed latent; 0: there are none.
    pub ratio: usize,
    /// Features of the indexer's key of each of these; 0: it has none.
    pub index: usize,
}

impl Compressed {
    /// Of an indexer's key.
    pub fn index_bytes(self) -> usize {
        index_bytes(self.index)
    }
}

/// Features of an indexer's key that share a scale.
const INDEX_GROUP: usize = 128;

/// Bytes of an indexer's key: it is kept in FP8 with scales in f32, whatever the cache's type (`sparse_attn_indexer.py` of
/// vLLM; 65.49 GiB instead of 54.52 of 1,462,784 tokens in 61 layers, sglang#11309).
fn index_bytes(features: usize) -> usize {
    features + features.div_ceil(INDEX_GROUP) * size_of::<f32>()
}

/// Elements that a recurrent layer keeps of a sequence; ranks share them evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Last inputs of the convolution, in the activations' type.
    pub conv: usize,
    /// What the recurrence carries.
    pub temporal: usize,
    /// That is in f32 whatever the activations' type.
    pub in_f32: bool,
}

impl State {
    /// On each of `tp` ranks, where an activation takes `element` bytes.
    pub fn bytes(self, tp: usize, element: usize) -> usize {
        let temporal = if self.in_f32 {
            size_of::<f32>()
        } else {
            element
        };
        (self.conv * element + self.temporal * temporal).div_ceil(tp)
    }
}

impl Kv {
    /// Heads that ranks share: each holds an even share of them, and where ranks are more, neighbours hold
    /// the same one. `None`: nothing is kept by head.
    pub fn num_heads(self) -> Option<usize> {
        Some(self.heads()?.count)
    }

    /// `None`: nothing is kept by head.
    pub fn heads(self) -> Option<Heads> {
        match self {
            Self::Full(heads) | Self::Window { heads, .. } | Self::Chunked { heads, .. } => {
                Some(heads)
            }
            Self::Latent { .. } | Self::Compressed(_) | Self::Nothing => None,
        }
    }

    /// Bytes that one token takes on each of `tp` ranks, where an element takes `element`.
    pub fn bytes_per_token(self, tp: usize, element: usize) -> usize {
        self.elements_per_token(tp) * element + self.index_bytes_per_token()
    }

    /// Of these what an indexer's keys take.
    pub fn index_bytes_per_token(self) -> usize {
        match self {
            Self::Latent { index, .. } => index_bytes(index),
            Self::Compressed(kept) => kept.index_bytes() / kept.ratio.max(1),
            _ => 0,
        }
    }

    /// Elements that one token takes on each of `tp` ranks: K and V. Keys of an indexer are not among them.
    pub fn elements_per_token(self, tp: usize) -> usize {
        match (self, self.heads()) {
            (_, Some(heads)) => of_rank(heads.count, tp) * (heads.key_dim + heads.value_dim),
            (Self::Latent { width, .. }, None) => width,
            (Self::Compressed(kept), None) => {
                kept.width + kept.width.checked_div(kept.ratio).unwrap_or(0)
            }
            (_, None) => 0,
        }
    }

    /// The same in words, but for the number of layers: what comes before it and behind it in the product.
    /// `None`: a token takes nothing.
    pub fn factors(self, tp: usize) -> Option<(&'static str, String)> {
        match (self, self.heads()) {
            (_, Some(heads)) => {
                let count = of_rank(heads.count, tp);
                let (key, value) = (heads.key_dim, heads.value_dim);
                Some(match key == value {
                    true => ("2 (K and V)", format!("{count} KV heads x {key}")),
                    false => (
                        "1",
                        format!("{count} KV heads x ({key} of K + {value} of V)"),
                    ),
                })
            }
            (Self::Latent { width, .. }, None) => Some(("1 (K and V in one)", width.to_string())),
            (Self::Compressed(kept), None) => Some((
                "1 (K and V in one)",
                match kept.ratio {
                    0 => format!("{} in a window", kept.width),
                    ratio => format!("({0} in a window + {0} / {ratio})", kept.width),
                },
            )),
            (_, None) => None,
        }
    }

    /// Tokens that one sees at most, itself included; `None`: all.
    pub fn window(self) -> Option<usize> {
        match self {
            Self::Window { window, .. } => Some(window),
            Self::Chunked { chunk, .. } => Some(chunk),
            Self::Full(_) | Self::Latent { .. } | Self::Compressed(_) | Self::Nothing => None,
        }
    }
}

/// Of `heads`, on each of `tp` ranks.
fn of_rank(heads: usize, tp: usize) -> usize {
    (heads / tp).max(1)
}

/// What stands behind attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// One MLP with `width` features inside; 0: there is none.
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
        let heads = Heads::alike(8, 128);
        let full = Kv::Full(heads);
        let window = Kv::Window {
            heads,
            window: 4096,
        };
        let chunked = Kv::Chunked { heads, chunk: 8192 };
        for kv in [full, window, chunked] {
            let of_each = [1, 2, 8, 16, 32].map(|tp| kv.elements_per_token(tp));
            assert_eq!(of_each, [2048, 1024, 256, 256, 256]);
            let (before, behind) = kv.factors(4).unwrap();
            assert_eq!((before, &*behind), ("2 (K and V)", "2 KV heads x 128"));
        }
        let uneven = Kv::Full(Heads {
            value_dim: 64,
            ..heads
        });
        assert_eq!([1, 16].map(|tp| uneven.elements_per_token(tp)), [1536, 192]);
        let (before, behind) = uneven.factors(4).unwrap();
        assert_eq!(
            (before, &*behind),
            ("1", "2 KV heads x (128 of K + 64 of V)")
        );
        let windows = [full, window, chunked].map(Kv::window);
        assert_eq!(windows, [None, Some(4096), Some(8192)]);
    }

    #[test]
    fn a_latent_is_whole_on_every_rank_and_a_state_is_shared() {
        let latent = Kv::Latent {
            width: 576,
            rotary: 64,
            index: 128,
        };
        assert_eq!(
            [1, 8].map(|tp| latent.elements_per_token(tp)),
            [576, 576],
            "no rank holds a part of it"
        );
        assert_eq!(latent.bytes_per_token(8, 2), 1152 + 128 + 4);
        let compressed = |ratio, index| {
            Kv::Compressed(Compressed {
                width: 512,
                rotary: 64,
                window: 128,
                ratio,
                index,
            })
        };
        let bytes = [(0, 0), (4, 128), (128, 0)]
            .map(|(ratio, index)| compressed(ratio, index).bytes_per_token(8, 2));
        assert_eq!(bytes, [1024, 1024 + 256 + 33, 1024 + 8]);
        let state = State {
            conv: 1000,
            temporal: 4000,
            in_f32: true,
        };
        let nothing = Kv::Nothing;
        assert_eq!(
            (nothing.elements_per_token(1), nothing.factors(1)),
            (0, None)
        );
        assert_eq!([1, 2].map(|tp| state.bytes(tp, 2)), [18_000, 9_000]);
    }
}
