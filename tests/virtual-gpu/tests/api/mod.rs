//! The driver's functions, and short ways to use them.
#![allow(dead_code)]

use std::ffi::{CString, c_char};
use std::process::Command;

use virtual_gpu as _; // the functions below are in it

pub const HEAD: &str = ".version 9.0\n.target sm_80\n.address_size 64\n";
pub const LEGACY_WAIT: u32 = 0;
pub const NON_BLOCKING: u32 = 1;

macro_rules! api {
    ($(fn $name:ident($($arg:ident: $ty:ty),*);)*) => { unsafe extern "C" { $(pub safe fn $name($($arg: $ty),*) -> i32;)* } };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Id(pub [u8; 128]);

/// `CUlaunchConfig`: grid, block and bytes of shared memory, stream, attributes and their number.
#[repr(C)]
pub struct Config(pub [u32; 7], pub u64, pub *const Attribute, pub u32);

/// `CUlaunchAttribute`: which, and its value.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Attribute(pub [u32; 2], pub [u32; 16]);

api! {
    fn cuInit(flags: u32);
    fn cuDevicePrimaryCtxRetain(context: *mut u64, device: i32);
    fn cuCtxSetCurrent(context: u64);
    fn cuCtxGetCurrent(context: *mut u64);
    fn cuCtxSynchronize();
    fn cuCtxEnablePeerAccess(context: u64, flags: u32);
    fn cuDeviceCanAccessPeer(can: *mut i32, device: i32, peer: i32);
    fn cuMemHostGetDevicePointer_v2(at: *mut u64, host: u64, flags: u32);
    fn cuMemHostRegister_v2(at: u64, bytes: usize, flags: u32);
    fn cuMemHostUnregister(at: u64);
    fn cuMemPoolSetAccess(pool: u64, map: *const [i32; 3], count: usize);
    fn cuLaunchCooperativeKernel(f: u64, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: u64, params: *const u64);
    fn cuMemAlloc_v2(at: *mut u64, bytes: usize);
    fn cuMemFree_v2(at: u64);
    fn cuMemAllocAsync(at: *mut u64, bytes: usize, stream: u64);
    fn cuMemFreeAsync(at: u64, stream: u64);
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuMemHostAlloc(at: *mut u64, bytes: usize, flags: u32);
    fn cuMemcpyHtoD_v2(to: u64, from: u64, bytes: usize);
    fn cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64);
    fn cuMemcpyDtoH_v2(to: u64, from: u64, bytes: usize);
    fn cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: usize, stream: u64);
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64);
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: u64);
    fn cuModuleLoadData(module: *mut u64, image: *const c_char);
    fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const c_char);
    fn cuLaunchKernel(f: u64, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: u64, params: *const u64, extra: *const u64);
    fn cuLaunchKernelEx(config: *const Config, f: u64, params: *const u64, extra: *const u64);
    fn cuFuncSetAttribute(f: u64, attribute: i32, value: i32);
    fn cuStreamCreate(stream: *mut u64, flags: u32);
    fn cuStreamSynchronize(stream: u64);
    fn cuStreamQuery(stream: u64);
    fn cuStreamWaitEvent(stream: u64, event: u64, flags: u32);
    fn cuStreamBeginCapture_v2(stream: u64, mode: i32);
    fn cuStreamEndCapture(stream: u64, graph: *mut u64);
    fn cuStreamIsCapturing(stream: u64, status: *mut i32);
    fn cuGraphInstantiateWithFlags(executable: *mut u64, graph: u64, flags: u64);
    fn cuGraphLaunch(executable: u64, stream: u64);
    fn cuGraphDestroy(graph: u64);
    fn cuGraphExecDestroy(executable: u64);
    fn cuEventCreate(event: *mut u64, flags: u32);
    fn cuEventRecord(event: u64, stream: u64);
    fn cuEventRecordWithFlags(event: u64, stream: u64, flags: u32);
    fn cuEventSynchronize(event: u64);
    fn cuEventQuery(event: u64);
    fn cuEventElapsedTime_v2(ms: *mut f32, start: u64, end: u64);
    fn cuDeviceGetDefaultMemPool(pool: *mut u64, device: i32);
    fn cuMemPoolSetAttribute(pool: u64, attribute: i32, value: *const u64);
    fn cuMemPoolGetAttribute(pool: u64, attribute: i32, value: *mut u64);
    fn ncclGetUniqueId(id: *mut Id);
    fn ncclCommInitRank(comm: *mut u64, ranks: i32, id: Id, rank: i32);
    fn ncclCommInitRankConfig(comm: *mut u64, ranks: i32, id: Id, rank: i32, config: *const [u64; 3]);
    fn ncclCommGetAsyncError(comm: u64, error: *mut i32);
    fn ncclCommAbort(comm: u64);
    fn ncclCommDestroy(comm: u64);
    fn ncclAllReduce(send: u64, receive: u64, count: usize, ty: i32, op: i32, comm: u64, stream: u64);
    fn ncclAllGather(send: u64, receive: u64, count: usize, ty: i32, comm: u64, stream: u64);
    fn cublasLtMatmulDescCreate(d: *mut u64, compute: i32, scale: i32);
    fn cublasLtMatmulDescSetAttribute(d: u64, attribute: i32, value: u64, bytes: usize);
    fn cublasLtMatrixLayoutCreate(l: *mut u64, ty: i32, rows: u64, columns: u64, leading: i64);
    fn cublasLtMatmul(h: u64, d: u64, alpha: *const f32, a: u64, la: u64, b: u64, lb: u64, beta: *const f32, c: u64, lc: u64, out: u64, ld: u64, algorithm: u64, workspace: u64, bytes: usize, stream: u64);
    fn nvmlInit_v2();
    fn nvmlDeviceGetHandleByIndex_v2(index: u32, handle: *mut u64);
    fn nvmlDeviceGetPowerUsage(handle: u64, mw: *mut u32);
    fn nvmlDeviceGetTotalEnergyConsumption(handle: u64, mj: *mut u64);
    fn nvmlDeviceGetMemoryInfo(handle: u64, out: *mut [u64; 3]);
}

