//! cuBLASLt: descriptors, heuristics (algorithms that differ by name) and the product.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard};

use super::cublas::{cut_of, submit};
use super::gemm::{Activation, Data, Matrix, Product};
use crate::calls::{device_now, export, host, host_mut, offer, put, take};

const INVALID_VALUE: i32 = 7;
const NOT_SUPPORTED: i32 = 15;

const HANDLE_BASE: u64 = 0xb1a6_0000;
const HANDLE_STEP: u64 = 16;

/// Attributes of a descriptor or layout, as the bytes that were set.
#[derive(Clone, Default)]
struct Attributes(HashMap<i32, Vec<u8>>);

static ALL: LazyLock<Mutex<(u64, HashMap<u64, Attributes>)>> =
    LazyLock::new(|| Mutex::new((HANDLE_BASE, HashMap::new())));

fn all() -> MutexGuard<'static, (u64, HashMap<u64, Attributes>)> {
    ALL.lock().unwrap_or_else(|e| e.into_inner())
}

fn create(handle: *mut u64, attributes: Attributes) -> Result<(), i32> {
    let mut all = all();
    all.0 += HANDLE_STEP;
    let id = all.0;
    all.1.insert(id, attributes);
    put(handle, id)
}

fn destroy(handle: u64) -> Result<(), i32> {
    all().1.remove(&handle).map(|_| ()).ok_or(INVALID_VALUE)
}

fn set(handle: u64, attribute: i32, value: u64, bytes: usize) -> Result<(), i32> {
    let mut all = all();
    let found = all.1.get_mut(&handle).ok_or(INVALID_VALUE)?;
    if value == 0 {
        return Err(INVALID_VALUE);
    }
    found.0.insert(attribute, host(value, bytes).to_vec());
    Ok(())
}

fn get(
    handle: u64,
    attribute: i32,
    value: u64,
    room: usize,
    written: *mut usize,
) -> Result<(), i32> {
    let all = all();
    let bytes = all
        .1
        .get(&handle)
        .and_then(|a| a.0.get(&attribute))
        .ok_or(INVALID_VALUE)?;
    offer(written, bytes.len());
    if room < bytes.len() || value == 0 {
        return Err(INVALID_VALUE);
    }
    host_mut(value, bytes.len()).copy_from_slice(bytes);
    Ok(())
}

