//! Dense linear layers: few rows by a kernel of our own, more through cuBLASLt, whose algorithm is kept for each shape.

mod gemv;
mod plan;
mod trials;

use std::collections::HashMap;
use std::sync::Mutex;

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::cublaslt::{result, sys};
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{DType, Error, Result, Tensor, TensorId, bail};

use super::{Cuda, Gpu, lock, tensor};
use crate::ops::scratch::BLAS_BYTES;
use crate::ops::{Buffer, Linear};
use plan::{Operands, Plan, Shape};
use trials::Trials;

/// How launches name a product: the kernel is cuBLASLt's choice.
const CALL: &str = "cublasLtMatmul";

/// cuBLASLt on one GPU.
pub struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    plans: Mutex<HashMap<Shape, Plan>>,
    /// While algorithms are tried.
    trials: Mutex<Option<Trials>>,
    /// Biases in the type of their layers' results. An id is never given twice.
    biases: Mutex<HashMap<TensorId, Tensor>>,
}

// SAFETY: cuBLASLt's functions may be called from any thread, and plans lie behind a lock.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Blas {
    /// # Errors
    /// cuBLASLt does not start, or there is no memory for its workspace.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let handle = result::create_handle()
            .map_err(|error| Error::msg(format!("cuBLASLt does not start: {error}")))?;
        // SAFETY: cuBLASLt writes what it reads of its workspace.
        let workspace = unsafe { gpu.stream.alloc::<u8>(BLAS_BYTES) }.w()?;
        Ok(Self {
            handle,
            workspace,
            plans: Mutex::default(),
            trials: Mutex::default(),
            biases: Mutex::default(),
        })
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        lock(&self.plans).clear();
        // SAFETY: the handle was created by `new`, and nothing uses it after this.
        // A library that is going down has nobody to tell of a failure.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// `out[i] = W x[i] + b` for the first `rows` rows, summed in f32. `x` and the weight have the type of
/// activations, `out` that or f32; it is `n` wide.
///
/// # Errors
/// Operands that do not fit together, or a product that cuBLASLt refuses.
pub fn linear(cuda: &Cuda, x: &Tensor, w: &Linear, rows: usize, out: &Buffer) -> Result<()> {
    if rows == 0 || w.n == 0 {
        return Ok(());
    }
    check(x, w.weight.dtype(), w, w.n, rows, out)?;
    match gemv::takes(x, w, rows)? {
        true => gemv::gemv(cuda, x, w, rows, out, false),
        false => multiply(cuda, x, w, rows, out),
    }
}

/// Whether [`gated`] is one kernel for `rows` rows of `x`.
///
/// # Errors
/// Operands that are on another device.
pub fn gates(cuda: &Cuda, x: &Tensor, w: &Linear, rows: usize) -> Result<bool> {
    let own = w.weight.dtype() == cuda.dtype && w.n.is_multiple_of(2);
    Ok(own && gemv::takes(x, w, rows)?)
}

/// `out[i] = silu(gate) * up` of `W x[i] + b`, gate over up, for few rows; `out` is `n / 2` wide, of the activations'
/// type, to which gate and up are rounded before.
///
/// # Errors
/// As [`linear`].
pub fn gated(cuda: &Cuda, x: &Tensor, w: &Linear, rows: usize, out: &Buffer) -> Result<()> {
    check(x, w.weight.dtype(), w, w.n / 2, rows, out)?;
    gemv::gemv(cuda, x, w, rows, out, true)
}

/// [`linear`] through cuBLASLt.
fn multiply(cuda: &Cuda, x: &Tensor, w: &Linear, rows: usize, out: &Buffer) -> Result<()> {
    let blas = &cuda.blas;
    let bias = match &w.bias {
        None => None,
        Some(bias) => Some(blas.bias(bias, out)?),
    };
    let operands = Operands {
        weight: tensor::address(&w.weight)?,
        x: tensor::address(x)?,
        bias: bias.as_ref().map(tensor::address).transpose()?,
        out: tensor::address(out)?,
    };
    let shape = Shape {
        n: w.n,
        k: w.k,
        rows,
        dtype: w.weight.dtype(),
        out: out.dtype(),
        alignment: operands.alignment(),
        bias: bias.is_some(),
    };
    let failed = |error: Error| {
        Error::msg(format!(
            "a linear layer of {} x {} in {:?} on {rows} rows to {:?}: {error}",
            w.n, w.k, shape.dtype, shape.out
        ))
    };
    let mut plans = lock(&blas.plans);
    let plan = match plans.get(&shape) {
        Some(plan) => plan,
        None => {
            let plan = Plan::new(blas.handle, &shape, BLAS_BYTES).map_err(failed)?;
            plans.entry(shape).or_insert(plan)
        }
    };
    let stream = &cuda.gpu.stream;
    let workspace = (blas.workspace.device_ptr(stream).0, BLAS_BYTES);
    let run = |guess| {
        let handle = blas.handle;
        let stream = stream.cu_stream().cast();
        let run = || plan.run(guess, handle, &operands, workspace, stream);
        cuda.gpu.launches.library(CALL, run)
    };
    // Ranks that compute the same must agree in every bit: scores of experts, which are f32.
    let alone = shape.out == shape.dtype && shape.dtype != DType::F32;
    match &mut *lock(&blas.trials) {
        Some(trials) if alone && plan.guesses() > 1 && !cuda.gpu.captures() => {
            trials.run(&cuda.gpu, shape, plan, run)
        }
        _ => run(0),
    }
    .map_err(failed)
}

impl Blas {
    /// From now on products try the algorithms that cuBLASLt expects to be fastest.
    pub fn try_algorithms(&self) {
        *lock(&self.trials) = Some(Trials::default());
    }

    /// Keeps for each shape the one that was.
    ///
    /// # Errors
    /// The device has failed.
    pub fn keep_fastest(&self, gpu: &Gpu) -> Result<()> {
        let trials = lock(&self.trials).take();
        trials.map_or(Ok(()), |trials| trials.decide(gpu, &mut lock(&self.plans)))
    }

    /// The epilogue adds a bias of the result's type: a checkpoint's, which is rounded as its weights are.
    fn bias(&self, bias: &Tensor, out: &Buffer) -> Result<Tensor> {
        if bias.dtype() == out.dtype() {
            return Ok(bias.clone());
        }
        let mut biases = lock(&self.biases);
        if let Some(cast) = biases.get(&bias.id()) {
            return Ok(cast.clone());
        }
        let cast = bias.to_dtype(out.dtype())?;
        biases.insert(bias.id(), cast.clone());
        Ok(cast)
    }
}

/// Holds that the product stays within its operands, `out` as wide as is said, and that `x` has the type that is asked.
pub fn check(
    x: &Tensor,
    dtype: DType,
    w: &Linear,
    width: usize,
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    let (x_rows, x_width) = x.dims2()?;
    let (out_rows, out_width) = out.dims2()?;
    let fits = x_width == w.k && out_width == width && rows <= x_rows.min(out_rows);
    if !fits || x.dtype() != dtype {
        bail!(
            "a linear layer of {} x {} in {:?} on {rows} rows of {:?} in {:?} to {:?}",
            w.n,
            w.k,
            w.weight.dtype(),
            x.dims(),
            x.dtype(),
            out.dims()
        );
    }
    Ok(())
}
