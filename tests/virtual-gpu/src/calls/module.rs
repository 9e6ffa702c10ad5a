//! Modules, functions and launches.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{device_now, export, host, put, stream_now, take, text};
use crate::driver::kernels::{self, Function};
use crate::driver::launched::{self, OVERLAPS, Shape};
use crate::driver::work::Work;
use crate::driver::{codes, driver};

/// A kernel may use this many registers; how many it does only ptxas knows.
const REGISTERS_PRETENDED: i32 = 64;
const PTX_VERSION: i32 = 90;
const FATBIN_MAGIC: &[u8] = &[0x50, 0xed, 0x55, 0xba];
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Of `CUfunction_attribute`.
const MAX_THREADS: i32 = 0;
const SHARED_BYTES: i32 = 1;
const CONST_BYTES: i32 = 2;
const LOCAL_BYTES: i32 = 3;
const REGISTERS: i32 = 4;
const PTX: i32 = 5;
const BINARY: i32 = 6;
const MAX_DYNAMIC_SHARED: i32 = 8;
const CARVEOUT: i32 = 9;

fn load(module: *mut u64, source: &str) -> Result<(), i32> {
    let device = device_now()?;
    driver().unlocked(device, "a module's loading")?;
    let loaded = kernels::load(driver(), device, source)?;
    let mut world = driver().world();
    let id = world.handle();
    world.modules.insert(id, loaded);
    put(module, id)
}

fn load_image(module: *mut u64, image: *const i8) -> Result<(), i32> {
    if image.is_null() {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    let head = host(image as u64, FATBIN_MAGIC.len());
    if head == FATBIN_MAGIC || head == ELF_MAGIC {
        // What a driver says of code for other cards. A program that has PTX beside it goes on.
        return Err(codes::ERROR_NO_BINARY_FOR_GPU);
    }
    load(module, text(image)?)
}

pub fn function_of(handle: u64) -> Result<Arc<Function>, i32> {
    driver()
        .world()
        .functions
        .get(&handle)
        .cloned()
        .ok_or(codes::ERROR_INVALID_HANDLE)
}

fn launch(
    function: u64,
    shape: Shape,
    stream: u64,
    params: *const u64,
    extra: *const u64,
) -> Result<(), i32> {
    let (device, stream) = stream_now(stream)?;
    let function = function_of(function)?;
    if function.device != device {
        return Err(codes::ERROR_INVALID_HANDLE);
    }
    if !extra.is_null() && take(extra)? != 0 {
        return Err(codes::ERROR_NOT_SUPPORTED);
    }
    let mut bytes = vec![0; function.kernel.param_bytes()];
    for (at, (offset, size)) in function.kernel.params.iter().enumerate() {
        let pointer = take(params.wrapping_add(at))?;
        if pointer == 0 {
            return Err(codes::ERROR_INVALID_VALUE);
        }
        bytes[*offset..offset + size].copy_from_slice(host(pointer, *size));
    }
    let begin = launched::launch(driver(), &function, shape, bytes)?;
    driver().enqueue(stream, Work::Begin(begin))
}

/// The head of `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: u64,
    attributes: *const Attribute,
    count: u32,
}

/// Of `CUlaunchAttribute`: its value is a union, this its first word.
#[repr(C)]
#[derive(Clone, Copy)]
struct Attribute {
    id: u32,
    _pad: u32,
    value: i32,
    _more: [i32; 15],
}

/// Of `CUlaunchAttributeID`.
const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;

/// May a launch begin before what is in front has ended?
fn overlaps(config: &LaunchConfig) -> Result<bool, i32> {
    let device = &driver().config.device[device_now()?];
    let mut overlaps = false;
    for at in 0..config.count as usize {
        let attribute = take(config.attributes.wrapping_add(at))?;
        let able = device.overlaps && device.compute >= OVERLAPS;
        if attribute.id != PROGRAMMATIC_STREAM_SERIALIZATION || !able {
            return Err(codes::ERROR_NOT_SUPPORTED);
        }
        overlaps = attribute.value != 0;
    }
    Ok(overlaps)
}

