//! One product as cuBLASLt describes it: descriptors, layouts and the algorithms that it expects to be fastest.
//!
//! cuBLASLt counts columns first: a row-major `[rows, k]` is its `k x rows`. So `y = x Wᵀ` is its `Wᵀ x`, the
//! weight transposed, of `n x rows`.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use candle_core::cuda::cudarc::cublaslt::result::CublasError;
use candle_core::cuda::cudarc::cublaslt::{result, sys};
use candle_core::{DType, Error, Result, bail};

/// What cuBLASLt takes for granted of an address.
const MOST_ALIGNED: u32 = 256;

/// What the choice of an algorithm depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    pub n: usize,
    pub k: usize,
    pub rows: usize,
    /// Of x and the weight.
    pub dtype: DType,
    pub out: DType,
    /// Bytes that divide the addresses of weight, x and result.
    pub alignment: [u32; 3],
    pub bias: bool,
}

/// Device addresses.
#[derive(Debug, Clone, Copy)]
pub struct Operands {
    pub weight: u64,
    pub x: u64,
    /// Of the result's type.
    pub bias: Option<u64>,
    pub out: u64,
}

impl Operands {
    pub fn alignment(&self) -> [u32; 3] {
        [self.weight, self.x, self.out].map(|address| {
            let divisor = 1 << address.trailing_zeros().min(31);
            MOST_ALIGNED.min(divisor)
        })
    }
}

/// Owns cuBLASLt's objects.
pub struct Plan {
    descriptor: Descriptor,
    weight: Layout,
    x: Layout,
    out: Layout,
    /// The best guess first.
    algorithms: Vec<sys::cublasLtMatmulAlgo_t>,
}

/// How many guesses cuBLASLt is asked for.
const GUESSES: usize = 4;

impl Plan {
    /// Asks for the algorithms that cuBLASLt expects to be fastest within the workspace.
    ///
    /// # Errors
    /// Types that cuBLASLt does not multiply, or no algorithm.
    pub fn new(handle: sys::cublasLtHandle_t, shape: &Shape, workspace: usize) -> Result<Self> {
        let descriptor = Descriptor::new(shape.bias).map_err(named)?;
        let input = type_of(shape.dtype)?;
        let weight = Layout::new(input, shape.k, shape.n).map_err(named)?;
        let x = Layout::new(input, shape.k, shape.rows).map_err(named)?;
        let out = Layout::new(type_of(shape.out)?, shape.n, shape.rows).map_err(named)?;
        let preference = Preference::new(workspace, shape.alignment).map_err(named)?;
        let mut found =
            [const { MaybeUninit::<sys::cublasLtMatmulHeuristicResult_t>::uninit() }; GUESSES];
        let mut count = 0;
        // SAFETY: all of these were created above and live through the call, which writes at most as many results as
        // there is room for.
        unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                handle,
                descriptor.0,
                weight.0,
                x.0,
                out.0,
                out.0,
                preference.0,
                GUESSES as i32,
                found.as_mut_ptr().cast(),
                &mut count,
            )
        }
        .result()
        .map_err(named)?;
        let found = &found[..(count as usize).min(GUESSES)];
        // SAFETY: the call wrote so many.
        let found = found.iter().map(|guess| unsafe { guess.assume_init_ref() });
        let sound = found.filter(|guess| guess.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        let algorithms: Vec<_> = sound.map(|guess| guess.algo).collect();
        if algorithms.is_empty() {
            bail!("cuBLASLt has no algorithm");
        }
        Ok(Self {
            algorithms,
            descriptor,
            weight,
            x,
            out,
        })
    }

    /// How many algorithms there are to choose from.
    pub fn guesses(&self) -> usize {
        self.algorithms.len()
    }

    /// From now on only this one.
    pub fn keep(&mut self, guess: usize) {
        self.algorithms = vec![self.algorithms[guess]];
    }

    /// Queues the product by one of the guesses. `workspace`: its address and bytes.
    pub fn run(
        &self,
        guess: usize,
        handle: sys::cublasLtHandle_t,
        operands: &Operands,
        workspace: (u64, usize),
        stream: sys::cudaStream_t,
    ) -> Result<()> {
        if let Some(bias) = operands.bias {
            let pointer = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            self.descriptor.set(pointer, bias).map_err(named)?;
        }
        let (one, zero) = (1.0_f32, 0.0_f32);
        // SAFETY: the caller checked that the operands hold what the layouts say; factors are f32 on the host,
        // as the descriptor was created, and are read during the call; with factor 0 C is not read.
        unsafe {
            result::matmul(
                handle,
                self.descriptor.0,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                operands.weight as *const c_void,
                self.weight.0,
                operands.x as *const c_void,
                self.x.0,
                operands.out as *const c_void,
                self.out.0,
                operands.out as *mut c_void,
                self.out.0,
                &raw const self.algorithms[guess],
                workspace.0 as *mut c_void,
                workspace.1,
                stream,
            )
        }
        .map_err(named)
    }
}

fn named(error: CublasError) -> Error {
    Error::msg(format!("cuBLASLt answers {error}"))
}

fn type_of(dtype: DType) -> Result<sys::cudaDataType> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType::CUDA_R_32F),
        DType::F16 => Ok(sys::cudaDataType::CUDA_R_16F),
        DType::BF16 => Ok(sys::cudaDataType::CUDA_R_16BF),
        other => bail!("cuBLASLt is not given {other:?}"),
    }
}

struct Descriptor(sys::cublasLtMatmulDesc_t);

impl Descriptor {
    /// f32 sums of untouched inputs: never TF32.
    fn new(bias: bool) -> std::result::Result<Self, CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as A;
        let descriptor = Self(result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType::CUDA_R_32F,
        )?);
        /// `CUBLAS_OP_T`.
        const TRANSPOSED: i32 = 1;
        descriptor.set(A::CUBLASLT_MATMUL_DESC_TRANSA, TRANSPOSED)?;
        if bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            descriptor.set(A::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)?;
        }
        Ok(descriptor)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: T,
    ) -> std::result::Result<(), CublasError> {
        // SAFETY: the value is of the attribute's documented type, and is copied by the call.
        unsafe {
            result::set_matmul_desc_attribute(
                self.0,
                attribute,
                (&raw const value).cast(),
                size_of::<T>(),
            )
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: created by `new`, used by nobody else.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// Column-major, without gaps.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(
        dtype: sys::cudaDataType,
        rows: usize,
        columns: usize,
    ) -> std::result::Result<Self, CublasError> {
        result::create_matrix_layout(dtype, rows as u64, columns as u64, rows as i64).map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: created by `new`, used by nobody else.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new(workspace: usize, alignment: [u32; 3]) -> std::result::Result<Self, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as A;
        let preference = Self(result::create_matmul_pref()?);
        preference.set(A::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace)?;
        let [weight, x, out] = alignment;
        preference.set(A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, weight)?;
        preference.set(A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, x)?;
        preference.set(A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out)?;
        preference.set(A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out)?;
        Ok(preference)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: T,
    ) -> std::result::Result<(), CublasError> {
        // SAFETY: the value is of the attribute's documented type, and is copied by the call.
        unsafe {
            result::set_matmul_pref_attribute(
                self.0,
                attribute,
                (&raw const value).cast(),
                size_of::<T>(),
            )
        }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: created by `new`, used by nobody else.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
