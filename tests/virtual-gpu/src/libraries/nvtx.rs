//! What a profiler injects: counts the ranges that a program opens, for the report. Both sides speak as NVIDIA's
//! `nvtxTypes.h` says.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::calls::{take, text};
use crate::driver::{driver, give_up};

const CALLBACKS: u32 = 1;
const CORE: u32 = 1;
const RANGE_PUSH_A: usize = 9;
const RANGE_POP: usize = 11;

#[repr(C)]
#[derive(Clone, Copy)]
struct Callbacks {
    size: usize,
    table: extern "C" fn(u32, *mut *const *mut *const c_void, *mut u32) -> i32,
}

/// Of all threads.
static OPEN: AtomicI64 = AtomicI64::new(0);

extern "C" fn push(name: *const i8) -> i32 {
    let name = text(name).unwrap_or_else(|_| give_up("a range has no name"));
    let mut ranges = driver().ranges.lock().unwrap_or_else(|e| e.into_inner());
    *ranges.entry(name.to_owned()).or_default() += 1;
    OPEN.fetch_add(1, Relaxed) as i32
}

extern "C" fn pop() -> i32 {
    if OPEN.fetch_sub(1, Relaxed) < 1 {
        give_up("a range is closed that was not opened");
    }
    0
}

/// Takes what a program's NVTX offers; 1: it did.
#[unsafe(no_mangle)]
pub extern "C" fn InitializeInjectionNvtx2(tables: extern "C" fn(u32) -> *const c_void) -> i32 {
    let Ok(callbacks) = take(tables(CALLBACKS).cast::<Callbacks>()) else {
        return 0;
    };
    let (mut table, mut size) = (std::ptr::null(), 0);
    if (callbacks.table)(CORE, &mut table, &mut size) != 1 || size as usize <= RANGE_POP {
        return 0;
    }
    for (index, function) in [
        (RANGE_PUSH_A, push as *const c_void),
        (RANGE_POP, pop as *const c_void),
    ] {
        match take(table.wrapping_add(index)).map(|slot| crate::calls::put(slot, function)) {
            Ok(Ok(())) => {}
            _ => return 0,
        }
    }
    1
}