pub fn ok(code: i32) {
    assert_eq!(code, 0);
}

/// A result that comes through a pointer.
pub fn get<T: Default>(call: impl FnOnce(*mut T) -> i32) -> T {
    let mut value = T::default();
    ok(call(&mut value));
    value
}

pub fn begin(device: i32) {
    ok(cuInit(0));
    ok(cuCtxSetCurrent(get(|c| {
        cuDevicePrimaryCtxRetain(c, device)
    })));
}

pub fn upload<T: Copy>(values: &[T]) -> u64 {
    let at = get(|p| cuMemAlloc_v2(p, std::mem::size_of_val(values)));
    ok(cuMemcpyHtoD_v2(
        at,
        values.as_ptr() as u64,
        std::mem::size_of_val(values),
    ));
    at
}

pub fn download<T: Copy + Default>(at: u64, count: usize) -> Vec<T> {
    let mut out = vec![T::default(); count];
    ok(cuMemcpyDtoH_v2(
        out.as_mut_ptr() as u64,
        at,
        std::mem::size_of_val(&out[..]),
    ));
    out
}

pub fn function(text: &str, name: &str) -> u64 {
    let text = CString::new(format!("{HEAD}{text}")).unwrap();
    let module = get(|m| cuModuleLoadData(m, text.as_ptr()));
    let name = CString::new(name).unwrap();
    get(|f| cuModuleGetFunction(f, module, name.as_ptr()))
}

/// Adds a number to one word.
pub const ADD: &str = ".visible .entry add(.param .u64 p, .param .u32 n) { .reg .b32 %r<4>; .reg .b64 %rd<2>; .reg .pred %q;
    ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n]; ld.global.u32 %r2, [%rd1]; add.u32 %r2, %r2, %r1; st.global.u32 [%rd1], %r2; ret; }";

pub fn add(f: u64, at: u64, n: u32, stream: u64) -> i32 {
    let n = u64::from(n);
    let params = [&raw const at as u64, &raw const n as u64];
    cuLaunchKernel(
        f,
        1,
        1,
        1,
        1,
        1,
        1,
        0,
        stream,
        params.as_ptr(),
        std::ptr::null(),
    )
}

pub fn stream() -> u64 {
    get(|s| cuStreamCreate(s, NON_BLOCKING))
}

pub fn event() -> u64 {
    get(|e| cuEventCreate(e, 0))
}

/// Runs a case in processes of their own, under some seeds, and gives back what the last one said (nothing,
/// where this is such a process).
pub fn apart(cases: &[(&str, fn())], name: &str, variables: &[(&str, &str)], seeds: u64) -> String {
    let mut said = String::new();
    if let Ok(wanted) = std::env::var("VGPU_TEST_CASE") {
        if wanted == name {
            cases.iter().find(|(known, _)| *known == name).unwrap().1();
        }
        return said;
    }
    for seed in 0..seeds {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("VGPU_TEST_CASE", name)
            .env("VGPU_SEED", seed.to_string())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}, seed {seed}: {text}");
        said = text.into_owned();
    }
    said
}

/// A configuration's file, which goes when the first of both is dropped, and its name.
pub fn configuration(text: &str) -> (tempfile::TempPath, String) {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&path, text).unwrap();
    let name = path.to_str().unwrap().to_owned();
    (path, name)
}