impl Attributes {
    /// The value as a number, or what it is if it was never set.
    fn number(&self, attribute: i32, otherwise: u64) -> u64 {
        let Some(bytes) = self.0.get(&attribute) else {
            return otherwise;
        };
        let mut all = [0; 8];
        all[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
        u64::from_le_bytes(all)
    }
}

/// Of `cublasLtMatrixLayoutAttribute_t`.
mod layout {
    pub const TYPE: i32 = 0;
    pub const ORDER: i32 = 1;
    pub const ROWS: i32 = 2;
    pub const COLUMNS: i32 = 3;
    pub const LEADING: i32 = 4;
    pub const BATCH: i32 = 5;
    pub const STRIDE: i32 = 6;
}

/// Of `cublasLtMatmulDescAttributes_t`.
mod describe {
    pub const COMPUTE: i32 = 0;
    pub const SCALE: i32 = 1;
    pub const POINTER_MODE: i32 = 2;
    pub const TRANSPOSE_A: i32 = 3;
    pub const TRANSPOSE_B: i32 = 4;
    pub const TRANSPOSE_C: i32 = 5;
    pub const EPILOGUE: i32 = 7;
    pub const BIAS: i32 = 8;
    pub const SCALE_A: i32 = 17;
    pub const SCALE_B: i32 = 18;
    pub const SCALE_D: i32 = 20;
    pub const BIAS_TYPE: i32 = 26;
    pub const MODES: [i32; 4] = [31, 32, 33, 34];
}

fn attributes(handle: u64) -> Result<Attributes, i32> {
    all().1.get(&handle).cloned().ok_or(INVALID_VALUE)
}

fn matrix(at: u64, handle: u64, transposed: bool) -> Result<(Matrix, [u64; 2], usize), i32> {
    let a = attributes(handle)?;
    let data = Data::numbered(a.number(layout::TYPE, 0) as i32).ok_or(NOT_SUPPORTED)?;
    if a.number(layout::ORDER, 0) != 0 {
        return Err(NOT_SUPPORTED);
    }
    let matrix = Matrix {
        at,
        data,
        leading: a.number(layout::LEADING, 0) as usize,
        stride: a.number(layout::STRIDE, 0) as i64,
        transposed,
    };
    let sizes = [a.number(layout::ROWS, 0), a.number(layout::COLUMNS, 0)];
    Ok((matrix, sizes, a.number(layout::BATCH, 1).max(1) as usize))
}

/// The product that a descriptor and four layouts describe; refuses what real cuBLASLt refuses.
fn product(
    descriptor: u64,
    at: [u64; 4],
    layouts: [u64; 4],
    scalars: [f64; 2],
) -> Result<Product, i32> {
    const FP8_ALIGNMENT: usize = 16;
    let d = attributes(descriptor)?;
    let compute = d.number(describe::COMPUTE, 68) as i32;
    let cut = cut_of(compute).ok_or(NOT_SUPPORTED)?;
    let ta = d.number(describe::TRANSPOSE_A, 0) != 0;
    let tb = d.number(describe::TRANSPOSE_B, 0) != 0;
    let unusual =
        d.number(describe::POINTER_MODE, 0) != 0 || d.number(describe::TRANSPOSE_C, 0) != 0;
    if unusual || describe::MODES.iter().any(|m| d.number(*m, 0) != 0) {
        return Err(NOT_SUPPORTED);
    }
    let (a, [ra, ca], batch) = matrix(at[0], layouts[0], ta)?;
    let (b, [rb, cb], _) = matrix(at[1], layouts[1], tb)?;
    let (c, _, _) = matrix(at[2], layouts[2], false)?;
    let (out, [m, n], _) = matrix(at[3], layouts[3], false)?;
    let (am, ak) = if ta { (ca, ra) } else { (ra, ca) };
    let (bk, bn) = if tb { (cb, rb) } else { (rb, cb) };
    if am != m
        || bn != n
        || ak != bk
        || a.leading < ra as usize
        || b.leading < rb as usize
        || out.leading < m as usize
    {
        return Err(INVALID_VALUE);
    }
    let small = |m: &Matrix| matches!(m.data, Data::E4m3 | Data::E5m2);
    if small(&a) || small(&b) {
        // FP8 goes in the TN form only, with dimensions of whole 16 bytes.
        let sound = ta
            && !tb
            && small(&a)
            && small(&b)
            && [m as usize, ak as usize]
                .iter()
                .all(|s| s % FP8_ALIGNMENT == 0);
        if !sound || a.data == Data::E5m2 && b.data == Data::E5m2 {
            return Err(NOT_SUPPORTED);
        }
    } else if a.data != b.data {
        return Err(NOT_SUPPORTED);
    }
    let epilogue = d.number(describe::EPILOGUE, 1);
    let (activation, with_bias) = match epilogue {
        1 => (Activation::None, false),
        2 => (Activation::Relu, false),
        4 => (Activation::None, true),
        6 => (Activation::Relu, true),
        32 => (Activation::Gelu, false),
        36 => (Activation::Gelu, true),
        _ => return Err(NOT_SUPPORTED),
    };
    let bias_type = d.0.get(&describe::BIAS_TYPE).map_or(Some(out.data), |_| {
        Data::numbered(d.number(describe::BIAS_TYPE, 0) as i32)
    });
    let bias = if with_bias {
        Some((d.number(describe::BIAS, 0), bias_type.ok_or(NOT_SUPPORTED)?))
    } else {
        None
    };
    Ok(Product {
        m: m as usize,
        n: n as usize,
        k: ak as usize,
        alpha: scalars[0],
        beta: scalars[1],
        a,
        b,
        c,
        d: out,
        batch,
        cut,
        bias,
        activation,
        scales: [describe::SCALE_A, describe::SCALE_B, describe::SCALE_D].map(|s| d.number(s, 0)),
    })
}

const DOUBLE: u64 = 1;

/// As many as are told of one product.
const ALGORITHMS: i32 = 3;

#[repr(C)]
pub struct Heuristic {
    algorithm: [u64; 8],
    workspace: usize,
    state: i32,
    waves: f32,
    reserved: [i32; 4],
}

export! {
    fn cublasLtCreate(handle: *mut u64) {
        device_now().map_err(|_| 1)?;
        create(handle, Attributes::default())
    }
    fn cublasLtDestroy(handle: u64) {
        destroy(handle)
    }
    fn cublasLtMatmulDescCreate(descriptor: *mut u64, compute: i32, scale: i32) {
        let mut attributes = Attributes::default();
        attributes.0.insert(describe::COMPUTE, compute.to_le_bytes().to_vec());
        attributes.0.insert(describe::SCALE, scale.to_le_bytes().to_vec());
        create(descriptor, attributes)
    }
    fn cublasLtMatmulDescDestroy(descriptor: u64) {
        destroy(descriptor)
    }
    fn cublasLtMatmulDescSetAttribute(descriptor: u64, attribute: i32, value: u64, bytes: usize) {
        set(descriptor, attribute, value, bytes)
    }
    fn cublasLtMatmulDescGetAttribute(descriptor: u64, attribute: i32, value: u64, room: usize, written: *mut usize) {
        get(descriptor, attribute, value, room, written)
    }
    fn cublasLtMatrixLayoutCreate(handle: *mut u64, ty: i32, rows: u64, columns: u64, leading: i64) {
        let mut attributes = Attributes::default();
        attributes.0.insert(layout::TYPE, ty.to_le_bytes().to_vec());
        attributes.0.insert(layout::ROWS, rows.to_le_bytes().to_vec());
        attributes.0.insert(layout::COLUMNS, columns.to_le_bytes().to_vec());
        attributes.0.insert(layout::LEADING, leading.to_le_bytes().to_vec());
        create(handle, attributes)
    }
    fn cublasLtMatrixLayoutDestroy(handle: u64) {
        destroy(handle)
    }
    fn cublasLtMatrixLayoutSetAttribute(handle: u64, attribute: i32, value: u64, bytes: usize) {
        set(handle, attribute, value, bytes)
    }
    fn cublasLtMatrixLayoutGetAttribute(handle: u64, attribute: i32, value: u64, room: usize, written: *mut usize) {
        get(handle, attribute, value, room, written)
    }
    fn cublasLtMatmulPreferenceCreate(handle: *mut u64) {
        create(handle, Attributes::default())
    }
    fn cublasLtMatmulPreferenceDestroy(handle: u64) {
        destroy(handle)
    }
    fn cublasLtMatmulPreferenceSetAttribute(handle: u64, attribute: i32, value: u64, bytes: usize) {
        set(handle, attribute, value, bytes)
    }
    fn cublasLtMatmulAlgoGetHeuristic(
        _handle: u64, descriptor: u64, a: u64, b: u64, c: u64, d: u64, _preference: u64,
        wanted: i32, results: *mut Heuristic, count: *mut i32,
    ) {
        let sound = product(descriptor, [0; 4], [a, b, c, d], [1.0, 0.0]);
        let found = if sound.is_ok() { wanted.clamp(0, ALGORITHMS) } else { 0 };
        put(count, found)?;
        sound?;
        for i in 0..found {
            let algorithm = [1 + i as u64; 8];
            put(results.wrapping_add(i as usize), Heuristic { algorithm, workspace: 0, state: 0, waves: 1.0, reserved: [0; 4] })?;
        }
        Ok(())
    }
    fn cublasLtMatmul(
        _handle: u64, descriptor: u64, alpha: *const u8, a: u64, a_layout: u64, b: u64, b_layout: u64, beta: *const u8,
        c: u64, c_layout: u64, d: u64, d_layout: u64, _algorithm: u64, _workspace: u64, _bytes: usize, stream: u64,
    ) {
        let double = attributes(descriptor)?.number(describe::SCALE, 0) == DOUBLE;
        let scalar = |at: *const u8| {
            let value = if double { take(at.cast::<f64>()) } else { take(at.cast::<f32>()).map(f64::from) };
            value.map_err(|_| INVALID_VALUE)
        };
        let product = product(descriptor, [a, b, c, d], [a_layout, b_layout, c_layout, d_layout], [scalar(alpha)?, scalar(beta)?])?;
        submit(stream, product)
    }
}
