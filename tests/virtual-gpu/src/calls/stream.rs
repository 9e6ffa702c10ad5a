//! Streams and their capture.

use std::sync::Arc;

use super::{device_now, export, put, stream_now};
use crate::driver::engine::Until;
use crate::driver::work::Work;
use crate::driver::world::Mode;
use crate::driver::{Driver, capture, codes, driver};

const NON_BLOCKING: u32 = 1;

/// Of `CUstreamCaptureStatus`.
const NOT_CAPTURING: i32 = 0;
const CAPTURING: i32 = 1;
const INVALIDATED: i32 = 2;

fn create(flags: u32, priority: i32) -> Result<u64, i32> {
    let device = device_now()?;
    Ok(driver()
        .world()
        .new_stream(device, flags & NON_BLOCKING == 0, priority))
}

fn capture_of(stream: u64) -> Result<(i32, u64), i32> {
    let (_, id) = stream_now(stream)?;
    let world = driver().world();
    Ok(match world.streams[&id].capture {
        None => (NOT_CAPTURING, 0),
        Some(capture) => match world.captures.get(&capture) {
            Some(c) if !c.invalid => (CAPTURING, capture),
            _ => (INVALIDATED, capture),
        },
    })
}

type HostFunction = extern "C" fn(*mut u8);

export! {
    fn cuStreamCreate(stream: *mut u64, flags: u32) {
        put(stream, create(flags, 0)?)
    }
    fn cuStreamCreateWithPriority(stream: *mut u64, flags: u32, priority: i32) {
        put(stream, create(flags, priority)?)
    }
    fn cuStreamDestroy_v2(stream: u64) {
        let (_, id) = stream_now(stream)?;
        let world = driver().world();
        // Its work is still done, if the device does any; the real call does not wait either.
        if world.cards[world.streams[&id].device].hangs {
            return Ok(());
        }
        let until = Until::Stream(id, world.streams[&id].enqueued);
        driver().drain(world, until)?;
        driver().world().streams.remove(&id);
        Ok(())
    }
    fn cuStreamSynchronize(stream: u64) {
        let (device, id) = stream_now(stream)?;
        let mut world = driver().world();
        capture::refuse_stream(&mut world, id)?;
        let until = Until::Stream(id, world.streams[&id].enqueued);
        driver().drain(world, until)?;
        driver().world().trim(device);
        Ok(())
    }
    fn cuStreamQuery(stream: u64) {
        let (device, id) = stream_now(stream)?;
        let mut world = driver().world();
        capture::refuse_stream(&mut world, id)?;
        let (done, enqueued) = (world.streams[&id].done, world.streams[&id].enqueued);
        if done == enqueued {
            return Ok(());
        }
        driver().nudge(world, Until::Stream(id, enqueued));
        Err(driver().world().cards[device].error.unwrap_or(codes::ERROR_NOT_READY))
    }
    fn cuStreamWaitEvent(stream: u64, event: u64, _flags: u32) {
        let (_, id) = stream_now(stream)?;
        let mut world = driver().world();
        if capture::wait(&mut world, id, event)? {
            return Ok(());
        }
        // An event that was never recorded is over.
        match world.events.get(&event).and_then(|e| e.recorded) {
            None => Ok(()),
            Some((stream, done)) => {
                driver().enqueue_in(&mut world, id, Work::Wait { stream, done })
            }
        }
    }
    fn cuStreamGetPriority(stream: u64, priority: *mut i32) {
        let (_, id) = stream_now(stream)?;
        put(priority, driver().world().streams[&id].priority)
    }
    fn cuStreamGetFlags(stream: u64, flags: *mut u32) {
        let (_, id) = stream_now(stream)?;
        put(flags, if driver().world().streams[&id].blocking { 0 } else { NON_BLOCKING })
    }
    fn cuStreamGetDevice(stream: u64, device: *mut i32) {
        put(device, stream_now(stream)?.0 as i32)
    }
    fn cuStreamBeginCapture_v2(stream: u64, mode: i32) {
        let (_, id) = stream_now(stream)?;
        let mode = match mode {
            0 => Mode::Global,
            1 => Mode::ThreadLocal,
            2 => Mode::Relaxed,
            _ => return Err(codes::ERROR_INVALID_VALUE),
        };
        capture::begin(&mut driver().world(), id, mode)
    }
    fn cuStreamEndCapture(stream: u64, graph: *mut u64) {
        let (_, id) = stream_now(stream)?;
        let ended = capture::end(&mut driver().world(), id);
        put(graph, ended.unwrap_or(0))?;
        ended.map(|_| ())
    }
    fn cuStreamIsCapturing(stream: u64, status: *mut i32) {
        put(status, capture_of(stream)?.0)
    }
    fn cuStreamGetCaptureInfo_v3(stream: u64, status: *mut i32, id: *mut u64, graph: *mut u64, nodes: *mut u64, edges: *mut u64, count: *mut usize) {
        let (now, capture) = capture_of(stream)?;
        super::offer(id, capture);
        super::offer(graph, 0);
        super::offer(nodes, 0);
        super::offer(edges, 0);
        super::offer(count, 0);
        put(status, now)
    }
    fn cuThreadExchangeStreamCaptureMode(mode: *mut i32) {
        put(mode, 0)
    }
    fn cuLaunchHostFunc(stream: u64, function: HostFunction, data: u64) {
        let (_, id) = stream_now(stream)?;
        let run = move |_: &Driver, _: usize| {
            function(data as *mut u8);
            Ok(0)
        };
        driver().enqueue(id, Work::Run(Arc::new(run)))
    }
}
