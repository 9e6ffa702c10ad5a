//! What each kernel did, how often each function was called and each range was opened, as JSON, when the program ends.

use std::fmt::{Debug, Display, Write};

use super::{driver, log};

extern "C" fn write() {
    let driver = driver();
    let Some(path) = &driver.config.report else {
        return;
    };
    let all = driver.counters.lock().unwrap_or_else(|e| e.into_inner());
    let mut text = String::from("{\n  \"kernels\": [");
    for (at, (name, c)) in all.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}\n    {{\"name\": {name:?}, \"launches\": {}, \"overlapping\": {}, \"warp_instructions\": {}, \"thread_instructions\": {}, \
             \"load_requests\": {}, \"load_bytes\": {}, \"load_sectors\": {}, \
             \"store_requests\": {}, \"store_bytes\": {}, \"store_sectors\": {}, \
             \"shared_requests\": {}, \"bank_conflicts\": {}, \"unwritten_bytes_read\": {}}}",
            c.launches,
            c.overlapping,
            c.warp_instructions,
            c.thread_instructions,
            c.loads.requests,
            c.loads.bytes,
            c.loads.sectors,
            c.stores.requests,
            c.stores.bytes,
            c.stores.sectors,
            c.shared_requests,
            c.bank_conflicts,
            c.unwritten_bytes_read,
        );
    }
    text.push_str("\n  ],\n  \"calls\": {");
    let calls = driver.calls.lock().unwrap_or_else(|e| e.into_inner());
    counts(&mut text, calls.iter());
    text.push_str("\n  },\n  \"ranges\": {");
    let ranges = driver.ranges.lock().unwrap_or_else(|e| e.into_inner());
    counts(&mut text, ranges.iter());
    text.push_str("\n  }\n}\n");
    if let Err(e) = std::fs::write(path, text) {
        log(&format!("the report could not be written to {path}: {e}"));
    }
}

pub fn at_exit() {
    // SAFETY: the function takes nothing and lives as long as the program.
    unsafe { libc::atexit(write) };
}

fn counts<N: Debug, C: Display>(text: &mut String, of: impl Iterator<Item = (N, C)>) {
    for (at, (name, count)) in of.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\n    {name:?}: {count}");
    }
}
