//! Loads and stores of a warp.

use super::block::Scene;
use super::counters::bank_conflicts;
use super::fault::{Broken, Cause};
use super::order::Order;
use super::races::Use;
use super::registers::{LANES, Registers, Slot};
use super::rows::{aligned, load_row, store_row};
use super::shared::Refusal;
use super::warp::Warp;
pub use super::windows::Address;
use super::windows::{Place, resolve};
use super::{poll, remote};
use crate::memory::Write;

/// One element of a vector access.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    pub slot: Slot,
    /// Does its register take two rows?
    pub wide: bool,
}

pub struct Transfer {
    pub address: Address,
    /// Size of one element in memory.
    pub bytes: u64,
    /// Loads widen with the sign.
    pub signed: bool,
    pub elements: Vec<Element>,
    pub order: Order,
    /// Of what nobody writes while the kernel lives.
    pub constant: bool,
}

pub fn addresses(registers: &Registers, address: &Address) -> [u64; LANES] {
    match address.base {
        None => [address.offset as u64; LANES],
        Some((slot, wide)) => registers
            .bits(slot, wide)
            .map(|base| base.wrapping_add_signed(address.offset)),
    }
}

/// The space that a warp's addresses are in, and the addresses there. Lanes of a generic access may differ.
fn places(address: &Address, generic: &[u64; LANES], mask: u32) -> Option<(Place, [u64; LANES])> {
    if address.place != Place::Generic {
        return Some((address.place, *generic));
    }
    let (first, _) = resolve(generic[mask.trailing_zeros() as usize]);
    let mut out = [0; LANES];
    for lane in 0..LANES {
        let (place, at) = resolve(generic[lane]);
        if place != first && mask >> lane & 1 != 0 {
            return None;
        }
        out[lane] = at;
    }
    Some((first, out))
}

pub fn sign_extended(value: u64, bytes: u64) -> u64 {
    let unused = u64::BITS - 8 * bytes as u32;
    ((value << unused) as i64 >> unused) as u64
}

/// Lanes in a mask, upwards.
pub fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 != 0)
}

fn count(scene: &mut Scene, place: Place, at: &[u64; LANES], mask: u32, bytes: u64, store: bool) {
    match place {
        Place::Device => {
            let traffic = if store {
                &mut scene.counters.stores
            } else {
                &mut scene.counters.loads
            };
            traffic.count(at, mask, bytes);
        }
        Place::Shared => {
            scene.counters.shared_requests += 1;
            scene.counters.bank_conflicts += bank_conflicts(at, mask, bytes);
        }
        _ => {}
    }
}

/// Where a transfer's lanes go.
struct Reached {
    generic: [u64; LANES],
    /// Their place and addresses in it, where all go to the same one.
    same: Option<(Place, [u64; LANES])>,
}

/// Counts the traffic, and holds the alignment.
#[inline(always)]
fn reach(
    warp: &Warp,
    scene: &mut Scene,
    t: &Transfer,
    mask: u32,
    store: bool,
) -> Result<Reached, Broken> {
    let generic = addresses(&warp.registers, &t.address);
    let total = t.bytes * t.elements.len() as u64;
    let same = places(&t.address, &generic, mask);
    if let Some((place, at)) = &same {
        if scene.launch.limits.traffic {
            count(scene, *place, at, mask, total, store);
        }
        aligned(at, mask, total)?;
    }
    Ok(Reached { generic, same })
}

pub fn load(warp: &mut Warp, scene: &mut Scene, t: &Transfer, mask: u32) -> Result<(), Broken> {
    let Reached { generic, same } = reach(warp, scene, t, mask, false)?;
    let polls = t.order.strong;
    if let Some((Place::Device, at)) = &same
        && t.elements.len() == 1
        && !polls
        && load_row(warp, scene, t, at, mask)?
    {
        return Ok(());
    }
    for (index, element) in t.elements.iter().enumerate() {
        let mut values = [0; LANES];
        for lane in lanes_of(mask) {
            let (place, at) = match &same {
                Some((place, at)) => (*place, at[lane]),
                None => resolve(generic[lane]),
            };
            let from = at + index as u64 * t.bytes;
            let value = if place == Place::Device && (polls || !scene.near.holds(from)) {
                remote::load(warp, scene, lane, (from, t.bytes), t.order)?
            } else {
                read(warp, scene, place, lane, from, t.bytes)?
            };
            if polls {
                warp.poll.look(at, value, poll::LOAD);
            }
            values[lane] = if t.signed {
                sign_extended(value, t.bytes)
            } else {
                value
            };
        }
        warp.registers
            .set_bits(element.slot, element.wide, &values, mask);
    }
    Ok(())
}

