//! `cp.async`: copies to shared memory that are done only when a wait says so, as late as allowed.

use super::access::{Address, addresses, lanes_of, watch};
use super::block::Scene;
use super::fault::Broken;
use super::races::Use;
use super::registers::{LANES, Slot};
use super::warp::Warp;
use super::windows::{Place, resolve};

const PIECE: u64 = 4;

pub struct CopyAsync {
    pub to: Address,
    pub from: Address,
    pub bytes: u64,
    /// Bytes to read, the rest is zero; or a predicate that makes all of it zero.
    pub source_bytes: Option<Slot>,
    pub ignore: Option<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    lane: usize,
    to: u64,
    from: u64,
    bytes: u64,
    read: u64,
}

/// What a warp's lanes have begun: an open group, and closed ones in order.
#[derive(Default)]
pub struct Copies {
    open: Vec<Pending>,
    groups: Vec<Vec<Pending>>,
}

impl Copies {
    /// Closes the group of these lanes.
    pub fn commit(&mut self, mask: u32) {
        let (closed, open) = self.open.drain(..).partition(|p| mask >> p.lane & 1 != 0);
        self.open = open;
        self.groups.push(closed);
    }
}

pub fn start(
    warp: &mut Warp,
    scene: &mut Scene,
    form: &CopyAsync,
    mask: u32,
) -> Result<(), Broken> {
    let to = addresses(&warp.registers, &form.to);
    let from = addresses(&warp.registers, &form.from);
    if scene.launch.limits.traffic {
        scene
            .counters
            .loads
            .count(&from.map(|a| resolve(a).1), mask, form.bytes);
    }
    for lane in lanes_of(mask) {
        let mut read = form.source_bytes.map_or(form.bytes, |slot| {
            warp.registers.bit(slot, false, lane).min(form.bytes)
        });
        if let Some(slot) = form.ignore
            && warp.registers.predicates[slot as usize] >> lane & 1 != 0
        {
            read = 0;
        }
        let target = if form.to.place == Place::Generic {
            resolve(to[lane]).1
        } else {
            to[lane]
        };
        let copy = Pending {
            lane,
            to: target,
            from: from[lane],
            bytes: form.bytes,
            read,
        };
        if !copy.to.is_multiple_of(copy.bytes) || read != 0 && !copy.from.is_multiple_of(copy.bytes)
        {
            let message = format!(
                "cp.async of {} bytes from {:#x} to {:#x} is not aligned",
                copy.bytes, copy.from, copy.to
            );
            return Err(Broken::at(super::fault::Cause::Misaligned, lane, message));
        }
        if read > 0 {
            // It may be done at once.
            let touched = scene.view.touch(copy.from, read, false);
            touched.map_err(|f| Broken::memory(lane, &f))?;
        }
        warp.copies.open.push(copy);
    }
    Ok(())
}

/// Does all but the newest `keep` groups; with `usize::MAX` all that was ever begun.
pub fn wait(warp: &mut Warp, scene: &mut Scene, keep: usize, mask: u32) -> Result<(), Broken> {
    if keep == usize::MAX {
        warp.copies.commit(mask);
    }
    let keep = if keep == usize::MAX { 0 } else { keep };
    let due = warp.copies.groups.len().saturating_sub(keep);
    let groups: Vec<_> = warp.copies.groups.drain(..due).collect();
    for copy in groups.into_iter().flatten() {
        finish(warp.id, scene, &copy)?;
    }
    Ok(())
}

fn finish(warp: usize, scene: &mut Scene, copy: &Pending) -> Result<(), Broken> {
    for at in (0..copy.bytes).step_by(PIECE as usize) {
        let value = if at < copy.read {
            let value = scene
                .view
                .read(copy.from + at, PIECE)
                .map_err(|f| Broken::memory(copy.lane, &f))?;
            // A size that is no multiple of a piece ends inside one.
            let kept = (copy.read - at).min(PIECE) as u32 * 8;
            if kept < u32::BITS {
                value & ((1 << kept) - 1)
            } else {
                value
            }
        } else {
            0
        };
        let size = scene.shared.len();
        scene
            .shared
            .write(copy.to + at, PIECE, value)
            .map_err(|r| {
                Broken::at(
                    super::fault::Cause::IllegalAddress,
                    copy.lane,
                    r.describe("shared", copy.to + at, PIECE, size),
                )
            })?;
        watch(
            scene,
            warp,
            copy.lane % LANES,
            copy.to + at,
            PIECE,
            Use::Write,
        )?;
    }
    Ok(())
}
