//! NVIDIA's library, found and loaded when kernels are first traced. Functions, numbers and versions are those of
//! `cupti_activity.h`, `cupti_callbacks.h`, `cupti_result.h` and `cupti_version.h`.

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::mem::transmute_copy;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use candle_core::cuda::cudarc::driver::sys::{self, CUcontext};

/// Names the library; no other is looked for then.
const VARIABLE: &str = "CANDLEPOWER_CUPTI";
/// Folders of toolkits,
const TOOLKITS: [&str; 2] = ["CUDA_HOME", "CUDA_PATH"];
const TOOLKIT: &str = "/usr/local/cuda";
/// and where in them it lies.
const WITHIN: [&str; 3] = ["extras/CUPTI/lib64", "lib64", "lib"];
/// Of toolkits whose records are known.
const MAJORS: [i32; 2] = [13, 12];

/// Of `CUpti_ActivityKind`: a record of each kernel, which the graph that it lies in leaves as it is.
pub const CONCURRENT_KERNEL: u32 = 10;
/// Of `CUptiResult`.
const SUCCESS: c_int = 0;
const INSUFFICIENT_PRIVILEGES: c_int = 35;
const MULTIPLE_SUBSCRIBERS: c_int = 39;

/// Gives an empty buffer: its start, its bytes, and the most records for it, 0 for as many as fit.
pub type Request = extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
/// Takes one back: context and stream, which are always 0; its start, its bytes, and those that hold records.
pub type Complete = extern "C" fn(CUcontext, u32, *mut u8, usize, usize);
/// Of calls that nobody asks to be told of.
type Callback = extern "C" fn(*mut c_void, u32, u32, *const c_void);

extern "C" fn ignore(_data: *mut c_void, _domain: u32, _id: u32, _call: *const c_void) {}

/// Its functions that are used here.
pub struct Library {
    result_string: extern "C" fn(c_int, *mut *const c_char) -> c_int,
    enable: extern "C" fn(u32) -> c_int,
    disable: extern "C" fn(u32) -> c_int,
    flush_all: extern "C" fn(u32) -> c_int,
    next_record: extern "C" fn(*mut u8, usize, *mut *mut u8) -> c_int,
    dropped: extern "C" fn(CUcontext, u32, *mut usize) -> c_int,
    timestamp: extern "C" fn(*mut u64) -> c_int,
    context_id: extern "C" fn(CUcontext, *mut u32) -> c_int,
}

impl Library {
    /// Loads it and becomes its one client; buffers come from `request` and go to `complete`.
    ///
    /// # Errors
    /// Why kernels cannot be traced, as a sentence.
    pub fn open(request: Request, complete: Complete) -> Result<Self, String> {
        let library = find()?;
        // SAFETY: the types are those of the headers, for all versions that are let through below; the library stays loaded.
        let (library, version, subscribe, register) = unsafe {
            let own = Self {
                result_string: function(library, c"cuptiGetResultString")?,
                enable: function(library, c"cuptiActivityEnable")?,
                disable: function(library, c"cuptiActivityDisable")?,
                flush_all: function(library, c"cuptiActivityFlushAll")?,
                next_record: function(library, c"cuptiActivityGetNextRecord")?,
                dropped: function(library, c"cuptiActivityGetNumDroppedRecords")?,
                timestamp: function(library, c"cuptiGetTimestamp")?,
                context_id: function(library, c"cuptiGetContextId")?,
            };
            let version: extern "C" fn(*mut u32) -> c_int = function(library, c"cuptiGetVersion")?;
            let subscribe: extern "C" fn(*mut *mut c_void, Callback, *mut c_void) -> c_int =
                function(library, c"cuptiSubscribe")?;
            let register: extern "C" fn(Request, Complete) -> c_int =
                function(library, c"cuptiActivityRegisterCallbacks")?;
            (own, version, subscribe, register)
        };
        let mut number = 0;
        library.check("cuptiGetVersion", version(&mut number))?;
        if !is_known(number) {
            return Err(format!(
                "CUPTI's records of kernels are known for CUDA 11.8 to 13.5, and the library found has version {number}; {VARIABLE}=PATH names another one"
            ));
        }
        // Nothing else says that a profiler watches already.
        let mut subscriber = null_mut();
        let subscribed = subscribe(&mut subscriber, ignore, null_mut());
        library.check("cuptiSubscribe", subscribed)?;
        library.check(
            "cuptiActivityRegisterCallbacks",
            register(request, complete),
        )?;
        Ok(library)
    }

    pub fn enable(&self) -> Result<(), String> {
        self.check("cuptiActivityEnable", (self.enable)(CONCURRENT_KERNEL))
    }

    pub fn disable(&self) -> Result<(), String> {
        self.check("cuptiActivityDisable", (self.disable)(CONCURRENT_KERNEL))
    }

    /// Has all buffers completed; where `forced`, also those with kernels that have not ended.
    pub fn flush(&self, forced: bool) -> Result<(), String> {
        self.check("cuptiActivityFlushAll", (self.flush_all)(forced.into()))
    }

    /// The record behind `before`, or the first one, in the first `bytes` of a buffer.
    pub fn next(&self, buffer: *mut u8, bytes: usize, before: *const u8) -> Option<*const u8> {
        let mut record = before.cast_mut();
        let status = (self.next_record)(buffer, bytes, &mut record);
        (status == SUCCESS).then_some(record.cast_const())
    }

