//! Records of kernels, as CUPTI writes them into buffers that it asks for.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_char};
use std::ptr::null;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use candle_core::cuda::cudarc::driver::sys::CUcontext;

use super::super::{counted, lock};
use super::library::CONCURRENT_KERNEL;
use crate::ground::launch::LaunchShape;

/// Where parts of a record lie: in `CUpti_ActivityKernel5` to `CUpti_ActivityKernel13` of `cupti_activity.h` alike, which
/// are those of CUDA 11.0 to 13.5. A test compares them with headers, where there are some.
pub mod offsets {
    pub const KIND: usize = 0;
    /// u16.
    pub const REGISTERS: usize = 6;
    /// u64.
    pub const START: usize = 16;
    pub const END: usize = 24;
    /// u32.
    pub const CONTEXT: usize = 44;
    /// x, y and z, i32.
    pub const GRID: usize = 52;
    pub const BLOCK: usize = 64;
    /// i32.
    pub const STATIC_SHARED: usize = 76;
    pub const DYNAMIC_SHARED: usize = 80;
    /// The address of a text.
    pub const NAME: usize = 104;
}

/// NVIDIA recommends 1 to 10 MB, aligned to 8 bytes: some 40,000 records.
const BUFFER_BYTES: usize = 8 << 20;
const BUFFER: Layout = match Layout::from_size_align(BUFFER_BYTES, 8) {
    Ok(layout) => layout,
    Err(_) => panic!("no such layout"),
};

/// A kernel that has run.
#[derive(Debug, Clone)]
pub struct Record {
    /// As the linker knows it.
    pub name: Arc<str>,
    /// Nanoseconds on CUPTI's clock; 0 for both: it does not know.
    pub start: u64,
    pub end: u64,
    /// Without occupancy.
    pub shape: LaunchShape,
    /// Moved to and from memory, where a virtual GPU counts it.
    pub bytes: Option<u64>,
}

/// What CUPTI told since tracing began.
#[derive(Default)]
pub struct Seen {
    /// Ranks that trace.
    pub ranks: usize,
    /// By context.
    pub records: HashMap<u32, Vec<Record>>,
    /// That found no room.
    pub dropped: usize,
    names: HashSet<Arc<str>>,
}

pub fn seen() -> MutexGuard<'static, Seen> {
    static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);
    lock(&SEEN)
}

/// CUPTI wants an empty buffer.
pub extern "C" fn request(buffer: *mut *mut u8, bytes: *mut usize, most: *mut usize) {
    // SAFETY: the layout has bytes.
    let room = unsafe { alloc(BUFFER) };
    let length = if room.is_null() { 0 } else { BUFFER_BYTES };
    // SAFETY: CUPTI passes the addresses that it is answered at.
    unsafe {
        buffer.write(room);
        bytes.write(length);
        most.write(0);
    }
}

/// CUPTI gives a buffer back, whose first `valid` bytes are records.
pub extern "C" fn complete(
    _context: CUcontext,
    _stream: u32,
    buffer: *mut u8,
    _bytes: usize,
    valid: usize,
) {
    if buffer.is_null() {
        return;
    }
    if let Ok(library) = super::library() {
        let mut seen = seen();
        let mut at = null();
        while let Some(record) = library.next(buffer, valid, at) {
            seen.keep(record);
            at = record;
        }
        seen.dropped += library.dropped();
    }
    // SAFETY: all buffers are from `request`, and CUPTI has no use for this one any more.
    unsafe { dealloc(buffer, BUFFER) };
}

impl Seen {
    fn keep(&mut self, record: *const u8) {
        if part::<u32>(record, offsets::KIND) != CONCURRENT_KERNEL {
            return;
        }
        let axes = |at| [0, 1, 2].map(|axis| part::<u32>(record, at + axis * size_of::<u32>()));
        let shared: [u32; 2] =
            [offsets::STATIC_SHARED, offsets::DYNAMIC_SHARED].map(|at| part(record, at));
        let kept = Record {
            name: self.name(part(record, offsets::NAME)),
            start: part(record, offsets::START),
            end: part(record, offsets::END),
            shape: LaunchShape {
                grid: axes(offsets::GRID),
                block: axes(offsets::BLOCK).iter().product(),
                registers: Some(part::<u16>(record, offsets::REGISTERS).into()),
                shared_bytes: shared.iter().sum(),
                occupancy: None,
            },
            bytes: counted::of_record(record),
        };
        let context = part(record, offsets::CONTEXT);
        self.records.entry(context).or_default().push(kept);
    }

