//! CUPTI's activity interface: a record of each kernel that ran, in buffers that the program gives, laid out as
//! `CUpti_ActivityKernel10` of its `cupti_activity.h`.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{LazyLock, Mutex, MutexGuard};

use crate::calls::{export, host_mut, put, take};
use crate::driver::config::Tracer;
use crate::driver::traced::{Ran, Record};
use crate::driver::{current, driver};

const INVALID_PARAMETER: i32 = 1;
const MAX_LIMIT_REACHED: i32 = 12;
const INVALID_OPERATION: i32 = 7;
const INVALID_KIND: i32 = 21;
const INSUFFICIENT_PRIVILEGES: i32 = 35;
const MULTIPLE_SUBSCRIBERS: i32 = 39;

/// Of CUDA 13.0; before 11.0, which gave kernels of graphs an id; of a toolkit to come.
const VERSION: u32 = 130_000;
const OLD: u32 = 12;
const NEW: u32 = 990_000;
const CONCURRENT_KERNEL: u32 = 10;

/// Bytes of a record, and where its parts lie.
const RECORD: usize = 216;
const REGISTERS: usize = 6;
const START: usize = 16;
const END: usize = 24;
const DEVICE: usize = 40;
const CONTEXT: usize = 44;
const GRID: usize = 52;
const BLOCK: usize = 64;
const SHARED: usize = 76;
const NAME: usize = 104;
/// Reserved, which here has the bytes that the kernel moved.
const RESERVED: usize = 112;

/// With [`Tracer::Drops`] each record of this number finds no room.
const DROPPED: u64 = 7;

type Request = extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
type Complete = extern "C" fn(u64, u32, *mut u8, usize, usize);

#[derive(Default)]
struct State {
    callbacks: Option<(Request, Complete)>,
    /// Not told yet.
    records: Vec<Record>,
    count: u64,
    dropped: usize,
    /// Names that records point to; they are never dropped.
    names: HashMap<String, CString>,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|e| e.into_inner())
}

fn mode() -> Tracer {
    driver().config.cupti
}

/// Of the driver: a kernel has run.
fn keep(mut record: Record) {
    let mut state = state();
    state.count += 1;
    match mode() {
        Tracer::Drops if state.count.is_multiple_of(DROPPED) => {
            state.dropped += 1;
            return;
        }
        Tracer::Stranger if state.count == DROPPED => {
            state.records.push(Record {
                ran: Ran {
                    name: "stranger".to_owned(),
                    ..record.ran.clone()
                },
                ..record
            });
        }
        Tracer::Timeless => (record.start, record.end) = (0, 0),
        _ => {}
    }
    state.records.push(record);
    drop(state);
    // As CUPTI does from a thread of its own, once a buffer is full.
    if mode() == Tracer::Tiny {
        tell();
    }
}

/// Gives all records away.
fn tell() {
    loop {
        let (records, (request, complete)) = {
            let mut state = state();
            let Some(callbacks) = state.callbacks.filter(|_| !state.records.is_empty()) else {
                return;
            };
            (std::mem::take(&mut state.records), callbacks)
        };
        let (mut buffer, mut bytes, mut most) = (std::ptr::null_mut(), 0, 0);
        request(&mut buffer, &mut bytes, &mut most);
        let room = match mode() {
            Tracer::Tiny => 1,
            _ if buffer.is_null() => 0,
            _ => bytes / RECORD,
        };
        let fits = records.len().min(room).min(match most {
            0 => usize::MAX,
            most => most,
        });
        let mut state = state();
        let (told, rest) = records.split_at(fits);
        for (at, record) in told.iter().enumerate() {
            let to = buffer as u64 + (at * RECORD) as u64;
            write(&mut state.names, host_mut(to, RECORD), record);
        }
        match fits {
            0 => state.dropped += rest.len(),
            _ => {
                // What came meanwhile comes behind.
                state.records.splice(..0, rest.iter().cloned());
            }
        }
        drop(state);
        if !buffer.is_null() {
            complete(0, 0, buffer, bytes, fits * RECORD);
        }
    }
}

