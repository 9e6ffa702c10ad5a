//! Ranges for a profiler that watches from outside: NVTX, by the protocol of NVIDIA's `nvtxTypes.h`. A profiler such as nsys
//! names its library in `NVTX_INJECTION64_PATH`; without one nothing is loaded, and nothing is named.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// Of the profiler's library.
const PATH: &str = "NVTX_INJECTION64_PATH";
/// Of `NvtxExportTableID`.
const CALLBACKS: u32 = 1;
const VERSION_INFO: u32 = 3;
/// The interface's.
const VERSION: u32 = 3;
/// Functions of each `NvtxCallbackModule`, 0 included, which is none: the core, CUDA, OpenCL, the CUDA runtime, the core's
/// second part, synchronisation. A profiler sets those that it has, of all of them.
const FUNCTIONS: [usize; 7] = [0, 16, 9, 15, 7, 16, 7];
const MOST: usize = 16;
/// Of `NvtxCallbackModule` and `NvtxCallbackIdCore`: what is used here.
const CORE: usize = 1;
const RANGE_PUSH_A: usize = 9;
const RANGE_POP: usize = 11;

type Slot = AtomicPtr<c_void>;
type Push = extern "C" fn(message: *const c_char) -> c_int;
type Pop = extern "C" fn() -> c_int;
type ExportTable = extern "C" fn(id: u32) -> *const c_void;
type Initialize = extern "C" fn(tables: ExportTable) -> c_int;

/// Where a profiler writes its functions.
static SLOTS: [[Slot; MOST]; FUNCTIONS.len()] =
    [const { [const { Slot::new(null_mut()) }; MOST] }; FUNCTIONS.len()];
/// Where it reads at what address: of each module's slots, and a null behind them. The first of each has none.
static TABLES: [[AtomicPtr<Slot>; MOST + 1]; FUNCTIONS.len()] =
    [const { [const { AtomicPtr::new(null_mut()) }; MOST + 1] }; FUNCTIONS.len()];

#[repr(C)]
struct Callbacks {
    size: usize,
    table: extern "C" fn(c_uint, *mut *mut c_void, *mut c_uint) -> c_int,
}

#[repr(C)]
struct VersionInfo {
    size: usize,
    version: u32,
    reserved: u32,
    set_injection_version: extern "C" fn(u32),
}

static CALLBACK_TABLE: Callbacks = Callbacks {
    size: size_of::<Callbacks>(),
    table: module_table,
};
static VERSION_TABLE: VersionInfo = VersionInfo {
    size: size_of::<VersionInfo>(),
    version: VERSION,
    reserved: 0,
    set_injection_version: accept,
};

extern "C" fn accept(_version: u32) {}

extern "C" fn export_table(id: u32) -> *const c_void {
    match id {
        CALLBACKS => (&raw const CALLBACK_TABLE).cast(),
        VERSION_INFO => (&raw const VERSION_TABLE).cast(),
        _ => null_mut(),
    }
}

/// 1: the module's table and its length are written to where the profiler says.
extern "C" fn module_table(module: c_uint, table: *mut *mut c_void, size: *mut c_uint) -> c_int {
    let module = module as usize;
    let Some(count) = FUNCTIONS.get(module).filter(|count| **count > 0) else {
        return 0;
    };
    // SAFETY: the profiler passes null or an address that it may be answered at.
    unsafe {
        if let Some(table) = table.as_mut() {
            *table = TABLES[module].as_ptr().cast_mut().cast();
        }
        if let Some(size) = size.as_mut() {
            *size = *count as c_uint;
        }
    }
    1
}

/// What a profiler gave.
struct Functions {
    push: Push,
    pop: Pop,
}

/// `None`: nobody watches.
fn functions() -> Option<&'static Functions> {
    static FOUND: OnceLock<Option<Functions>> = OnceLock::new();
    FOUND.get_or_init(load).as_ref()
}

fn load() -> Option<Functions> {
    let path = std::env::var_os(PATH)?;
    let path = CString::new(path.into_encoded_bytes()).ok()?;
    for (module, count) in FUNCTIONS.iter().enumerate() {
        for index in 1..*count {
            let slot = (&raw const SLOTS[module][index]).cast_mut();
            TABLES[module][index].store(slot, Relaxed);
        }
    }
    // SAFETY: both names end in a zero. The variable is the user's word that the library is such a one, whose function has
    // this type; it stays loaded.
    let is_ready = unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_LAZY);
        if library.is_null() {
            return None;
        }
        let found = libc::dlsym(library, c"InitializeInjectionNvtx2".as_ptr());
        if found.is_null() {
            return None;
        }
        transmute::<*mut c_void, Initialize>(found)(export_table) != 0
    };
    let slot = |index: usize| {
        let function = SLOTS[CORE][index].load(Acquire);
        (is_ready && !function.is_null()).then_some(function)
    };
    // SAFETY: the profiler has written functions of these types there, or nothing, and its library stays loaded. Names
    // that `push` is given end in a zero.
    unsafe {
        Some(Functions {
            push: transmute::<*mut c_void, Push>(slot(RANGE_PUSH_A)?),
            pop: transmute::<*mut c_void, Pop>(slot(RANGE_POP)?),
        })
    }
}

/// What this thread does, as a profiler shows it, until it is dropped. Ranges of one thread lie within each other.
pub struct Range {
    pop: Pop,
    on_its_thread: PhantomData<*const ()>,
}

impl Range {
    /// `None`, without asking for a name: nobody watches.
    pub fn open(name: impl FnOnce() -> String) -> Option<Self> {
        let functions = functions()?;
        let name = CString::new(name()).ok()?;
        // It copies the name.
        (functions.push)(name.as_ptr());
        Some(Self {
            pop: functions.pop,
            on_its_thread: PhantomData,
        })
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        (self.pop)();
    }
}

/// Ranges that are open, the inner one first, as they close.
#[derive(Default)]
pub struct Watched {
    operation: Option<Range>,
    layer: Option<(usize, Option<Range>)>,
}

impl Watched {
    /// An operation of a layer begins,
    pub fn enter(&mut self, name: &str, layer: Option<usize>) {
        if self.layer.as_ref().map(|(number, _)| *number) != layer {
            self.layer = None;
            self.layer = layer.map(|number| (number, Range::open(|| format!("layer {number}"))));
        }
        self.operation = Range::open(|| name.to_owned());
    }

    /// and is over.
    pub fn leave(&mut self) {
        self.operation = None;
    }
}