    /// One of each.
    fn name(&mut self, text: *const c_char) -> Arc<str> {
        if text.is_null() {
            return "?".into();
        }
        // SAFETY: CUPTI's name of a kernel ends in a zero, and lives as long as the record.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        if let Some(known) = self.names.get(&*text) {
            return known.clone();
        }
        let name: Arc<str> = text.as_ref().into();
        self.names.insert(name.clone());
        name
    }
}

/// Of a record that CUPTI has just given.
fn part<T: Copy>(record: *const u8, at: usize) -> T {
    // SAFETY: a record is longer than the last of `offsets`, and holds plain numbers and an address there.
    unsafe { record.add(at).cast::<T>().read_unaligned() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// Where headers may be.
    fn folders() -> Vec<PathBuf> {
        let named = ["CANDLEPOWER_CUPTI_INCLUDE", "CUDA_HOME", "CUDA_PATH"];
        let named = named.iter().filter_map(std::env::var_os).map(PathBuf::from);
        let homes = named.chain(["/usr/local/cuda".into()]);
        let within = ["", "include", "extras/CUPTI/include"];
        let folders = homes.flat_map(|home| within.map(|within| home.join(within)));
        folders.filter(|folder| folder.is_dir()).collect()
    }

    /// The numbers of `CUpti_ActivityKernel` that `header` declares, from 5 on.
    fn declared(header: &str) -> Vec<u32> {
        let names = header.split("} CUpti_ActivityKernel").skip(1);
        let numbers = names.filter_map(|name| name.split(';').next()?.parse().ok());
        numbers.filter(|number| *number >= 5).collect()
    }

    #[test]
    fn parts_lie_where_the_headers_say() {
        let folders = folders();
        let file = |name: &str| folders.iter().map(|f| f.join(name)).find(|f| f.is_file());
        let (Some(header), Some(_)) = (file("cupti_activity.h"), file("cuda.h")) else {
            eprintln!("SKIPPED: no headers of CUPTI below CUDA_HOME or CANDLEPOWER_CUPTI_INCLUDE");
            return;
        };
        let kinds = [Some(header), file("cupti_activity_deprecated.h")];
        let kinds = kinds.iter().flatten();
        let texts = kinds.map(|path| std::fs::read_to_string(path).unwrap());
        let numbers: Vec<u32> = texts.flat_map(|text| declared(&text)).collect();
        assert!(!numbers.is_empty());
        let mut code = "#include <stddef.h>\n#include <cuda.h>\n#include <cupti_result.h>\n#include <cupti_activity.h>\n\
             _Static_assert(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL == 10, \"kind\");\n"
            .to_owned();
        if file("cupti_activity_deprecated.h").is_some() {
            code += "#include <cupti_activity_deprecated.h>\n";
        }
        use offsets as o;
        for (number, (field, at)) in numbers.iter().flat_map(|number| {
            let fields = [
                ("kind", o::KIND),
                ("registersPerThread", o::REGISTERS),
                ("start", o::START),
                ("end", o::END),
                ("contextId", o::CONTEXT),
                ("gridX", o::GRID),
                ("gridZ", o::GRID + 8),
                ("blockX", o::BLOCK),
                ("blockZ", o::BLOCK + 8),
                ("staticSharedMemory", o::STATIC_SHARED),
                ("dynamicSharedMemory", o::DYNAMIC_SHARED),
                ("name", o::NAME),
            ];
            fields.map(|field| (number, field))
        }) {
            code += &format!(
                "_Static_assert(offsetof(CUpti_ActivityKernel{number}, {field}) == {at}, \"{field} of {number}\");\n"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offsets.c");
        std::fs::write(&path, code).unwrap();
        let mut compiler = Command::new("cc");
        compiler.arg("-fsyntax-only").arg(&path);
        for folder in &folders {
            compiler.arg("-I").arg(folder);
        }
        let output = compiler.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}
