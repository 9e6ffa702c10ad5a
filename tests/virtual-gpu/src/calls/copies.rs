//! Copies and fills. A copy from pageable memory takes its bytes at the call, as CUDA states; one from or
//! to pinned memory takes them when it runs; one to pageable memory returns when it is done.

use std::sync::Arc;

use super::{device_now, export, host, host_mut, stream_now};
use crate::driver::engine::{LEAST_TIME, Until};
use crate::driver::work::{Failure, Job, Work};
use crate::driver::{Driver, capture, codes, driver};
use crate::memory::{Fault, View, device_of};

/// Bytes a nanosecond, pretended: over PCIe and within a card.
const BUS: u64 = 25;
const CARD: u64 = 400;

const LEGACY: u64 = 0;
/// What comes to the host where nothing was computed: as a float of any width a small number, so that programs go on.
const UNBACKED: u8 = 0x80;

fn failure(fault: &Fault, what: &str) -> Failure {
    Failure::new(codes::ERROR_ILLEGAL_ADDRESS, format!("{what}: {fault}"))
}

/// Is this host memory that the driver knows as pinned?
fn pinned(address: u64) -> bool {
    driver()
        .world()
        .space
        .map()
        .containing(address)
        .is_some_and(|r| r.device.is_none())
}

/// A range must lie in one allocation when the call is made.
fn known(address: u64, bytes: usize) -> Result<(), i32> {
    let map = driver().world().space.map();
    let region = map.containing(address).ok_or(codes::ERROR_INVALID_VALUE)?;
    if address + bytes as u64 <= region.end() {
        Ok(())
    } else {
        Err(codes::ERROR_INVALID_VALUE)
    }
}

fn job(
    run: impl Fn(&mut View) -> Result<(), Failure> + Send + Sync + 'static,
    nanoseconds: u64,
) -> Job {
    Arc::new(move |driver: &Driver, _| {
        run(&mut driver.view())?;
        Ok(nanoseconds + LEAST_TIME)
    })
}

/// Puts it in the stream, and with `wait` returns when it is done.
fn submit(stream: u64, work: Job, wait: bool) -> Result<(), i32> {
    let (device, id) = stream_now(stream)?;
    let driver = driver();
    if stream == LEGACY {
        capture::refuse_implicit(&mut driver.world(), device)?;
    }
    driver.enqueue(id, Work::Run(work))?;
    let world = driver.world();
    if !wait || world.streams[&id].capture.is_some() {
        return Ok(());
    }
    let until = Until::Stream(id, world.streams[&id].enqueued);
    driver.drain(world, until)
}

fn capturing(stream: u64) -> Result<bool, i32> {
    let (_, id) = stream_now(stream)?;
    Ok(driver().world().streams[&id].capture.is_some())
}

