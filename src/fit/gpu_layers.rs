//! What llama.cpp is told beside a context: which layers lie on GPUs, and in what their KV cache is kept.

use std::ops::Range;
use std::str::FromStr;

/// Settings of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LlamaCpp {
    /// Layers on GPUs, counted from the last, the head as one more; `None`: all.
    pub gpu_layers: Option<usize>,
    /// Attention scores are never whole.
    pub flash_attention: bool,
    /// Of so many layers, counted from the first, the experts stay in the host's memory.
    pub cpu_moe_layers: usize,
    /// Layers with a window keep every token, as in builds before May 2025.
    pub swa_full: bool,
    /// Of K and of V.
    pub cache_types: [CacheType; 2],
}

impl Default for LlamaCpp {
    fn default() -> Self {
        Self {
            gpu_layers: None,
            flash_attention: true,
            cpu_moe_layers: 0,
            swa_full: false,
            cache_types: [CacheType::F16; 2],
        }
    }
}

/// Element type of its KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CacheType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
    Iq4Nl,
}

/// Name, and bits of 32 elements with their scales.
const CACHE_TYPES: [(&str, CacheType, usize); 9] = [
    ("f32", CacheType::F32, 1024),
    ("f16", CacheType::F16, 512),
    ("bf16", CacheType::Bf16, 512),
    ("q8_0", CacheType::Q8_0, 272),
    ("q5_1", CacheType::Q5_1, 192),
    ("q5_0", CacheType::Q5_0, 176),
    ("q4_1", CacheType::Q4_1, 160),
    ("q4_0", CacheType::Q4_0, 144),
    ("iq4_nl", CacheType::Iq4Nl, 144),
];

impl CacheType {
    /// As llama.cpp names it.
    pub fn name(self) -> &'static str {
        let row = CACHE_TYPES.iter().find(|row| row.1 == self);
        row.map_or("f16", |row| row.0)
    }

    fn bits_of_32(self) -> usize {
        let row = CACHE_TYPES.iter().find(|row| row.1 == self);
        row.map_or(512, |row| row.2)
    }
}

impl FromStr for CacheType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let row = CACHE_TYPES.iter().find(|row| row.0 == text);
        row.map(|row| row.1).ok_or_else(|| {
            let names: Vec<&str> = CACHE_TYPES.iter().map(|row| row.0).collect();
            format!(
                "{text:?} is no type of a KV cache; it may be {}",
                names.join(", ")
            )
        })
    }
}

impl LlamaCpp {
    /// Bytes of `elements` of K and V, half of each.
    pub(super) fn kv_bytes(self, elements: usize) -> u64 {
        let bits: usize = self.cache_types.iter().map(|kind| kind.bits_of_32()).sum();
        (elements * bits).div_ceil(2 * 32 * 8) as u64
    }

    /// Layers of each of `gpus`, and whether the head is on the last: the layers before them stay in the host's
    /// memory. GPUs share the layers and the head evenly.
    pub(super) fn stages(self, layers: usize, gpus: usize) -> (Vec<Range<usize>>, bool) {
        let asked = self.gpu_layers.unwrap_or(usize::MAX);
        let start = layers.saturating_sub(asked);
        let head = asked > layers;
        let slots = layers - start + usize::from(head);
        let bound = |gpu: usize| (start + (slots * gpu).div_ceil(gpus)).min(layers);
        (
            (0..gpus).map(|gpu| bound(gpu)..bound(gpu + 1)).collect(),
            head,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_from_the_last_and_the_head_is_one_more() {
        let of = |gpu_layers| LlamaCpp {
            gpu_layers,
            ..LlamaCpp::default()
        };
        let one = |layers: Range<usize>| vec![layers];
        assert_eq!(of(None).stages(32, 1), (one(0..32), true));
        assert_eq!(of(Some(33)).stages(32, 1), (one(0..32), true));
        assert_eq!(of(Some(31)).stages(32, 1), (one(1..32), false));
        assert_eq!(of(Some(0)).stages(32, 1), (one(32..32), false));
        // As logged: 22 and 20 of 42, and the head on the second.
        assert_eq!(of(None).stages(42, 2), (vec![0..22, 22..42], true));
    }

    #[test]
    fn cache_types_have_their_scales() {
        let own = LlamaCpp {
            cache_types: [CacheType::Q4_0, CacheType::F16],
            ..LlamaCpp::default()
        };
        assert_eq!(own.kv_bytes(64), 18 + 64);
        assert!("q3".parse::<CacheType>().unwrap_err().contains("q8_0"));
    }
}