export! {
    fn cuModuleLoad(module: *mut u64, path: *const i8) {
        let source = std::fs::read_to_string(text(path)?).map_err(|_| codes::ERROR_FILE_NOT_FOUND)?;
        load(module, &source)
    }
    fn cuModuleLoadData(module: *mut u64, image: *const i8) {
        load_image(module, image)
    }
    fn cuModuleLoadDataEx(module: *mut u64, image: *const i8, _count: u32, _options: u64, _values: u64) {
        load_image(module, image)
    }
    fn cuModuleUnload(module: u64) {
        let mut world = driver().world();
        let loaded = world.modules.remove(&module).ok_or(codes::ERROR_INVALID_HANDLE)?;
        for (address, _) in loaded.variables.values() {
            kernels::release(&mut world, *address);
        }
        Ok(())
    }
    fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const i8) {
        let loaded = driver().world().modules.get(&module).cloned().ok_or(codes::ERROR_INVALID_HANDLE)?;
        let name_of = text(name)?;
        if !loaded.knows(name_of) {
            driver().unlocked(loaded.device, &format!("the lazy loading of {name_of}"))?;
        }
        put(function, kernels::function(driver(), &loaded, text(name)?)?)
    }
    fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: u64, name: *const i8) {
        let world = driver().world();
        let loaded = world.modules.get(&module).ok_or(codes::ERROR_INVALID_HANDLE)?;
        let (at, size) = loaded.variables.get(text(name)?).ok_or(codes::ERROR_NOT_FOUND)?;
        super::offer(address, *at);
        super::offer(bytes, *size as usize);
        Ok(())
    }
    fn cuFuncGetAttribute(value: *mut i32, attribute: i32, function: u64) {
        let f = function_of(function)?;
        let compute = driver().config.device[f.device].compute as i32;
        put(value, match attribute {
            MAX_THREADS => f.max_threads() as i32,
            SHARED_BYTES => f.kernel.shared_bytes as i32,
            CONST_BYTES => 0,
            LOCAL_BYTES => f.kernel.local_bytes as i32,
            REGISTERS => REGISTERS_PRETENDED,
            PTX => PTX_VERSION,
            BINARY => compute,
            MAX_DYNAMIC_SHARED => f.dynamic_allowed() as i32,
            _ => 0,
        })
    }
    fn cuFuncSetAttribute(function: u64, attribute: i32, value: i32) {
        let f = function_of(function)?;
        let most = driver().config.device[f.device].shared_kib_per_block << 10;
        match attribute {
            MAX_DYNAMIC_SHARED => {
                let value = u32::try_from(value).map_err(|_| codes::ERROR_INVALID_VALUE)?;
                if value + f.kernel.shared_bytes as u32 > most {
                    return Err(codes::ERROR_INVALID_VALUE);
                }
                f.dynamic_limit.store(value, Ordering::Relaxed);
                Ok(())
            }
            CARVEOUT => Ok(()),
            _ => Err(codes::ERROR_INVALID_VALUE),
        }
    }
    fn cuFuncSetCacheConfig(function: u64, _config: i32) {
        function_of(function).map(|_| ())
    }
    fn cuLaunchKernel(
        function: u64, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32,
        shared: u32, stream: u64, params: *const u64, extra: *const u64,
    ) {
        let shape = Shape { grid: [gx, gy, gz], block: [bx, by, bz], shared, overlaps: false };
        launch(function, shape, stream, params, extra)
    }
    /// All blocks must fit the card at once.
    fn cuLaunchCooperativeKernel(
        function: u64, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32,
        shared: u32, stream: u64, params: *const u64,
    ) {
        let f = function_of(function)?;
        let device = &driver().config.device[f.device];
        let each = launched::resident(device, &f.kernel, bx * by * bz, shared);
        if gx * gy * gz > each * device.multiprocessors {
            return Err(codes::ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
        }
        let shape = Shape { grid: [gx, gy, gz], block: [bx, by, bz], shared, overlaps: false };
        launch(function, shape, stream, params, std::ptr::null())
    }
    /// With other attributes than that for programmatic launches it is refused.
    fn cuLaunchKernelEx(config: *const LaunchConfig, function: u64, params: *const u64, extra: *const u64) {
        let c = take(config)?;
        let shape = Shape { grid: c.grid, block: c.block, shared: c.shared, overlaps: overlaps(&c)? };
        launch(function, shape, c.stream, params, extra)
    }
}
