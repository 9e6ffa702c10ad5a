//! Seeded numbers, the same on every machine.
#![allow(dead_code, reason = "each test binary uses its own part")]

/// SplitMix64 (Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `range`, whose end is left out.
    pub fn within(&mut self, range: std::ops::Range<usize>) -> usize {
        range.start + (self.bits() % range.len() as u64) as usize
    }

    pub fn flip(&mut self) -> bool {
        self.bits() >> 63 == 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0..from.len())]
    }

    /// Uniform in -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// So many of [`Self::unit`], each as `of` makes it.
    pub fn vec<T>(&mut self, count: usize, of: impl Fn(f32) -> T) -> Vec<T> {
        (0..count).map(|_| of(self.unit())).collect()
    }

    pub fn units(&mut self, count: usize) -> Vec<f32> {
        self.vec(count, |unit| unit)
    }

    pub fn tokens(&mut self, count: usize, vocab: usize) -> Vec<u32> {
        (0..count).map(|_| self.within(0..vocab) as u32).collect()
    }
}
