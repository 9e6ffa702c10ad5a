//! cuBLAS: the products that candle and we use.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use super::gemm::{self, Activation, Cut, Data, Matrix, Product};
use crate::calls::{device_now, export, put, stream_now, take};
use crate::driver::traced::Ran;
use crate::driver::work::{Failure, Work};
use crate::driver::{Driver, codes, driver};

const NOT_INITIALIZED: i32 = 1;
const INVALID_VALUE: i32 = 7;
const EXECUTION_FAILED: i32 = 13;
const NOT_SUPPORTED: i32 = 15;
const VERSION: i32 = 130_000;

const HANDLE_BASE: u64 = 0xb1a5_0000;
const HANDLE_STEP: u64 = 16;

/// Bits of a multiplication a nanosecond, pretended.
pub const FLOPS: u64 = 50_000;

#[derive(Clone, Copy, Default)]
struct Handle {
    stream: u64,
    pointers_on_device: bool,
    math: i32,
}

static HANDLES: LazyLock<Mutex<HashMap<u64, Handle>>> = LazyLock::new(Mutex::default);

fn handles() -> MutexGuard<'static, HashMap<u64, Handle>> {
    HANDLES.lock().unwrap_or_else(|e| e.into_inner())
}

fn change(handle: u64, change: impl Fn(&mut Handle)) -> Result<(), i32> {
    handles()
        .get_mut(&handle)
        .map(change)
        .ok_or(NOT_INITIALIZED)
}

/// What a compute type cuts its inputs to; `None` for types that are not built.
pub fn cut_of(compute: i32) -> Option<Cut> {
    match compute {
        68..=71 => Some(Cut::None), // 32F and 64F
        77 => Some(Cut::Tf32),
        75 => Some(Cut::Bf16),
        74 => Some(Cut::F16),
        64 | 65 => Some(Cut::None), // 16F: summed in f32 here
        _ => None,
    }
}

/// Puts a product in a stream.
pub fn submit(stream: u64, product: Product) -> Result<(), i32> {
    let (_, id) = stream_now(stream).map_err(|_| EXECUTION_FAILED)?;
    let run = move |driver: &Driver, device: usize| {
        let mut view = driver.device_view(device);
        gemm::run(&mut view, &product).map_err(|f| {
            Failure::new(
                codes::ERROR_ILLEGAL_ADDRESS,
                format!(
                    "matrix product {}x{}x{}: {f}",
                    product.m, product.n, product.k
                ),
            )
        })?;
        if view.unwritten > 0 {
            crate::driver::log(&format!(
                "matrix product {}x{}x{} read {} bytes that were never written",
                product.m, product.n, product.k, view.unwritten
            ));
            if driver.config.strict {
                return Err(Failure::new(
                    codes::ERROR_ILLEGAL_ADDRESS,
                    "a matrix product read memory that was never written",
                ));
            }
        }
        let nanoseconds = (2 * product.m * product.n * product.k * product.batch) as u64 / FLOPS;
        driver.ran(device, nanoseconds, || Ran {
            name: format!("virtual_gemm_{}x{}x{}", product.m, product.n, product.k),
            grid: [1; 3],
            block: [128, 1, 1],
            registers: 128,
            ..Ran::default()
        });
        Ok(nanoseconds)
    };
    driver()
        .enqueue(id, Work::Run(Arc::new(run)))
        .map_err(|_| EXECUTION_FAILED)
}

struct Side {
    at: u64,
    ty: i32,
    leading: i32,
    stride: i64,
}

#[allow(clippy::too_many_arguments)]
fn product(
    handle: u64,
    operations: [i32; 2],
    sizes: [i32; 3],
    alpha: *const u8,
    beta: *const u8,
    sides: [Side; 3],
    batch: i32,
    compute: i32,
) -> Result<(), i32> {
    let handle = *handles().get(&handle).ok_or(NOT_INITIALIZED)?;
    if handle.pointers_on_device {
        return Err(NOT_SUPPORTED);
    }
    let mut cut = cut_of(compute).ok_or(NOT_SUPPORTED)?;
    // The math mode may allow TF32 for plain f32.
    const TF32_ALLOWED: i32 = 3;
    let scale = |at: *const u8| -> Result<f64, i32> {
        match compute {
            64 | 65 => take(at.cast::<u16>()).map(|h| crate::exec::floats::f16_to_f32(h).into()),
            70 | 71 => take(at.cast::<f64>()),
            _ => take(at.cast::<f32>()).map(f64::from),
        }
    };
    let [m, n, k] = sizes;
    if m < 0 || n < 0 || k < 0 || batch < 0 {
        return Err(INVALID_VALUE);
    }
    let matrix = |side: &Side, transposed: bool, rows: i32, columns: i32| -> Result<Matrix, i32> {
        let data = Data::numbered(side.ty).ok_or(NOT_SUPPORTED)?;
        let inner = if transposed { columns } else { rows };
        if side.leading < inner.max(1) {
            return Err(INVALID_VALUE);
        }
        Ok(Matrix {
            at: side.at,
            data,
            leading: side.leading as usize,
            stride: side.stride,
            transposed,
        })
    };
    let transposed = operations.map(|o| o != 0);
    let a = matrix(&sides[0], transposed[0], m, k)?;
    let b = matrix(&sides[1], transposed[1], k, n)?;
    let c = matrix(&sides[2], false, m, n)?;
    if handle.math & TF32_ALLOWED == TF32_ALLOWED && a.data == Data::F32 && cut == Cut::None {
        cut = Cut::Tf32;
    }
    if a.data == Data::F64 && (b.data != Data::F64 || c.data != Data::F64)
        || matches!(a.data, Data::E4m3 | Data::E5m2)
    {
        return Err(NOT_SUPPORTED);
    }
    submit(
        handle.stream,
        Product {
            m: m as usize,
            n: n as usize,
            k: k as usize,
            alpha: scale(alpha).map_err(|_| INVALID_VALUE)?,
            beta: scale(beta).map_err(|_| INVALID_VALUE)?,
            a,
            b,
            c,
            d: c,
            batch: batch as usize,
            cut,
            bias: None,
            activation: Activation::None,
            scales: [0; 3],
        },
    )
}

