//! What a row draws with, as kernels read it: see `Pick` in kernels/logits.cuh.

use crate::ops::sampling::noise::Noise;
use crate::ops::scratch::PICK_WORDS;

pub const WORDS: usize = PICK_WORDS;
/// No noise.
pub const NONE: [u32; WORDS] = [0; WORDS];

pub fn words(noise: &Noise) -> [u32; WORDS] {
    let [seed, stream] = [noise.seed, noise.stream].map(|x| [x as u32, (x >> u32::BITS) as u32]);
    [
        noise.temperature.to_bits(),
        noise.position,
        seed[0],
        seed[1],
        stream[0],
        stream[1],
    ]
}
