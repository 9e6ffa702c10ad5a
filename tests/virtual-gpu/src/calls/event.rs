//! Events. Their times are pretended: work takes as long as its size says, never what it would take.

use super::{device_now, export, put, stream_now};
use crate::driver::engine::Until;
use crate::driver::work::Work;
use crate::driver::world::Event;
use crate::driver::{capture, codes, driver};

const DISABLE_TIMING: u32 = 2;
/// Of `CUevent_record_flags`.
const EXTERNAL: u32 = 1;
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

fn record(event: u64, stream: u64) -> Result<(), i32> {
    let (_, id) = stream_now(stream)?;
    let mut world = driver().world();
    if !world.events.contains_key(&event) {
        return Err(codes::ERROR_INVALID_HANDLE);
    }
    if let Some(capture) = world.streams[&id].capture {
        return capture::record(&mut world, capture, id, event);
    }
    driver().enqueue_in(&mut world, id, Work::Record(event))?;
    let enqueued = world.streams[&id].enqueued;
    if let Some(event) = world.events.get_mut(&event) {
        event.recorded = Some((id, enqueued));
        event.captured = None;
    }
    Ok(())
}

/// A node of the graph: each launch records it anew.
fn record_in_graph(event: u64, stream: u64) -> Result<(), i32> {
    let (_, id) = stream_now(stream)?;
    let mut world = driver().world();
    if !world.events.contains_key(&event) {
        return Err(codes::ERROR_INVALID_HANDLE);
    }
    let capture = world.streams[&id]
        .capture
        .ok_or(codes::ERROR_INVALID_VALUE)?;
    capture::add(&mut world, capture, id, Work::Record(event))
}

/// Is what was recorded done? Then when.
fn done(event: u64) -> Result<Option<u64>, i32> {
    let world = driver().world();
    let event = world
        .events
        .get(&event)
        .ok_or(codes::ERROR_INVALID_HANDLE)?;
    if let Some(error) = world.cards[event.device].error {
        return Err(error);
    }
    let (stream, until) = event.recorded.ok_or(codes::ERROR_INVALID_HANDLE)?;
    let over = world.streams.get(&stream).is_none_or(|s| s.done >= until);
    Ok(over.then_some(event.at))
}

fn elapsed(milliseconds: *mut f32, start: u64, end: u64) -> Result<(), i32> {
    let timed = |event: u64| driver().world().events.get(&event).is_some_and(|e| e.timed);
    if !timed(start) || !timed(end) {
        return Err(codes::ERROR_INVALID_HANDLE);
    }
    let (Some(start), Some(end)) = (done(start)?, done(end)?) else {
        return Err(codes::ERROR_NOT_READY);
    };
    put(
        milliseconds,
        ((end as f64 - start as f64) / NANOSECONDS_PER_MILLISECOND) as f32,
    )
}

export! {
    fn cuEventCreate(event: *mut u64, flags: u32) {
        let device = device_now()?;
        let mut world = driver().world();
        let id = world.handle();
        world.events.insert(id, Event { device, timed: flags & DISABLE_TIMING == 0, ..Event::default() });
        put(event, id)
    }
    fn cuEventDestroy_v2(event: u64) {
        driver().world().events.remove(&event).map(|_| ()).ok_or(codes::ERROR_INVALID_HANDLE)
    }
    fn cuEventRecord(event: u64, stream: u64) {
        record(event, stream)
    }
    fn cuEventRecordWithFlags(event: u64, stream: u64, flags: u32) {
        match flags {
            0 => record(event, stream),
            EXTERNAL => record_in_graph(event, stream),
            _ => Err(codes::ERROR_INVALID_VALUE),
        }
    }
    fn cuEventSynchronize(event: u64) {
        let world = driver().world();
        let found = world.events.get(&event).ok_or(codes::ERROR_INVALID_HANDLE)?;
        if found.captured.is_some() {
            return Err(codes::ERROR_CAPTURED_EVENT);
        }
        if let Some(error) = world.cards[found.device].error {
            return Err(error);
        }
        match found.recorded {
            None => Ok(()),
            Some((stream, until)) => driver().drain(world, Until::Stream(stream, until)),
        }
    }
    fn cuEventQuery(event: u64) {
        let world = driver().world();
        let found = world.events.get(&event).ok_or(codes::ERROR_INVALID_HANDLE)?;
        if found.captured.is_some() {
            return Err(codes::ERROR_CAPTURED_EVENT);
        }
        if let Some(error) = world.cards[found.device].error {
            return Err(error);
        }
        let Some((stream, until)) = found.recorded else { return Ok(()) };
        let Some(now) = world.streams.get(&stream).map(|s| s.done) else { return Ok(()) };
        if now >= until {
            return Ok(());
        }
        let device = found.device;
        driver().nudge(world, Until::Stream(stream, until));
        Err(driver().world().cards[device].error.unwrap_or(codes::ERROR_NOT_READY))
    }
    /// Not of CUDA: what kernels had moved on the event's device when it happened.
    fn vgpuEventBytes(event: u64, bytes: *mut u64) {
        if !driver().config.traffic {
            return Err(codes::ERROR_NOT_SUPPORTED);
        }
        done(event)?.ok_or(codes::ERROR_NOT_READY)?;
        let world = driver().world();
        let event = world.events.get(&event).ok_or(codes::ERROR_INVALID_HANDLE)?;
        put(bytes, event.bytes)
    }
    fn cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64) {
        elapsed(milliseconds, start, end)
    }
    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: u64, end: u64) {
        elapsed(milliseconds, start, end)
    }
}
