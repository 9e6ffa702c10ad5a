//! NVRTC: there is no compiler here. Programs that compile kernels as they run are refused.

use crate::calls::{export, put};
use crate::driver::log;

const COMPILATION: i32 = 6;

export! {
    fn nvrtcVersion(major: *mut i32, minor: *mut i32) {
        put(major, 13)?;
        put(minor, 0)
    }
    fn nvrtcCreateProgram(_program: *mut u64, _source: u64, _name: u64, _count: i32, _headers: u64, _names: u64) {
        log("NVRTC is not built: kernels come as PTX");
        Err(COMPILATION)
    }
}
