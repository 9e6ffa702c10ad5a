//! Graphs: what was captured, launched again and again.

use std::collections::HashSet;

use super::{export, put, stream_now};
use crate::driver::kernels::release;
use crate::driver::work::Work;
use crate::driver::world::{Graph, World};
use crate::driver::{capture, codes, driver};

fn instantiate(executable: *mut u64, graph: u64) -> Result<(), i32> {
    let mut world = driver().world();
    let found = world
        .graphs
        .get(&graph)
        .cloned()
        .ok_or(codes::ERROR_INVALID_VALUE)?;
    let id = world.handle();
    world.executables.insert(id, found);
    put(executable, id)
}

/// Gives back memory of a graph that nothing else holds.
fn settle(world: &mut World, gone: &Graph) {
    let others: HashSet<u64> = world
        .graphs
        .values()
        .chain(world.executables.values())
        .flat_map(|g| g.allocations.iter().copied())
        .collect();
    for address in gone.allocations.iter().filter(|a| !others.contains(a)) {
        release(world, *address);
    }
}

export! {
    fn cuGraphInstantiateWithFlags(executable: *mut u64, graph: u64, _flags: u64) {
        instantiate(executable, graph)
    }
    fn cuGraphInstantiateWithParams(executable: *mut u64, graph: u64, _params: u64) {
        instantiate(executable, graph)
    }
    fn cuGraphLaunch(executable: u64, stream: u64) {
        let (_, id) = stream_now(stream)?;
        let mut world = driver().world();
        let graph = world.executables.get(&executable).ok_or(codes::ERROR_INVALID_VALUE)?;
        for work in capture::works(graph) {
            let recorded = match work {
                Work::Record(event) => Some(event),
                _ => None,
            };
            driver().enqueue_in(&mut world, id, work)?;
            let enqueued = world.streams[&id].enqueued;
            if let Some(event) = recorded.and_then(|event| world.events.get_mut(&event)) {
                event.recorded = Some((id, enqueued));
            }
        }
        Ok(())
    }
    fn cuGraphUpload(executable: u64, stream: u64) {
        stream_now(stream)?;
        let known = driver().world().executables.contains_key(&executable);
        if known { Ok(()) } else { Err(codes::ERROR_INVALID_VALUE) }
    }
    fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize) {
        let world = driver().world();
        let graph = world.graphs.get(&graph).ok_or(codes::ERROR_INVALID_VALUE)?;
        if !nodes.is_null() {
            return Err(codes::ERROR_NOT_SUPPORTED); // nodes have no handles here
        }
        put(count, capture::works(graph).len())
    }
    fn cuGraphDestroy(graph: u64) {
        let mut world = driver().world();
        let gone = world.graphs.remove(&graph).ok_or(codes::ERROR_INVALID_VALUE)?;
        settle(&mut world, &gone);
        driver().changed();
        Ok(())
    }
    fn cuGraphExecDestroy(executable: u64) {
        let mut world = driver().world();
        let gone = world.executables.remove(&executable).ok_or(codes::ERROR_INVALID_VALUE)?;
        settle(&mut world, &gone);
        driver().changed();
        Ok(())
    }
    fn cuDeviceGraphMemTrim(_device: i32) {
        Ok(())
    }
}
