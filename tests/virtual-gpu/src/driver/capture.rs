//! Stream capture: work goes into a list in place of a stream, and what a real driver refuses is refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::codes;
use super::work::Work;
use super::world::{Capture, Graph, Mode, World};

/// Adds a captured stream's work.
pub fn add(world: &mut World, capture: u64, stream: u64, work: Work) -> Result<(), i32> {
    let capture = world
        .captures
        .get_mut(&capture)
        .ok_or(codes::ERROR_STREAM_CAPTURE_INVALIDATED)?;
    if capture.invalid {
        return Err(codes::ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    capture.works.push(work);
    capture.forks.entry(stream).or_default().0 += 1;
    Ok(())
}

pub fn begin(world: &mut World, stream: u64, mode: Mode) -> Result<(), i32> {
    let found = world
        .streams
        .get(&stream)
        .ok_or(codes::ERROR_INVALID_HANDLE)?;
    // The legacy stream cannot be captured: everything waits for it.
    if stream == world.legacy(found.device) {
        return Err(codes::ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    if found.capture.is_some() {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    let id = world.handle();
    let capture = Capture {
        origin: stream,
        thread: std::thread::current().id(),
        mode,
        works: Vec::new(),
        invalid: false,
        forks: HashMap::from([(stream, (0, 0))]),
        allocations: Vec::new(),
    };
    world.captures.insert(id, capture);
    if let Some(stream) = world.streams.get_mut(&stream) {
        stream.capture = Some(id);
    }
    Ok(())
}

pub fn end(world: &mut World, stream: u64) -> Result<u64, i32> {
    let found = world
        .streams
        .get(&stream)
        .ok_or(codes::ERROR_INVALID_HANDLE)?;
    let device = found.device;
    let id = found.capture.ok_or(codes::ERROR_INVALID_VALUE)?;
    let capture = world
        .captures
        .get(&id)
        .ok_or(codes::ERROR_STREAM_CAPTURE_INVALIDATED)?;
    if capture.origin != stream {
        return Err(codes::ERROR_STREAM_CAPTURE_UNMATCHED);
    }
    if capture.mode != Mode::Relaxed && capture.thread != std::thread::current().id() {
        return Err(codes::ERROR_STREAM_CAPTURE_WRONG_THREAD);
    }
    let Some(capture) = world.captures.remove(&id) else {
        return Err(codes::ERROR_STREAM_CAPTURE_INVALIDATED);
    };
    for stream in world.streams.values_mut().filter(|s| s.capture == Some(id)) {
        stream.capture = None;
    }
    if capture.invalid {
        return Err(codes::ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    if capture
        .forks
        .iter()
        .any(|(fork, (done, joined))| *fork != stream && joined < done)
    {
        return Err(codes::ERROR_STREAM_CAPTURE_UNJOINED);
    }
    let graph = world.handle();
    let allocations: HashSet<u64> = capture.allocations.into_iter().collect();
    world.graphs.insert(
        graph,
        Graph {
            works: capture.works,
            allocations: Arc::new(allocations),
            device,
        },
    );
    Ok(graph)
}

/// An event is recorded in a capturing stream.
pub fn record(world: &mut World, capture: u64, stream: u64, event: u64) -> Result<(), i32> {
    let captured = world
        .captures
        .get(&capture)
        .ok_or(codes::ERROR_STREAM_CAPTURE_INVALIDATED)?;
    let so_far = captured.forks.get(&stream).map_or(0, |f| f.0);
    let event = world
        .events
        .get_mut(&event)
        .ok_or(codes::ERROR_INVALID_HANDLE)?;
    event.captured = Some((capture, stream, so_far));
    event.recorded = None;
    Ok(())
}

/// A stream waits for an event, one of them captured. `Ok(true)` if nothing else is to be done.
pub fn wait(world: &mut World, stream: u64, event: u64) -> Result<bool, i32> {
    let waiting = world
        .streams
        .get(&stream)
        .ok_or(codes::ERROR_INVALID_HANDLE)?
        .capture;
    let from = world
        .events
        .get(&event)
        .ok_or(codes::ERROR_INVALID_HANDLE)?
        .captured;
    match (waiting, from) {
        (None, None) => Ok(false),
        // A capture cannot depend on work that is not part of it.
        (Some(capture), None) => {
            invalidate(world, capture);
            Err(codes::ERROR_STREAM_CAPTURE_ISOLATION)
        }
        (Some(mine), Some((theirs, ..))) if mine != theirs => {
            invalidate(world, mine);
            invalidate(world, theirs);
            Err(codes::ERROR_STREAM_CAPTURE_MERGE)
        }
        (_, Some((capture, recorded_in, so_far))) => {
            let Some(captured) = world.captures.get_mut(&capture) else {
                return Err(codes::ERROR_CAPTURED_EVENT);
            };
            captured.forks.entry(stream).or_default();
            if let Some(fork) = captured.forks.get_mut(&recorded_in) {
                fork.1 = fork.1.max(so_far);
            }
            if let Some(stream) = world.streams.get_mut(&stream) {
                stream.capture = Some(capture);
            }
            Ok(true)
        }
    }
}

pub fn invalidate(world: &mut World, capture: u64) {
    if let Some(capture) = world.captures.get_mut(&capture) {
        capture.invalid = true;
    }
}

/// A stream is to be waited for or asked: not while it is captured.
pub fn refuse_stream(world: &mut World, stream: u64) -> Result<(), i32> {
    match world.streams.get(&stream).and_then(|s| s.capture) {
        None => Ok(()),
        Some(capture) => {
            invalidate(world, capture);
            Err(codes::ERROR_STREAM_CAPTURE_UNSUPPORTED)
        }
    }
}

/// A call that may wait for the device, or changes its memory at once: not while this thread captures
/// (or any, in global mode).
pub fn refuse_unsafe(world: &mut World) -> Result<(), i32> {
    let here = std::thread::current().id();
    let hit = world.captures.iter().find(|(_, c)| match c.mode {
        Mode::Global => true,
        Mode::ThreadLocal => c.thread == here,
        Mode::Relaxed => false,
    });
    let Some((&id, _)) = hit else { return Ok(()) };
    invalidate(world, id);
    Err(codes::ERROR_STREAM_CAPTURE_UNSUPPORTED)
}

/// A call on the legacy stream, which would wait for a captured one.
pub fn refuse_implicit(world: &mut World, device: usize) -> Result<(), i32> {
    let hit = world
        .streams
        .values()
        .find(|s| s.device == device && s.blocking && s.capture.is_some());
    let Some(id) = hit.and_then(|s| s.capture) else {
        return Ok(());
    };
    invalidate(world, id);
    Err(codes::ERROR_STREAM_CAPTURE_IMPLICIT)
}

/// The graph's work, for a launch. Waits within it are kept by its order.
pub fn works(graph: &Graph) -> Vec<Work> {
    let keep = |w: &&Work| !matches!(w, Work::Wait { .. });
    graph.works.iter().filter(keep).cloned().collect()
}
