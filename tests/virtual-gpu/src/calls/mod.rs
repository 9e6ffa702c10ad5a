//! The driver's functions as C sees them. SAFETY, for all of them: a caller passes pointers that are valid
//! as CUDA's manual asks; null is refused. What they do is safe code behind `put`, `take` and `text`.

mod context;
mod copies;
mod device;
mod event;
mod graph;
mod memory;
mod module;
mod occupancy;
mod pool;
mod stream;

pub(crate) use context::device_of as context_device;
pub(crate) use device::{pci_of as device_pci, uuid_of as device_uuid};

use std::ffi::CStr;
use std::net::Ipv4Addr;

use crate::driver::{codes, current, driver};

/// Declares exported functions; their bodies say `Err(code)` for a failure.
macro_rules! export {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub extern "C" fn $name($($arg: $ty),*) -> i32 {
            $crate::driver::called(stringify!($name));
            let run = || -> Result<(), i32> { $body };
            run().err().unwrap_or(0)
        }
    )*};
}
pub(crate) use export;

/// Writes a result.
pub(crate) fn put<T>(to: *mut T, value: T) -> Result<(), i32> {
    if to.is_null() {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    // SAFETY: see the module's first lines.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// As `put`, but a caller may pass null for what it does not want.
pub(crate) fn offer<T>(to: *mut T, value: T) {
    let _ = put(to, value);
}

/// Reads an argument.
pub(crate) fn take<T: Copy>(from: *const T) -> Result<T, i32> {
    if from.is_null() {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    // SAFETY: see the module's first lines.
    Ok(unsafe { from.read_unaligned() })
}

pub(crate) fn text<'a>(from: *const i8) -> Result<&'a str, i32> {
    if from.is_null() {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    // SAFETY: see the module's first lines; the text lives through the call.
    unsafe { CStr::from_ptr(from) }
        .to_str()
        .map_err(|_| codes::ERROR_INVALID_VALUE)
}

/// Host memory that the caller gave.
pub(crate) fn host<'a>(from: u64, bytes: usize) -> &'a [u8] {
    // SAFETY: see the module's first lines.
    unsafe { std::slice::from_raw_parts(from as *const u8, bytes) }
}

pub(crate) fn host_mut<'a>(to: u64, bytes: usize) -> &'a mut [u8] {
    // SAFETY: see the module's first lines.
    unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) }
}

/// Writes a text with its NUL into a buffer of the caller.
pub(crate) fn put_text(to: *mut i8, room: usize, text: &str) -> Result<(), i32> {
    if to.is_null() || room == 0 {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    let kept = &text.as_bytes()[..text.len().min(room - 1)];
    let out = host_mut(to as u64, kept.len() + 1);
    out[..kept.len()].copy_from_slice(kept);
    out[kept.len()] = 0;
    Ok(())
}

/// IPv4 addresses of this machine, with their interfaces' names.
pub(crate) fn interfaces() -> Vec<(String, Ipv4Addr)> {
    let mut found = Vec::new();
    let mut first = std::ptr::null_mut();
    // SAFETY: the list is the system's, valid until it is freed below; each entry's pointers are null or valid.
    unsafe {
        if libc::getifaddrs(&mut first) != 0 {
            return found;
        }
        let mut at = first;
        while let Some(entry) = at.as_ref() {
            at = entry.ifa_next;
            if entry.ifa_addr.is_null() || i32::from((*entry.ifa_addr).sa_family) != libc::AF_INET {
                continue;
            }
            let address = entry
                .ifa_addr
                .cast::<libc::sockaddr_in>()
                .read_unaligned()
                .sin_addr
                .s_addr;
            let name = CStr::from_ptr(entry.ifa_name)
                .to_string_lossy()
                .into_owned();
            found.push((name, Ipv4Addr::from(u32::from_be(address))));
        }
        libc::freeifaddrs(first);
    }
    found
}

/// The device of the current context, if it has not failed.
pub(crate) fn device_now() -> Result<usize, i32> {
    let device = current().ok_or(codes::ERROR_INVALID_CONTEXT)?;
    match driver().world().cards[device].error {
        Some(error) => Err(error),
        None => Ok(device),
    }
}

pub(crate) fn valid_device(device: i32) -> Result<usize, i32> {
    let device = usize::try_from(device).map_err(|_| codes::ERROR_INVALID_DEVICE)?;
    if device < driver().config.device.len() {
        Ok(device)
    } else {
        Err(codes::ERROR_INVALID_DEVICE)
    }
}

/// The stream that a handle means here and now.
pub(crate) fn stream_now(handle: u64) -> Result<(usize, u64), i32> {
    let device = device_now()?;
    let id = driver()
        .world()
        .stream(handle, device, crate::driver::thread())?;
    Ok((device, id))
}