pub fn store(warp: &mut Warp, scene: &mut Scene, t: &Transfer, mask: u32) -> Result<(), Broken> {
    let Reached { generic, same } = reach(warp, scene, t, mask, true)?;
    warp.poll.wrote |= !matches!(same, Some((Place::Local, _)));
    if let (Some((Place::Device, at)), [element]) = (&same, &t.elements[..])
        && !t.order.strong
        && store_row(warp, scene, *element, at, t.bytes, mask)
    {
        return Ok(());
    }
    for (index, element) in t.elements.iter().enumerate() {
        let values = warp.registers.bits(element.slot, element.wide);
        for lane in lanes_of(mask) {
            let (place, at) = match &same {
                Some((place, at)) => (*place, at[lane]),
                None => resolve(generic[lane]),
            };
            let to = at + index as u64 * t.bytes;
            if place == Place::Device && (t.order.releases || !scene.near.holds(to)) {
                let write = Write {
                    address: to,
                    bytes: t.bytes,
                    value: values[lane],
                };
                // A vector's release comes before its first element.
                let order = if index == 0 {
                    t.order
                } else {
                    Order::default()
                };
                remote::store(warp, scene, lane, write, order)?;
            } else {
                write(warp, scene, place, lane, to, t.bytes, values[lane])?;
            }
        }
    }
    Ok(())
}

fn refused(
    refusal: &Refusal,
    space: &str,
    lane: usize,
    at: u64,
    bytes: u64,
    size: usize,
) -> Broken {
    let cause = if matches!(refusal, Refusal::Misaligned) {
        Cause::Misaligned
    } else {
        Cause::IllegalAddress
    };
    Broken::at(cause, lane, refusal.describe(space, at, bytes, size))
}

/// Notes a use of shared memory where races are looked for.
pub fn watch(
    scene: &mut Scene,
    warp: usize,
    lane: usize,
    at: u64,
    bytes: u64,
    how: Use,
) -> Result<(), Broken> {
    let (Some(races), Some(clocks)) = (&mut scene.shared.races, &scene.clocks) else {
        return Ok(());
    };
    match races.note(clocks, warp, lane, at, bytes, how) {
        None => Ok(()),
        Some((other, wrote)) => {
            let [x, y, z] = super::block::position(other, scene.launch.block);
            let did = if wrote { "wrote" } else { "read" };
            let message = format!(
                "race in shared memory: {how:?} of {bytes} bytes at {at:#x}, which thread ({x},{y},{z}) {did} with no barrier between"
            );
            Err(Broken::at(Cause::Misuse, lane, message))
        }
    }
}

pub fn read(
    warp: &Warp,
    scene: &mut Scene,
    place: Place,
    lane: usize,
    at: u64,
    bytes: u64,
) -> Result<u64, Broken> {
    match place {
        Place::Device | Place::Generic => scene
            .view
            .read(at, bytes)
            .map_err(|f| Broken::memory(lane, &f)),
        Place::Shared => {
            let size = scene.shared.len();
            let refuse = |r: Refusal| refused(&r, "shared", lane, at, bytes, size);
            let (value, written) = scene.shared.read(at, bytes).map_err(refuse)?;
            if !written {
                scene.view.unwritten += bytes;
                if scene.launch.limits.strict {
                    return Err(refuse(Refusal::NeverWritten));
                }
            }
            watch(scene, warp.id, lane, at, bytes, Use::Read)?;
            Ok(value)
        }
        Place::Local => warp
            .local
            .read(lane, at, bytes)
            .map_err(|r| refused(&r, "local", lane, at, bytes, warp.local.each())),
        Place::Param => {
            let params = scene.launch.params;
            let end = at as usize + bytes as usize;
            let Some(found) = params.get(at as usize..end) else {
                return Err(refused(
                    &Refusal::OutOfBounds,
                    "parameter",
                    lane,
                    at,
                    bytes,
                    params.len(),
                ));
            };
            let mut all = [0; 8];
            all[..found.len()].copy_from_slice(found);
            Ok(u64::from_le_bytes(all))
        }
    }
}

pub fn write(
    warp: &mut Warp,
    scene: &mut Scene,
    place: Place,
    lane: usize,
    at: u64,
    bytes: u64,
    value: u64,
) -> Result<(), Broken> {
    match place {
        Place::Device | Place::Generic => scene
            .view
            .write(at, bytes, value)
            .map_err(|f| Broken::memory(lane, &f)),
        Place::Shared => {
            let size = scene.shared.len();
            scene
                .shared
                .write(at, bytes, value)
                .map_err(|r| refused(&r, "shared", lane, at, bytes, size))?;
            watch(scene, warp.id, lane, at, bytes, Use::Write)
        }
        Place::Local => {
            let each = warp.local.each();
            warp.local
                .write(lane, at, bytes, value)
                .map_err(|r| refused(&r, "local", lane, at, bytes, each))
        }
        Place::Param => Err(Broken::at(
            Cause::IllegalAddress,
            lane,
            "a kernel's parameters cannot be written",
        )),
    }
}

/// The message of a device-side assertion, from the pointers among its parameters.
pub fn assertion(warp: &Warp, scene: &mut Scene, lane: usize, at: u64) -> String {
    const LONGEST: u64 = 500;
    let mut text = |offset: u64| {
        let pointer = warp.local.read(lane, at + offset, 8).unwrap_or(0);
        let bytes =
            (0..LONGEST).map_while(|n| scene.view.read(pointer + n, 1).ok().filter(|b| *b != 0));
        String::from_utf8_lossy(&bytes.map(|b| b as u8).collect::<Vec<_>>()).into_owned()
    };
    let (message, file) = (text(0), text(8));
    let line = warp.local.read(lane, at + 16, 4).unwrap_or(0);
    format!("{message} ({file}:{line})")
}
