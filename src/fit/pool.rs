//! How a KV cache is laid out: what of it a token takes, and what a request does.

use super::ask::{Ask, Engine};
use super::releases::Hybrid;
use super::terms::Settings;
use crate::shape::{Kv, Layer};

/// From here on layers of two kinds are so many more of one that they are not filled up to its number
/// (`kv_cache_utils.py`).
const FEW_MORE: f64 = 1.25;

/// Layers of a rank that keep KV by one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    /// Of a token, in each layer.
    bytes: u64,
    /// Tokens that are kept at most; `None`: all.
    window: Option<usize>,
    layers: u64,
    /// Layers that the cache has room for: whole groups of them.
    slots: u64,
}

/// The KV cache of one rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pool {
    kinds: Vec<Kind>,
    block_size: usize,
    /// Tokens of a step: a window moves on only behind it.
    step: usize,
}

impl Pool {
    /// Of `layers` and, behind them, of the draft model's `drafts`.
    pub fn new(ask: &Ask, layers: &[Layer], drafts: &[Layer], settings: Settings) -> Self {
        let hybrid = match ask.engine {
            Engine::Candlepower | Engine::Sglang | Engine::LlamaCpp(_) => Hybrid::Full,
            Engine::Vllm(release) => release.hybrid,
        };
        let mut kinds: Vec<Kind> = Vec::new();
        for layer in layers.iter().chain(drafts) {
            let elements = layer.kv.elements_per_token(ask.split.tp);
            let bytes = ask.kv_bytes_of(elements);
            let window = match (layer.kv, hybrid) {
                (_, Hybrid::Full) => None,
                (Kv::Window { window, .. }, _) => Some(window),
                _ => None,
            };
            let same = |kind: &&mut Kind| (kind.bytes, kind.window) == (bytes, window);
            match kinds.iter_mut().find(same) {
                Some(kind) => kind.layers += 1,
                None if bytes == 0 => {}
                None => kinds.push(Kind {
                    bytes,
                    window,
                    layers: 1,
                    slots: 0,
                }),
            }
        }
        let group = match hybrid {
            Hybrid::Full => 1,
            Hybrid::Padded | Hybrid::ByConcurrency => group(&kinds),
        };
        for kind in &mut kinds {
            kind.slots = kind.layers.next_multiple_of(group);
        }
        Self {
            kinds,
            block_size: ask.block_size,
            step: settings.max_num_batched_tokens,
        }
    }

    /// Of a token that every layer keeps, slots that no layer fills among them.
    pub fn bytes_per_token(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.bytes * kind.slots).sum()
    }

    /// Of a block in every slot.
    pub fn block_bytes(&self) -> u64 {
        self.bytes_per_token() * self.block_size as u64
    }

    /// What a request of `length` tokens takes at most.
    pub fn request(&self, length: usize) -> u64 {
        let whole = length.max(1).next_multiple_of(self.block_size);
        let kept = |window: Option<usize>| match window {
            None => whole,
            // The block that a window leaves is still there.
            Some(window) => {
                let seen = (window - 1).saturating_add(self.step).min(length);
                whole.min(seen.next_multiple_of(self.block_size) + self.block_size)
            }
        };
        let kinds = self.kinds.iter();
        kinds
            .map(|kind| kind.bytes * kind.slots * kept(kind.window) as u64)
            .sum()
    }

    /// The same in blocks of all slots.
    pub fn blocks(&self, length: usize) -> u64 {
        self.request(length).div_ceil(self.block_bytes().max(1))
    }

    /// Tokens of the longest request that `bytes` hold: `most`, or fewer in whole blocks.
    pub fn longest(&self, bytes: u64, most: usize) -> usize {
        if self.request(most) <= bytes {
            return most;
        }
        let (mut fits, mut beyond) = (0, most / self.block_size + 1);
        while beyond - fits > 1 {
            let middle = (fits + beyond) / 2;
            match self.request(middle * self.block_size) <= bytes {
                true => fits = middle,
                false => beyond = middle,
            }
        }
        fits * self.block_size
    }

    /// Slots that no layer fills.
    pub fn padding(&self) -> u64 {
        let kinds = self.kinds.iter();
        kinds.map(|kind| kind.slots - kind.layers).sum()
    }
}

/// Layers of a group: as many as the rarer kind has, or as the other if that is only a few more.
fn group(kinds: &[Kind]) -> u64 {
    let layers = kinds.iter().map(|kind| kind.layers);
    let (least, most) = (layers.clone().min(), layers.max());
    match (least, most) {
        (Some(least), Some(most)) if (most as f64) < FEW_MORE * least as f64 => most,
        (Some(least), _) => least,
        (None, _) => 1,
    }
}