fn write(names: &mut HashMap<String, CString>, to: &mut [u8], record: &Record) {
    to.fill(0);
    let Record {
        device,
        ran,
        start,
        end,
    } = record;
    let name = names
        .entry(ran.name.clone())
        .or_insert_with(|| CString::new(ran.name.as_str()).unwrap_or_default());
    let mut put = |at: usize, bytes: &[u8]| to[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &CONCURRENT_KERNEL.to_ne_bytes());
    put(REGISTERS, &ran.registers.to_ne_bytes());
    put(START, &start.to_ne_bytes());
    put(END, &end.to_ne_bytes());
    put(DEVICE, &(*device as u32).to_ne_bytes());
    put(CONTEXT, &context_id(*device).to_ne_bytes());
    for (axis, (blocks, threads)) in ran.grid.iter().zip(ran.block).enumerate() {
        put(GRID + axis * size_of::<u32>(), &blocks.to_ne_bytes());
        put(BLOCK + axis * size_of::<u32>(), &threads.to_ne_bytes());
    }
    for (index, bytes) in ran.shared.iter().enumerate() {
        put(SHARED + index * size_of::<u32>(), &bytes.to_ne_bytes());
    }
    put(NAME, &(name.as_ptr() as u64).to_ne_bytes());
    put(RESERVED, &ran.bytes.to_ne_bytes());
}

fn context_id(device: usize) -> u32 {
    device as u32 + 1
}

export! {
    fn cuptiGetVersion(version: *mut u32) {
        put(version, match mode() {
            Tracer::Old => OLD,
            Tracer::New => NEW,
            _ => VERSION,
        })
    }
    fn cuptiGetResultString(result: i32, out: *mut *const i8) {
        let name = match result {
            INSUFFICIENT_PRIVILEGES => c"CUPTI_ERROR_INSUFFICIENT_PRIVILEGES",
            MULTIPLE_SUBSCRIBERS => c"CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED",
            _ => return Err(INVALID_PARAMETER),
        };
        put(out, name.as_ptr().cast())
    }
    fn cuptiSubscribe(subscriber: *mut u64, _callback: u64, _data: u64) {
        match mode() {
            Tracer::Busy => Err(MULTIPLE_SUBSCRIBERS),
            _ => put(subscriber, 1),
        }
    }
    fn cuptiActivityRegisterCallbacks(request: Option<Request>, complete: Option<Complete>) {
        state().callbacks = Some(request.zip(complete).ok_or(INVALID_PARAMETER)?);
        Ok(())
    }
    fn cuptiActivityEnable(kind: u32) {
        match mode() {
            _ if kind != CONCURRENT_KERNEL => Err(INVALID_KIND),
            Tracer::Unprivileged => Err(INSUFFICIENT_PRIVILEGES),
            _ => {
                *driver().tracer.lock().unwrap_or_else(|e| e.into_inner()) = Some(keep);
                Ok(())
            }
        }
    }
    fn cuptiActivityDisable(kind: u32) {
        if kind != CONCURRENT_KERNEL {
            return Err(INVALID_KIND);
        }
        *driver().tracer.lock().unwrap_or_else(|e| e.into_inner()) = None;
        Ok(())
    }
    fn cuptiActivityFlushAll(_flag: u32) {
        if state().callbacks.is_none() {
            return Err(INVALID_OPERATION);
        }
        if mode() == Tracer::Silent {
            state().records.pop();
        }
        tell();
        Ok(())
    }
    fn cuptiActivityGetNextRecord(buffer: u64, bytes: usize, record: *mut u64) {
        let next = match take(record)? {
            0 => buffer,
            before => before + RECORD as u64,
        };
        if next + RECORD as u64 > buffer + bytes as u64 {
            return Err(MAX_LIMIT_REACHED);
        }
        put(record, next)
    }
    fn cuptiActivityGetNumDroppedRecords(_context: u64, _stream: u32, dropped: *mut usize) {
        put(dropped, std::mem::take(&mut state().dropped))
    }
    fn cuptiGetTimestamp(timestamp: *mut u64) {
        let device = current().ok_or(INVALID_OPERATION)?;
        put(timestamp, driver().world().cards[device].nanoseconds)
    }
    fn cuptiGetContextId(context: u64, id: *mut u32) {
        let device = crate::calls::context_device(context).map_err(|_| INVALID_PARAMETER)?;
        put(id, context_id(device.ok_or(INVALID_PARAMETER)?))
    }
    /// Not of CUPTI: what the kernel of a record moved.
    fn vgpuRecordBytes(record: *const u8, bytes: *mut u64) {
        if !driver().config.traffic {
            return Err(INVALID_OPERATION);
        }
        put(bytes, take(record.wrapping_add(RESERVED).cast())?)
    }
}