export! {
    fn cublasCreate_v2(handle: *mut u64) {
        device_now().map_err(|_| NOT_INITIALIZED)?;
        let mut all = handles();
        let id = HANDLE_BASE + all.len() as u64 * HANDLE_STEP;
        all.insert(id, Handle::default());
        put(handle, id)
    }
    fn cublasDestroy_v2(handle: u64) {
        change(handle, |_| ())
    }
    fn cublasSetStream_v2(handle: u64, stream: u64) {
        change(handle, |h| h.stream = stream)
    }
    fn cublasGetStream_v2(handle: u64, stream: *mut u64) {
        put(stream, handles().get(&handle).ok_or(NOT_INITIALIZED)?.stream)
    }
    fn cublasSetWorkspace_v2(handle: u64, _workspace: u64, _bytes: usize) {
        change(handle, |_| ())
    }
    fn cublasSetMathMode(handle: u64, mode: i32) {
        change(handle, |h| h.math = mode)
    }
    fn cublasGetMathMode(handle: u64, mode: *mut i32) {
        put(mode, handles().get(&handle).ok_or(NOT_INITIALIZED)?.math)
    }
    fn cublasSetPointerMode_v2(handle: u64, mode: i32) {
        change(handle, |h| h.pointers_on_device = mode != 0)
    }
    fn cublasGetVersion_v2(_handle: u64, version: *mut i32) {
        put(version, VERSION)
    }
    fn cublasGemmEx(
        handle: u64, oa: i32, ob: i32, m: i32, n: i32, k: i32, alpha: *const u8,
        a: u64, a_type: i32, lda: i32, b: u64, b_type: i32, ldb: i32, beta: *const u8,
        c: u64, c_type: i32, ldc: i32, compute: i32, _algorithm: i32,
    ) {
        let sides = [
            Side { at: a, ty: a_type, leading: lda, stride: 0 },
            Side { at: b, ty: b_type, leading: ldb, stride: 0 },
            Side { at: c, ty: c_type, leading: ldc, stride: 0 },
        ];
        product(handle, [oa, ob], [m, n, k], alpha, beta, sides, 1, compute)
    }
    fn cublasGemmStridedBatchedEx(
        handle: u64, oa: i32, ob: i32, m: i32, n: i32, k: i32, alpha: *const u8,
        a: u64, a_type: i32, lda: i32, a_stride: i64, b: u64, b_type: i32, ldb: i32, b_stride: i64, beta: *const u8,
        c: u64, c_type: i32, ldc: i32, c_stride: i64, batch: i32, compute: i32, _algorithm: i32,
    ) {
        let sides = [
            Side { at: a, ty: a_type, leading: lda, stride: a_stride },
            Side { at: b, ty: b_type, leading: ldb, stride: b_stride },
            Side { at: c, ty: c_type, leading: ldc, stride: c_stride },
        ];
        product(handle, [oa, ob], [m, n, k], alpha, beta, sides, batch, compute)
    }
    fn cublasSgemm_v2(
        handle: u64, oa: i32, ob: i32, m: i32, n: i32, k: i32, alpha: *const u8,
        a: u64, lda: i32, b: u64, ldb: i32, beta: *const u8, c: u64, ldc: i32,
    ) {
        const SINGLE: i32 = 68;
        let sides = [
            Side { at: a, ty: 0, leading: lda, stride: 0 },
            Side { at: b, ty: 0, leading: ldb, stride: 0 },
            Side { at: c, ty: 0, leading: ldc, stride: 0 },
        ];
        product(handle, [oa, ob], [m, n, k], alpha, beta, sides, 1, SINGLE)
    }
}
