//! Accesses of a whole warp to consecutive places of its own device, done at once.

use super::access::{Element, Transfer, lanes_of, sign_extended};
use super::block::Scene;
use super::fault::{Broken, Cause};
use super::registers::{ALL, LANES};
use super::warp::Warp;

fn consecutive(at: &[u64; LANES], bytes: u64) -> bool {
    let step = |lane: usize| at[0].wrapping_add(lane as u64 * bytes);
    (0..LANES).fold(0, |apart, lane| apart | (at[lane] ^ step(lane))) == 0
}

/// A vector access is aligned to all of it.
pub fn aligned(at: &[u64; LANES], mask: u32, bytes: u64) -> Result<(), Broken> {
    // Sizes are powers of two: the low bits of all addresses together tell.
    let low = (0..LANES).fold(0, |low, lane| {
        low | if mask >> lane & 1 != 0 { at[lane] } else { 0 }
    });
    if low & (bytes - 1) == 0 {
        return Ok(());
    }
    match lanes_of(mask).find(|lane| !at[*lane].is_multiple_of(bytes)) {
        None => Ok(()),
        Some(lane) => {
            let message = format!(
                "access of {bytes} bytes at {:#x} is not aligned to its size",
                at[lane]
            );
            Err(Broken::at(Cause::Misaligned, lane, message))
        }
    }
}

/// All lanes at consecutive addresses, or all at one: one access for the warp.
pub fn load_row(
    warp: &mut Warp,
    scene: &mut Scene,
    t: &Transfer,
    at: &[u64; LANES],
    mask: u32,
) -> Result<bool, Broken> {
    let element = t.elements[0];
    let extend = |value: u64| {
        if t.signed {
            sign_extended(value, t.bytes)
        } else {
            value
        }
    };
    let first = mask.trailing_zeros() as usize;
    let apart = (0..LANES).fold(0, |apart, lane| {
        apart
            | if mask >> lane & 1 != 0 {
                at[lane] ^ at[first]
            } else {
                0
            }
    });
    if apart == 0 && scene.near.holds(at[first]) {
        let value = scene
            .view
            .read(at[first], t.bytes)
            .map_err(|f| Broken::memory(first, &f))?;
        warp.registers
            .set_bits(element.slot, element.wide, &[extend(value); LANES], mask);
        return Ok(true);
    }
    let total = t.bytes * LANES as u64;
    if mask != ALL || !consecutive(at, t.bytes) || !scene.near.holds_all(at[0], total) {
        return Ok(false);
    }
    let mut values = [0; LANES];
    // A fault is found again, lane by lane, to name the lane.
    if !scene
        .view
        .read_row(at[0], t.bytes, &mut values)
        .unwrap_or(false)
    {
        return Ok(false);
    }
    warp.registers
        .set_bits(element.slot, element.wide, &values.map(extend), mask);
    Ok(true)
}

/// False if the lanes' places are not consecutive, or not all to be had at once.
pub fn store_row(
    warp: &Warp,
    scene: &mut Scene,
    element: Element,
    at: &[u64; LANES],
    bytes: u64,
    mask: u32,
) -> bool {
    if mask != ALL || !consecutive(at, bytes) || !scene.near.holds_all(at[0], bytes * LANES as u64)
    {
        return false;
    }
    let values = warp.registers.bits(element.slot, element.wide);
    scene.view.write_row(at[0], bytes, &values).unwrap_or(false)
}
