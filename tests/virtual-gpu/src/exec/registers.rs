//! A warp's registers: 32 lanes side by side, so that one instruction is one loop over them.

pub const LANES: usize = 32;
pub const ALL: u32 = u32::MAX;

/// What a register holds before its first write, so that its use shows.
const NEVER_WRITTEN: u32 = u32::MAX;

/// Index of a row of 32 lanes of 32 bits; a 64-bit register is two rows.
pub type Slot = u32;

#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Row([u32; LANES]);

#[derive(Clone, Default)]
pub struct Registers {
    rows: Vec<Row>,
    /// One bit a lane.
    pub predicates: Vec<u32>,
}

/// A type that lanes of a register can be read as.
pub trait Lane: Copy + Default {
    fn load(from: &Registers, slot: Slot) -> [Self; LANES];
    fn store(to: &mut Registers, slot: Slot, values: [Self; LANES], mask: u32);
}

impl Registers {
    pub fn new(rows: usize, predicates: usize) -> Self {
        Self {
            rows: vec![Row([NEVER_WRITTEN; LANES]); rows],
            predicates: vec![0; predicates],
        }
    }

    /// Takes over all of another's values; both have the same size.
    pub fn copy_from(&mut self, other: &Self) {
        self.rows.copy_from_slice(&other.rows);
        self.predicates.copy_from_slice(&other.predicates);
    }

    #[inline(always)]
    fn words(&self, slot: Slot) -> &[u32; LANES] {
        &self.rows[slot as usize].0
    }

    #[inline(always)]
    fn words_mut(&mut self, slot: Slot) -> &mut [u32; LANES] {
        &mut self.rows[slot as usize].0
    }

    #[inline(always)]
    fn longs(&self, slot: Slot) -> &[u64; LANES] {
        let pair = &self.rows[slot as usize..slot as usize + 2];
        // SAFETY: two rows lie side by side (repr C, no padding: their size is their alignment) and are
        // as long as 32 u64; their alignment of 128 is more than a u64 needs; any bits are a u64.
        unsafe { &*pair.as_ptr().cast::<[u64; LANES]>() }
    }

    #[inline(always)]
    fn longs_mut(&mut self, slot: Slot) -> &mut [u64; LANES] {
        let pair = &mut self.rows[slot as usize..slot as usize + 2];
        // SAFETY: as above, and the borrow of both rows is exclusive.
        unsafe { &mut *pair.as_mut_ptr().cast::<[u64; LANES]>() }
    }

    /// A register's lanes as bits, whatever its width.
    pub fn bits(&self, slot: Slot, wide: bool) -> [u64; LANES] {
        if wide {
            *self.longs(slot)
        } else {
            self.words(slot).map(u64::from)
        }
    }

    pub fn set_bits(&mut self, slot: Slot, wide: bool, values: &[u64; LANES], mask: u32) {
        if wide {
            u64::store(self, slot, *values, mask);
        } else {
            u32::store(self, slot, convert(values, |v| v as u32), mask);
        }
    }

    pub fn bit(&self, slot: Slot, wide: bool, lane: usize) -> u64 {
        if wide {
            self.longs(slot)[lane]
        } else {
            self.words(slot)[lane].into()
        }
    }

    pub fn set_bit(&mut self, slot: Slot, wide: bool, lane: usize, value: u64) {
        if wide {
            self.longs_mut(slot)[lane] = value;
        } else {
            self.words_mut(slot)[lane] = value as u32;
        }
    }
}

// Plain loops: a closure handed to a library's function is not compiled for the machine's vectors.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
fn convert<A: Copy, B: Copy + Default>(values: &[A; LANES], f: impl Fn(A) -> B) -> [B; LANES] {
    let mut out = [B::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(values[lane]);
    }
    out
}

#[inline(always)]
fn blend<T: Copy>(to: &mut [T; LANES], values: [T; LANES], mask: u32) {
    if mask == ALL {
        *to = values;
    } else {
        for lane in 0..LANES {
            if mask >> lane & 1 != 0 {
                to[lane] = values[lane];
            }
        }
    }
}

macro_rules! lane {
    ($ty:ty, $rows:ident, $rows_mut:ident, $from:expr, $to:expr) => {
        impl Lane for $ty {
            #[inline(always)]
            fn load(from: &Registers, slot: Slot) -> [Self; LANES] {
                convert(from.$rows(slot), $from)
            }
            #[inline(always)]
            fn store(to: &mut Registers, slot: Slot, values: [Self; LANES], mask: u32) {
                blend(to.$rows_mut(slot), convert(&values, $to), mask);
            }
        }
    };
}

lane!(u8, words, words_mut, |b| b as u8, |v| v as u32);
lane!(i8, words, words_mut, |b| b as i8, |v| v as u8 as u32);
lane!(u16, words, words_mut, |b| b as u16, |v| v as u32);
lane!(i16, words, words_mut, |b| b as i16, |v| v as u16 as u32);
lane!(u32, words, words_mut, |b| b, |v| v);
lane!(i32, words, words_mut, |b| b as i32, |v| v as u32);
lane!(f32, words, words_mut, f32::from_bits, f32::to_bits);
lane!(u64, longs, longs_mut, |b| b, |v| v);
lane!(i64, longs, longs_mut, |b| b as i64, |v| v as u64);
lane!(f64, longs, longs_mut, f64::from_bits, f64::to_bits);
