//! How an arithmetic instruction is written: the meaning for one lane, run over all 32.

use super::registers::{LANES, Lane, Registers, Slot};

/// Where an instruction's operands are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Args {
    pub d: Slot,
    pub a: Slot,
    pub b: Slot,
    pub c: Slot,
    /// Modifiers, or an immediate value, as the instruction has it.
    pub flags: u32,
}

/// Runs one arithmetic instruction for the lanes in the mask.
/// Its caller has checked that the machine has `FEATURES`.
pub type Alu = unsafe fn(&mut Registers, &Args, u32);

/// What the compiled bodies of instructions use; looked for once at start.
pub fn machine_is_able() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
}

/// Every lane's result. A plain loop, so that it is compiled for the vectors of whoever it lands in.
#[inline(always)]
fn each<D: Lane>(f: impl Fn(usize) -> D) -> [D; LANES] {
    let mut out = [D::default(); LANES];
    for (lane, value) in out.iter_mut().enumerate() {
        *value = f(lane);
    }
    out
}

#[inline(always)]
pub fn map1<D: Lane, A: Lane>(r: &mut Registers, x: &Args, mask: u32, f: impl Fn(A) -> D) {
    let a = A::load(r, x.a);
    D::store(r, x.d, each(|i| f(a[i])), mask);
}

#[inline(always)]
pub fn map2<D: Lane, A: Lane, B: Lane>(
    r: &mut Registers,
    x: &Args,
    mask: u32,
    f: impl Fn(A, B) -> D,
) {
    let a = A::load(r, x.a);
    let b = B::load(r, x.b);
    D::store(r, x.d, each(|i| f(a[i], b[i])), mask);
}

#[inline(always)]
pub fn map3<D: Lane, A: Lane, B: Lane, C: Lane>(
    r: &mut Registers,
    x: &Args,
    mask: u32,
    f: impl Fn(A, B, C) -> D,
) {
    let a = A::load(r, x.a);
    let b = B::load(r, x.b);
    let c = C::load(r, x.c);
    D::store(r, x.d, each(|i| f(a[i], b[i], c[i])), mask);
}

/// One bit a lane.
#[inline(always)]
pub fn test2<A: Lane, B: Lane>(r: &Registers, x: &Args, f: impl Fn(A, B) -> bool) -> u32 {
    let a = A::load(r, x.a);
    let b = B::load(r, x.b);
    let mut bits = 0;
    for i in 0..LANES {
        bits |= u32::from(f(a[i], b[i])) << i;
    }
    bits
}

/// `alu!(|r, x, mask| ...)`: a function over a whole warp, compiled for the machine's vectors.
macro_rules! alu {
    (|$r:ident, $x:ident, $mask:ident| $body:expr) => {{
        #[target_feature(enable = "avx2,fma,f16c,popcnt,lzcnt,bmi1,bmi2")]
        fn run(
            $r: &mut $crate::exec::registers::Registers,
            $x: &$crate::exec::lanes::Args,
            $mask: u32,
        ) {
            $body
        }
        run as $crate::exec::lanes::Alu
    }};
}

/// `lanes!(u32: |a: u32, b: u32| a & b)`: the meaning for one lane; `lanes!(x; u32: ...)` sees the operands too.
macro_rules! lanes {
    ($d:ty: |$a:ident: $ta:ty| $e:expr) => {
        $crate::exec::lanes::lanes!(_x; $d: |$a: $ta| $e)
    };
    ($d:ty: |$a:ident: $ta:ty, $b:ident: $tb:ty| $e:expr) => {
        $crate::exec::lanes::lanes!(_x; $d: |$a: $ta, $b: $tb| $e)
    };
    ($d:ty: |$a:ident: $ta:ty, $b:ident: $tb:ty, $c:ident: $tc:ty| $e:expr) => {
        $crate::exec::lanes::lanes!(_x; $d: |$a: $ta, $b: $tb, $c: $tc| $e)
    };
    ($x:ident; $d:ty: |$a:ident: $ta:ty| $e:expr) => {
        $crate::exec::lanes::alu!(|r, args, mask| {
            let $x = args;
            $crate::exec::lanes::map1::<$d, $ta>(r, args, mask, |$a| $e)
        })
    };
    ($x:ident; $d:ty: |$a:ident: $ta:ty, $b:ident: $tb:ty| $e:expr) => {
        $crate::exec::lanes::alu!(|r, args, mask| {
            let $x = args;
            $crate::exec::lanes::map2::<$d, $ta, $tb>(r, args, mask, |$a, $b| $e)
        })
    };
    ($x:ident; $d:ty: |$a:ident: $ta:ty, $b:ident: $tb:ty, $c:ident: $tc:ty| $e:expr) => {
        $crate::exec::lanes::alu!(|r, args, mask| {
            let $x = args;
            $crate::exec::lanes::map3::<$d, $ta, $tb, $tc>(r, args, mask, |$a, $b, $c| $e)
        })
    };
}

pub(crate) use {alu, lanes};
