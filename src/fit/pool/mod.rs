//! How a KV cache is laid out: what of it a token takes, and what a request does.

mod compressed;

use super::ask::{Ask, Engine};
use super::releases::Hybrid;
use super::terms::Settings;
use crate::shape::{Kv, Layer};

/// How much a layer keeps of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// Every token.
    All,
    /// So many tokens at most.
    Last(usize),
    /// Whatever the length, the room of so many tokens: the states of a recurrent layer, in pages as large as the others.
    Room(usize),
}

/// Layers of a rank that keep KV by one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    /// Bytes of a page, in each layer.
    page: u64,
    /// Tokens of one.
    block: usize,
    keeps: Keeps,
    layers: u64,
    /// Layers that the cache has room for: whole groups of them.
    slots: u64,
}

/// The KV cache of one rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pool {
    kinds: Vec<Kind>,
    /// Beside the blocks: states of recurrent layers, for as many requests as may run.
    pub states: u64,
    /// Bytes of a block in every slot.
    block: u64,
    /// Of a token that every layer keeps, slots that no layer fills among them; of compressed latents what it takes in the
    /// end, when no window sees it.
    per_token: u64,
    /// Lengths of requests are told in steps of so many tokens.
    grain: usize,
    /// The log tells how many tokens of the longest requests there are, whatever the release: none has a size of its own.
    pub of_requests: bool,
    /// Tokens of steps that are under way: a window moves on only behind them.
    step: usize,
}

impl Pool {
    /// Tokens of a block that keeps all of them, where blocks are `asked` long unless a layout has its own.
    pub fn block_tokens(&self, asked: usize) -> usize {
        match self.of_requests {
            true => self.kinds[0].block,
            false => asked,
        }
    }

    /// Of `layers` and, behind them, of the draft model's `drafts`.
    pub fn new(ask: &Ask, layers: &[Layer], drafts: &[Layer], settings: Settings) -> Self {
        let (hybrid, few_more, steps, pages) = match ask.engine {
            Engine::Vllm(release) => (
                release.hybrid,
                release.few_more,
                release.steps_under_way,
                // A state for each token that may not be accepted.
                release.recurrent_pages + ask.extras.drafted_tokens as u64,
            ),
            Engine::Candlepower | Engine::Sglang | Engine::LlamaCpp(_) => (Hybrid::Full, 1.0, 1, 1),
        };
        let windows_move = match ask.engine {
            Engine::LlamaCpp(own) => !own.swa_full,
            _ => hybrid != Hybrid::Full,
        };
        let step = settings.max_num_batched_tokens.saturating_mul(steps);
        if let Some(kinds) = compressed::kinds(layers) {
            let slots = kinds[0].page * kinds[0].slots;
            return Self {
                states: 0,
                block: slots,
                per_token: slots / kinds[0].block as u64,
                grain: 1,
                of_requests: true,
                kinds,
                step,
            };
        }
        let tp = ask.split.tp;
        let (element, block_size) = (ask.dtype().bytes(), ask.block_size);
        let of_token = |layer: &Layer| ask.token_bytes(layer);
        let page = layers.iter().map(of_token).find(|&bytes| bytes > 0);
        let grouped = hybrid != Hybrid::Full;
        let mut kinds: Vec<Kind> = Vec::new();
        let mut add = |bytes: u64, keeps: Keeps| {
            let page = bytes * block_size as u64;
            let same = |kind: &&mut Kind| (kind.page, kind.keeps) == (page, keeps);
            match kinds.iter_mut().find(same) {
                Some(kind) => kind.layers += 1,
                None if bytes == 0 => {}
                None => kinds.push(Kind {
                    page,
                    block: block_size,
                    keeps,
                    layers: 1,
                    slots: 0,
                }),
            }
        };
        let mut states = 0;
        for layer in layers.iter().chain(drafts) {
            let keeps = match layer.kv {
                Kv::Window { window, .. } if windows_move => Keeps::Last(window),
                _ => Keeps::All,
            };
            add(of_token(layer), keeps);
            let state = layer
                .state
                .map_or(0, |state| state.bytes(tp, element) as u64);
            match page.filter(|_| grouped && state > 0) {
                Some(page) => {
                    let room = state.div_ceil(page).next_multiple_of(block_size as u64);
                    add(page, Keeps::Room((room * pages) as usize));
                }
                None => states += state * settings.max_num_seqs as u64,
            }
        }
        // Where all keep every token they are one group, however much each of them takes (`UniformTypeKVCacheSpecs`).
        let is_one = kinds.iter().all(|kind| kind.keeps == Keeps::All);
        let group = match grouped && !is_one {
            false => 1,
            true => group(&kinds, few_more),
        };
        for kind in &mut kinds {
            kind.slots = kind.layers.next_multiple_of(group);
        }
        let block: u64 = kinds.iter().map(|kind| kind.page * kind.slots).sum();
        Self {
            kinds,
            states,
            block,
            per_token: block / block_size as u64,
            grain: block_size,
            of_requests: false,
            step,
        }
    }

    pub fn bytes_per_token(&self) -> u64 {
        self.per_token
    }

    pub fn block_bytes(&self) -> u64 {
        self.block
    }

    /// What a request of `length` tokens takes at most.
    pub fn request(&self, length: usize) -> u64 {
        let pages = |kind: &Kind| {
            let whole = length.max(1).div_ceil(kind.block);
            match kind.keeps {
                Keeps::All => whole,
                Keeps::Room(tokens) => tokens / kind.block,
                // The block that a window leaves is still there.
                Keeps::Last(window) => {
                    let seen = window
                        .saturating_sub(1)
                        .saturating_add(self.step)
                        .min(length);
                    whole.min(seen.div_ceil(kind.block) + 1)
                }
            }
        };
        let kinds = self.kinds.iter();
        kinds
            .map(|kind| kind.page * kind.slots * pages(kind) as u64)
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
        let (mut fits, mut beyond) = (0, most / self.grain + 1);
        while beyond - fits > 1 {
            let middle = (fits + beyond) / 2;
            match self.request(middle * self.grain) <= bytes {
                true => fits = middle,
                false => beyond = middle,
            }
        }
        fits * self.grain
    }

    /// Slots that no layer fills.
    pub fn padding(&self) -> u64 {
        let kinds = self.kinds.iter();
        kinds.map(|kind| kind.slots - kind.layers).sum()
    }
}

/// Layers of a group: as many as the rarer kind has, or as the other if that is fewer than `few_more` times as many
/// (`kv_cache_utils.py`).
fn group(kinds: &[Kind], few_more: f64) -> u64 {
    let layers = kinds.iter().map(|kind| kind.layers);
    let (least, most) = (layers.clone().min(), layers.max());
    match (least, most) {
        (Some(least), Some(most)) if (most as f64) < few_more * least as f64 => most,
        (Some(least), _) => least,
        (None, _) => 1,
    }
}