fn to_device(to: u64, from: u64, bytes: usize, stream: u64, wait: bool) -> Result<(), i32> {
    if bytes == 0 {
        return device_now().map(|_| ());
    }
    if from == 0 {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    known(to, bytes)?;
    let nanoseconds = bytes as u64 / BUS;
    let what = "copy to the device";
    let work = if pinned(from) || capturing(stream)? {
        job(
            move |view| {
                view.copy_in(to, host(from, bytes))
                    .map_err(|f| failure(&f, what))
            },
            nanoseconds,
        )
    } else {
        driver().unlocked(device_now()?, "a copy from pageable memory")?;
        let staged = match driver().config.unbacked {
            true => Vec::new(),
            false => host(from, bytes).to_vec(),
        };
        job(
            move |view| view.copy_in(to, &staged).map_err(|f| failure(&f, what)),
            nanoseconds,
        )
    };
    submit(stream, work, wait)
}

fn to_host(to: u64, from: u64, bytes: usize, stream: u64, wait: bool) -> Result<(), i32> {
    if bytes == 0 {
        return device_now().map(|_| ());
    }
    if to == 0 {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    known(from, bytes)?;
    let pageable = !pinned(to);
    if pageable {
        driver().unlocked(device_now()?, "a copy to pageable memory")?;
    }
    let wait = wait || pageable;
    if driver().config.unbacked {
        host_mut(to, bytes).fill(UNBACKED);
    }
    let copy = move |view: &mut View| {
        view.copy_out(from, host_mut(to, bytes))
            .map_err(|f| failure(&f, "copy to the host"))
    };
    submit(stream, job(copy, bytes as u64 / BUS), wait)
}

fn within(to: u64, from: u64, bytes: usize, stream: u64, wait: bool) -> Result<(), i32> {
    if bytes == 0 {
        return device_now().map(|_| ());
    }
    known(to, bytes)?;
    known(from, bytes)?;
    let copy = move |view: &mut View| {
        view.copy(to, from, bytes as u64)
            .map_err(|f| failure(&f, "copy within devices"))
    };
    submit(stream, job(copy, bytes as u64 / CARD), wait)
}

/// Each side by its address.
fn unified(to: u64, from: u64, bytes: usize, stream: u64, wait: bool) -> Result<(), i32> {
    match (device_of(to).is_some(), device_of(from).is_some()) {
        (true, true) => within(to, from, bytes, stream, wait),
        (true, false) => to_device(to, from, bytes, stream, wait),
        (false, true) => to_host(to, from, bytes, stream, wait),
        (false, false) => {
            let copy = move |_: &mut View| {
                host_mut(to, bytes).copy_from_slice(host(from, bytes));
                Ok(())
            };
            submit(stream, job(copy, 0), true)
        }
    }
}

fn fill(to: u64, value: &[u8], count: usize, stream: u64, wait: bool) -> Result<(), i32> {
    if count == 0 {
        return device_now().map(|_| ());
    }
    known(to, value.len() * count)?;
    if !to.is_multiple_of(value.len() as u64) {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    let value = value.to_vec();
    let nanoseconds = (value.len() * count) as u64 / CARD;
    let run = move |view: &mut View| {
        view.fill(to, &value, count as u64)
            .map_err(|f| failure(&f, "fill"))
    };
    submit(stream, job(run, nanoseconds), wait)
}

export! {
    fn cuMemcpyHtoD_v2(to: u64, from: u64, bytes: usize) {
        to_device(to, from, bytes, LEGACY, true)
    }
    fn cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) {
        to_device(to, from, bytes, stream, false)
    }
    fn cuMemcpyDtoH_v2(to: u64, from: u64, bytes: usize) {
        to_host(to, from, bytes, LEGACY, true)
    }
    fn cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) {
        to_host(to, from, bytes, stream, false)
    }
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        within(to, from, bytes, LEGACY, false)
    }
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) {
        within(to, from, bytes, stream, false)
    }
    fn cuMemcpy(to: u64, from: u64, bytes: usize) {
        unified(to, from, bytes, LEGACY, true)
    }
    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: u64) {
        unified(to, from, bytes, stream, false)
    }
    fn cuMemcpyPeer(to: u64, _to_context: u64, from: u64, _from_context: u64, bytes: usize) {
        within(to, from, bytes, LEGACY, true)
    }
    fn cuMemcpyPeerAsync(to: u64, _to_context: u64, from: u64, _from_context: u64, bytes: usize, stream: u64) {
        within(to, from, bytes, stream, false)
    }
    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        fill(to, &[value], count, LEGACY, false)
    }
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64) {
        fill(to, &[value], count, stream, false)
    }
    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        fill(to, &value.to_le_bytes(), count, LEGACY, false)
    }
    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: u64) {
        fill(to, &value.to_le_bytes(), count, stream, false)
    }
    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        fill(to, &value.to_le_bytes(), count, LEGACY, false)
    }
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: u64) {
        fill(to, &value.to_le_bytes(), count, stream, false)
    }
}