    /// Records that found no room since the last call.
    pub fn dropped(&self) -> usize {
        let mut dropped = 0;
        match (self.dropped)(null_mut(), 0, &mut dropped) {
            SUCCESS => dropped,
            _ => 0,
        }
    }

    /// Nanoseconds on the clock of records.
    pub fn now(&self) -> Result<u64, String> {
        let mut now = 0;
        self.check("cuptiGetTimestamp", (self.timestamp)(&mut now))?;
        Ok(now)
    }

    /// How records name `context`.
    pub fn context_id(&self, context: CUcontext) -> Result<u32, String> {
        let mut id = 0;
        self.check("cuptiGetContextId", (self.context_id)(context, &mut id))?;
        Ok(id)
    }

    fn check(&self, call: &str, status: c_int) -> Result<(), String> {
        if status == SUCCESS {
            return Ok(());
        }
        let mut name = null();
        let told = (self.result_string)(status, &mut name);
        let name = match told == SUCCESS && !name.is_null() {
            // SAFETY: CUPTI's own text, which ends in a zero and is never freed.
            true => unsafe { CStr::from_ptr(name) }
                .to_string_lossy()
                .into_owned(),
            false => format!("error {status}"),
        };
        let hint = match status {
            INSUFFICIENT_PRIVILEGES => {
                ": root may trace, and all may with the driver's option NVreg_RestrictProfilingToAdminUsers=0"
            }
            MULTIPLE_SUBSCRIBERS => ": another profiler, such as nsys or ncu, watches this program",
            _ => "",
        };
        Err(format!("{call} of CUPTI answers {name}{hint}"))
    }
}

/// Versions whose records of kernels begin as [`super::records`] reads them: until CUDA 12.9 a count, then major, minor and
/// update in two digits each.
fn is_known(version: u32) -> bool {
    matches!(version, 18..=28 | 130_000..=130_599)
}

/// The library, loaded.
fn find() -> Result<*mut c_void, String> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(path);
        return load(&path).ok_or_else(|| {
            format!(
                "{VARIABLE} names {}, which cannot be loaded",
                path.display()
            )
        });
    }
    let mut driver = 0;
    // SAFETY: the out-parameter lives through the call.
    let told = unsafe { sys::cuDriverGetVersion(&mut driver) };
    let major = told.result().map_or(MAJORS[0], |()| driver / 1000);
    let all = candidates(major, |name| std::env::var_os(name));
    all.iter().find_map(|path| load(path)).ok_or_else(|| {
        format!(
            "no libcupti.so.13 or .12 was found, neither by the loader nor below CUDA_HOME and {TOOLKIT}; {VARIABLE}=PATH names one"
        )
    })
}

/// Where it may be, the likeliest first: a driver of version `major` serves a toolkit of that version.
fn candidates(major: i32, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut majors = MAJORS;
    majors.sort_by_key(|of| *of != major);
    let names = majors.map(|major| format!("libcupti.so.{major}"));
    let names = names.into_iter().chain(["libcupti.so".to_owned()]);
    let names: Vec<PathBuf> = names.map(PathBuf::from).collect();
    let toolkits = TOOLKITS.iter().filter_map(|name| variable(name));
    let toolkits = toolkits.map(PathBuf::from).chain([TOOLKIT.into()]);
    let folders = toolkits.flat_map(|toolkit| WITHIN.map(|within| toolkit.join(within)));
    let there = folders.flat_map(|folder| names.clone().into_iter().map(move |n| folder.join(n)));
    names.iter().cloned().chain(there).collect()
}

fn load(path: &Path) -> Option<*mut c_void> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).ok()?;
    // SAFETY: the path ends in a zero. What its name says it is has nothing that runs at load and harms.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY) };
    (!library.is_null()).then_some(library)
}

/// # Safety
/// `F` is the type of a pointer to the library's function `name`.
unsafe fn function<F: Copy>(library: *mut c_void, name: &CStr) -> Result<F, String> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the library is loaded, and the name ends in a zero.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    match found.is_null() {
        true => Err(format!("CUPTI has no {}", name.to_string_lossy())),
        // SAFETY: by this function's contract; the sizes agree.
        false => Ok(unsafe { transmute_copy(&found) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From CUDA 11.8 on; not that of a toolkit whose headers nobody has read.
    #[test]
    fn only_versions_whose_headers_were_read_are_known() {
        for known in [18, 28, 130_000, 130_001, 130_500] {
            assert!(is_known(known), "{known}");
        }
        for unknown in [0, 12, 17, 29, 120_900, 130_600, 140_000] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }

    #[test]
    fn the_library_of_the_drivers_own_version_is_looked_for_first() {
        let paths = |major| {
            let paths = candidates(major, |name| {
                (name == "CUDA_HOME").then_some("/opt/cuda".into())
            });
            paths
                .into_iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        let new = paths(13);
        assert_eq!(
            new[..4],
            [
                "libcupti.so.13",
                "libcupti.so.12",
                "libcupti.so",
                "/opt/cuda/extras/CUPTI/lib64/libcupti.so.13"
            ]
        );
        assert!(new.contains(&"/usr/local/cuda/extras/CUPTI/lib64/libcupti.so".to_owned()));
        assert_eq!(paths(12)[0], "libcupti.so.12");
        // What no toolkit of such a driver is for sure may serve it all the same.
        assert_eq!(paths(14)[0], "libcupti.so.13");
    }
}
