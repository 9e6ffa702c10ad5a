//! The cache of compressed latents as vLLM lays it out (`kv_cache_utils.py`, `deepseek_v4/compressor.py`): latents of a window,
//! compressed ones, an indexer's keys and the states of what compresses, each in pages of its own number of tokens. A page of
//! each size of what keeps every token is one slot, and all of a kind's layers stand in blocks of equally many slots.

use std::collections::BTreeMap;

use super::{Keeps, Kind};
use crate::shape::{Compressed, Kv, Layer};

/// Tokens of a page of compressed latents and of an indexer's keys, whatever their ratio.
const BLOCK: usize = 256;
/// Of one of latents in a window.
const WINDOW_BLOCK: usize = 64;
/// Features of a latent that share a scale of one byte; one byte more fills them up.
const SCALED: usize = 64;
/// Compressed latents of so few tokens are made of twice as many.
const OVERLAPPING: usize = 4;
/// Tokens of a page of states, of these and of others.
const STATE_BLOCKS: [usize; 2] = [4, 8];

/// Layers that keep a window of something.
struct Group {
    block: usize,
    window: usize,
    layers: usize,
}

/// `None`: no layer keeps such latents.
pub(super) fn kinds(layers: &[Layer]) -> Option<Vec<Kind>> {
    let kept = layers.iter().filter_map(|layer| match layer.kv {
        Kv::Compressed(kept) => Some(kept),
        _ => None,
    });
    let kept: Vec<Compressed> = kept.collect();
    let first = kept.first()?;
    // Layers by bytes of a page of what keeps every token.
    let mut pages: BTreeMap<u64, usize> = BTreeMap::new();
    let mut groups = vec![Group {
        block: WINDOW_BLOCK,
        window: first.window,
        layers: kept.len(),
    }];
    for one in kept.iter().filter(|one| one.ratio > 0) {
        let rows = (BLOCK / one.ratio).max(1);
        *pages.entry(page(*one, rows * row(*one))).or_default() += 1;
        if one.index > 0 {
            *pages
                .entry(page(*one, rows * one.index_bytes()))
                .or_default() += 1;
        }
        let (window, block) = match one.ratio {
            OVERLAPPING => (2 * OVERLAPPING, STATE_BLOCKS[0]),
            ratio => (ratio, STATE_BLOCKS[1]),
        };
        match groups
            .iter_mut()
            .skip(1)
            .find(|group| group.window == window && group.block == block)
        {
            Some(group) => group.layers += 1,
            None => groups.push(Group {
                block,
                window,
                layers: 1,
            }),
        }
    }
    let most = pages.values().max().copied().unwrap_or(1);
    let slot = match pages.is_empty() {
        true => page(*first, WINDOW_BLOCK * row(*first)),
        false => pages.keys().sum(),
    };
    let chunk = chunk(most, &groups);
    let parts = |group: &Group| group.layers.div_ceil(chunk);
    let longest = groups
        .iter()
        .map(|group| group.layers.div_ceil(parts(group)));
    let slots = longest.fold(most, usize::max) as u64;
    let kind = |block: usize, keeps: Keeps, slots: u64| Kind {
        page: slot,
        block,
        keeps,
        layers: slots,
        slots,
    };
    let windows = groups.iter().map(|group| {
        kind(
            group.block,
            Keeps::Last(group.window),
            slots * parts(group) as u64,
        )
    });
    Some(
        [kind(BLOCK, Keeps::All, slots)]
            .into_iter()
            .chain(windows)
            .collect(),
    )
}

/// Bytes of a latent: FP8 with its scales, but for what carries the position, in 16 bits.
fn row(kept: Compressed) -> usize {
    let plain = kept.width - kept.rotary;
    plain + 2 * kept.rotary + plain.div_ceil(SCALED) + 1
}

/// So many bytes in whole lines, which are as long as a latent without its scales.
fn page(kept: Compressed, bytes: usize) -> u64 {
    bytes.next_multiple_of(kept.width + kept.rotary) as u64
}

/// Layers of a part of a group, so that the fewest slots stay empty (`_approximate_gcd`): the largest of the best.
fn chunk(least: usize, groups: &[Group]) -> usize {
    let layers = || groups.iter().map(|group| group.layers).chain([least]);
    let empty = |chunk: usize| {
        layers()
            .map(|n| n.next_multiple_of(chunk) - n)
            .sum::<usize>()
    };
    let most = layers().max().unwrap_or(least);
    (least.max(1)..=most.max(1))
        .rev()
        .min_by_key(|&chunk| empty(chunk))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Mlp;

    /// DeepSeek-V4-Flash: 2 layers with a window alone, 21 of 4 tokens each, 20 of 128.
    #[test]
    fn layers_stand_in_slots_of_equal_size() {
        let layer = |ratio: usize| Layer {
            kv: Kv::Compressed(Compressed {
                width: 512,
                rotary: 64,
                window: 128,
                ratio,
                index: if ratio == 4 { 128 } else { 0 },
            }),
            state: None,
            mlp: Mlp::Dense { width: 0 },
        };
        let ratios = [0; 2].into_iter().chain((0..41).map(|n| [4, 128][n % 2]));
        let layers: Vec<Layer> = ratios.map(layer).collect();
        let kinds = kinds(&layers).unwrap();
        let slot = (64 * 584_u64).next_multiple_of(576)
            + (64 * 132_u64).next_multiple_of(576)
            + (2 * 584_u64).next_multiple_of(576);
        assert!(kinds.iter().all(|kind| kind.page == slot), "{kinds:?}");
        let found: Vec<_> = kinds.iter().map(|k| (k.block, k.keeps, k.slots)).collect();
        assert_eq!(
            found,
            [
                (256, Keeps::All, 22),
                (64, Keeps::Last(128), 44),
                (4, Keeps::Last(8), 22),
                (8, Keeps::Last(128), 22),
            ]
        );
        assert!(super::kinds(&[]).is_none());
    }
}
