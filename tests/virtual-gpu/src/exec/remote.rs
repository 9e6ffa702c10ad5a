//! Memory of the host and of other devices, as a kernel's threads see it. Stores are on their way for a while and
//! overtake each other; loads without an order may find what a cache still has. Fences, releases, acquires and
//! barriers order them as PTX's memory model says, and no more.

use super::access::lanes_of;
use super::block::{Scene, roll};
use super::fault::Broken;
use super::order::{Order, Scope};
use super::registers::ALL;
use super::sight::Near;
use super::under_way::{Remote, Stored, Thread, UnderWay};
use super::warp::Warp;
use crate::memory::{GRANULE, Write};

/// One store in so many lets one that is on its way arrive.
const ARRIVES_ONE_IN: u64 = 4;
/// One load in so many looks anew at what a cache holds.
const LOOKS_ANEW_ONE_IN: u64 = 8;

fn thread(warp: &Warp, scene: &Scene, lane: usize) -> Thread {
    Thread {
        block: scene.block,
        warp: warp.id,
        lane,
    }
}

/// After an acquire: what has arrived by now, or by when those looked who told this thread.
fn acquire(remote: &Remote, scene: &mut Scene, warp: usize, lane: usize, scope: Scope) {
    let looked = match remote.reach(scope) {
        Scope::System => remote.bus.time(),
        Scope::Device => scene.sight.told.max(remote.under_way().told),
        Scope::Block => scene.sight.told,
    };
    let mine = &mut scene.sight.of(warp, remote.began)[lane];
    *mine = looked.max(*mine);
}

fn release(remote: &Remote, scene: &mut Scene, warp: &Warp, lane: usize, scope: Scope) {
    let looked = scene.sight.of(warp.id, remote.began)[lane];
    scene.sight.told = scene.sight.told.max(looked);
    let thread = thread(warp, scene, lane);
    remote.release(
        &mut remote.under_way(),
        &mut scene.view,
        thread,
        remote.reach(scope),
        looked,
    );
}

pub fn fence(warp: &Warp, scene: &mut Scene, order: Order, mask: u32) {
    let Some(remote) = scene.launch.remote else {
        return;
    };
    for lane in lanes_of(mask) {
        release(remote, scene, warp, lane, order.scope);
        acquire(remote, scene, warp.id, lane, order.scope);
    }
}

pub fn load(
    warp: &Warp,
    scene: &mut Scene,
    lane: usize,
    (address, bytes): (u64, u64),
    order: Order,
) -> Result<u64, Broken> {
    let now = scene
        .view
        .read(address, bytes)
        .map_err(|f| Broken::memory(lane, &f))?;
    let Some(remote) = scene.launch.remote else {
        return Ok(now);
    };
    scene.near = Near::of(remote);
    let granule = address / GRANULE;
    let time = remote.bus.time();
    let value = if order.strong {
        scene.sight.cached.insert(granule, time);
        if order.acquires {
            acquire(remote, scene, warp.id, lane, order.scope);
        }
        now
    } else {
        let looked = scene.sight.of(warp.id, remote.began)[lane];
        let way = &mut remote.under_way();
        let held = scene.sight.cached.get(&granule).copied();
        let fetched = match held.filter(|t| *t >= looked) {
            Some(held) if !roll(&mut way.random).is_multiple_of(LOOKS_ANEW_ONE_IN) => held,
            // It may have been fetched at any time since.
            held => {
                let since = held.unwrap_or(looked);
                since + roll(&mut way.random) % (time.saturating_sub(since) + 1)
            }
        };
        scene.sight.cached.insert(granule, fetched);
        remote
            .bus
            .as_of(fetched, remote.writer(scene.block), address, bytes, now)
    };
    let thread = thread(warp, scene, lane);
    Ok(remote.with_own(&remote.under_way(), thread, (address, bytes), value))
}

pub fn store(
    warp: &Warp,
    scene: &mut Scene,
    lane: usize,
    write: Write,
    order: Order,
) -> Result<(), Broken> {
    let broken = |f| Broken::memory(lane, &f);
    let Some(remote) = scene.launch.remote else {
        return scene
            .view
            .write(write.address, write.bytes, write.value)
            .map_err(broken);
    };
    if order.releases {
        release(remote, scene, warp, lane, order.scope);
    }
    if scene.near.own.contains(&write.address) {
        remote.bus.forget(write.address, write.bytes);
        return scene
            .view
            .write(write.address, write.bytes, write.value)
            .map_err(broken);
    }
    scene
        .view
        .check(write.address, write.bytes)
        .map_err(broken)?;
    let thread = thread(warp, scene, lane);
    scene.sight.of(warp.id, remote.began);
    let mut way = remote.under_way();
    way.stores.push(Stored {
        write,
        thread,
        told: 0,
        device: false,
    });
    if roll(&mut way.random).is_multiple_of(ARRIVES_ONE_IN) {
        remote.let_one_arrive(&mut way, &mut scene.view);
    }
    Ok(())
}

/// A change by one thread. It is one step for the whole system only at that scope, where the link can do it.
pub fn change(
    warp: &Warp,
    scene: &mut Scene,
    lane: usize,
    (address, bytes): (u64, u64),
    order: Order,
    change: impl Fn(u64) -> u64,
) -> Result<u64, Broken> {
    let broken = |f| Broken::memory(lane, &f);
    let Some(remote) = scene.launch.remote else {
        return scene.view.update(address, bytes, change).map_err(broken);
    };
    if order.releases {
        release(remote, scene, warp, lane, order.scope);
    }
    let thread = thread(warp, scene, lane);
    let mut way = remote.under_way();
    let before = if scene.near.own.contains(&address) {
        remote.bus.forget(address, bytes);
        scene.view.update(address, bytes, change).map_err(broken)?
    } else if remote.changes_at_once(address, order.scope) {
        let mut due = UnderWay {
            stores: Vec::new(),
            random: way.random,
            told: 0,
        };
        let (mine, kept) = way
            .stores
            .drain(..)
            .partition(|s| s.write.meets(address, bytes));
        (due.stores, way.stores) = (mine, kept);
        while remote.let_one_arrive(&mut due, &mut scene.view) {}
        remote
            .bus
            .change(
                &mut scene.view,
                remote.writer(scene.block),
                (address, bytes),
                change,
            )
            .map_err(broken)?
    } else {
        let now = scene.view.read(address, bytes).map_err(broken)?;
        let before = remote.with_own(&way, thread, (address, bytes), now);
        let write = Write {
            address,
            bytes,
            value: change(before),
        };
        scene.sight.of(warp.id, remote.began);
        way.stores.push(Stored {
            write,
            thread,
            told: 0,
            device: false,
        });
        before
    };
    drop(way);
    if order.acquires {
        acquire(remote, scene, warp.id, lane, order.scope);
    }
    Ok(before)
}

/// A mask of lanes that a warp barrier joins.
pub fn warp_barrier(scene: &mut Scene, warp: usize, lanes: u32) {
    if let Some(remote) = scene.launch.remote
        && scene.sight.used()
    {
        scene
            .sight
            .warp_barrier(remote, scene.block, warp, lanes & ALL);
    }
}
