//! Tensor-core instructions: `ldmatrix` and `mma.sync`, by the fragment layouts of the PTX manual.

use super::access::{Address, addresses, read};
use super::block::Scene;
use super::counters::bank_conflicts;
use super::fault::Broken;
use super::floats::{E4M3, E5M2, F16, Rounding, bf16_to_f32, f16_to_f32};
use super::registers::{ALL, LANES, Lane, Registers, Slot};
use super::warp::Warp;
use super::windows::{Place, resolve};
use crate::ptx::Type;

const ROWS: usize = 8;
const ROW_BYTES: u64 = 16;
const M: usize = 16;
const N: usize = 8;
const LARGEST_K: usize = 32;
/// Mantissa bits of an f32 that tf32 does not have.
const TF32_IGNORED: u32 = 0x1fff;

pub struct LoadMatrix {
    pub results: Vec<Slot>,
    pub address: Address,
    pub transposed: bool,
}

pub fn load(
    warp: &mut Warp,
    scene: &mut Scene,
    form: &LoadMatrix,
    mask: u32,
) -> Result<(), Broken> {
    let all = addresses(&warp.registers, &form.address);
    let at = all.map(|a| {
        if form.address.place == Place::Generic {
            resolve(a).1
        } else {
            a
        }
    });
    for (matrix, slot) in form.results.iter().enumerate() {
        let mut rows = [[0u16; ROWS]; ROWS];
        for (r, row) in rows.iter_mut().enumerate() {
            let lane = matrix * ROWS + r;
            if at[lane] % ROW_BYTES != 0 {
                let message = format!(
                    "ldmatrix row at {:#x} of shared memory is not aligned to {ROW_BYTES} bytes",
                    at[lane]
                );
                return Err(Broken::at(super::fault::Cause::Misaligned, lane, message));
            }
            for (c, element) in row.iter_mut().enumerate() {
                *element =
                    read(warp, scene, Place::Shared, lane, at[lane] + 2 * c as u64, 2)? as u16;
            }
        }
        if scene.launch.limits.traffic {
            scene.counters.shared_requests += 1;
            let lanes = 0xff << (matrix * ROWS);
            let mut moved = at;
            moved.rotate_left(matrix * ROWS);
            scene.counters.bank_conflicts +=
                bank_conflicts(&moved, lanes >> (matrix * ROWS), ROW_BYTES);
        }
        let values = std::array::from_fn(|lane| {
            let (high, low) = (lane / 4, 2 * (lane % 4));
            let (a, b) = if form.transposed {
                (rows[low][high], rows[low + 1][high])
            } else {
                (rows[high][low], rows[high][low + 1])
            };
            u32::from(b) << 16 | u32::from(a)
        });
        u32::store(&mut warp.registers, *slot, values, mask);
    }
    Ok(())
}

pub struct Product {
    pub a: Vec<Slot>,
    pub b: Vec<Slot>,
    pub c: Vec<Slot>,
    pub d: Vec<Slot>,
    pub a_type: Type,
    pub b_type: Type,
    /// f32, f16 (packed in pairs) or s32.
    pub sum: Type,
}

/// The `at`-th element of a register that holds values of this type.
fn element(word: u32, ty: Type, at: usize) -> f64 {
    let half = |at| [word as u16, (word >> 16) as u16][at];
    let byte = word.to_le_bytes()[at];
    match ty {
        Type::F16 => f16_to_f32(half(at)).into(),
        Type::Bf16 => bf16_to_f32(half(at)).into(),
        Type::Tf32 => f32::from_bits(word & !TF32_IGNORED).into(),
        Type::E4m3 => E4M3.decode(byte.into()),
        Type::E5m2 => E5M2.decode(byte.into()),
        Type::S8 => (byte as i8).into(),
        _ => byte.into(),
    }
}

pub fn elements(ty: Type) -> usize {
    match ty {
        Type::Tf32 => 1,
        Type::F16 | Type::Bf16 => 2,
        _ => 4,
    }
}

/// Products are exact; their sum with C is taken in f64 and rounded once. The order in which real
/// tensor cores add, and where they cut bits, is not published: results there differ in the last bits.
pub fn product(registers: &mut Registers, form: &Product) {
    let mut a = [[0f64; LARGEST_K]; M];
    let mut b = [[0f64; LARGEST_K]; N];
    let per = elements(form.a_type);
    for (j, slot) in form.a.iter().enumerate() {
        let words = u32::load(registers, *slot);
        for (lane, word) in words.into_iter().enumerate() {
            for i in 0..per {
                a[lane / 4 + ROWS * (j & 1)][per * (lane % 4) + i + (j >> 1) * 4 * per] =
                    element(word, form.a_type, i);
            }
        }
    }
    for (j, slot) in form.b.iter().enumerate() {
        let words = u32::load(registers, *slot);
        for (lane, word) in words.into_iter().enumerate() {
            for i in 0..per {
                b[lane / 4][per * (lane % 4) + i + j * 4 * per] = element(word, form.b_type, i);
            }
        }
    }
    let k = 4 * per * form.a.len() / 2;
    let packed = form.sum == Type::F16;
    let c: Vec<[u32; LANES]> = form
        .c
        .iter()
        .map(|slot| u32::load(registers, *slot))
        .collect();
    let mut d = vec![[0u32; LANES]; form.d.len()];
    for lane in 0..LANES {
        for at in 0..4 {
            let (row, column) = (lane / 4 + ROWS * (at >> 1), 2 * (lane % 4) + (at & 1));
            let sum: f64 = (0..k).map(|i| a[row][i] * b[column][i]).sum();
            if packed {
                let shift = 16 * (at & 1);
                let with = f64::from(f16_to_f32((c[at / 2][lane] >> shift) as u16));
                d[at / 2][lane] |= F16.encode(sum + with, Rounding::Nearest, false) << shift;
            } else if form.sum == Type::S32 {
                d[at][lane] = (sum as i64 as i32).wrapping_add(c[at][lane] as i32) as u32;
            } else {
                d[at][lane] = ((sum + f64::from(f32::from_bits(c[at][lane]))) as f32).to_bits();
            }
        }
    }
    for (slot, values) in form.d.iter().zip(d) {
        u32::store(registers, *slot, values, ALL);
    }
}
