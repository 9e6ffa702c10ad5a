//! The compiled kernels in this binary, loaded when first used, and how they are launched.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::sys::CUfunction_attribute;
use candle_core::cuda::cudarc::driver::sys::cudaError_enum::CUDA_ERROR_NO_BINARY_FOR_GPU;
use candle_core::cuda::cudarc::driver::{CudaFunction, CudaModule, DriverError};
use candle_core::cuda::cudarc::nvrtc::Ptx;
use candle_core::{Result, bail};
use smallvec::SmallVec;

use super::chain;
use super::device::Gpu;
pub use super::launches::Grid;
use super::occupancy;

/// One file of `kernels/` for compute capability `arch` and later ones.
struct Compiled {
    arch: u32,
    /// Machine code for some of them, compressed.
    code: &'static [u8],
    /// For all of them: the driver compiles it.
    ptx: &'static str,
    /// Of a thread: by kernel, and architecture of the machine code.
    registers: &'static [(&'static str, u32, u32)],
}

/// By name, for each architecture, ascending. Written by `kernels/build.rs`.
const KERNELS: &[(&str, &[Compiled])] = include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// More than any kernel has.
const MOST_ARGUMENTS: usize = 32;

/// What a kernel is given, in the order of its parameters.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    /// A device address.
    At(u64),
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
}

impl Arg {
    /// Where its value lies.
    fn pointer(&self) -> *mut c_void {
        let value: *const c_void = match self {
            Self::At(value) | Self::U64(value) => (&raw const *value).cast(),
            Self::U32(value) => (&raw const *value).cast(),
            Self::F32(value) => (&raw const *value).cast(),
            Self::F64(value) => (&raw const *value).cast(),
        };
        value.cast_mut()
    }
}

/// What was loaded so far, by name.
#[derive(Debug, Default)]
struct Loaded {
    modules: HashMap<&'static str, Module>,
    functions: HashMap<String, Function>,
}

/// The kernels of a file.
#[derive(Debug, Clone)]
struct Module {
    module: Arc<CudaModule>,
    chained: bool,
}

#[derive(Debug, Clone)]
struct Function {
    function: CudaFunction,
    chained: bool,
}

/// The kernels that were used on one GPU.
#[derive(Debug, Default)]
pub struct Modules {
    loaded: Mutex<Loaded>,
}

impl Modules {
    /// With `ptx` in place of what the build made of `kernels/<file>.cu`.
    ///
    /// # Errors
    /// The driver does not load it.
    pub fn replaced(gpu: &Gpu, file: &'static str, ptx: String) -> Result<Self> {
        let chained = chain::is_chained(&ptx);
        let module = gpu.stream.context().load_module(Ptx::from_src(ptx)).w()?;
        let module = Module { module, chained };
        let loaded = Loaded {
            modules: HashMap::from([(file, module)]),
            ..Loaded::default()
        };
        Ok(Self {
            loaded: Mutex::new(loaded),
        })
    }

    /// Loads `function` of `kernels/<file>.cu` before it is first launched.
    ///
    /// # Errors
    /// There is no such function.
    pub fn load(&self, gpu: &Gpu, file: &str, function: &str) -> Result<()> {
        self.function(gpu, file, function, 0).map(drop)
    }

    /// Queues `function` of `kernels/<file>.cu` on the GPU's stream.
    ///
    /// The arguments are what the kernel's header comment says: they are not checked here.
    ///
    /// # Errors
    /// There is no such function, or the driver refuses the launch.
    pub fn launch(
        &self,
        gpu: &Gpu,
        file: &str,
        function: &str,
        grid: Grid,
        arguments: &[Arg],
    ) -> Result<()> {
        let (x, y, z) = grid.blocks;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let found = self.function(gpu, file, function, grid.shared)?;
        let mut pointers: SmallVec<[_; MOST_ARGUMENTS]> =
            arguments.iter().map(Arg::pointer).collect();
        let shape = || {
            let compiled = registers(file, function, gpu.capability);
            Some(occupancy::shape(gpu, &found.function, compiled, grid))
        };
        let launch = |overlaps| {
            // SAFETY: the callers, all in `ops/cuda`, pass what the kernel declares, and addresses of buffers that
            // outlive the stream's work: they are freed on the same stream. Both kernels said that they are chained.
            match unsafe { chain::launch(gpu, &found.function, grid, &mut pointers, overlaps) } {
                Ok(()) => Ok(()),
                Err(error) => bail!("{function} could not be launched: {error}"),
            }
        };
        gpu.launches
            .own(function, grid, found.chained, shape, launch)
    }

    fn function(&self, gpu: &Gpu, file: &str, name: &str, shared: u32) -> Result<Function> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = loaded.functions.get(name) {
            return Ok(function.clone());
        }
        let (file, compiled) = find(file, gpu.capability)?;
        let module = match loaded.modules.get(file) {
            Some(module) => module.clone(),
            None => compiled.load(gpu)?,
        };
        loaded.modules.insert(file, module.clone());
        let Module { module, chained } = module;
        let function = module.load_function(name).w()?;
        if shared > 0 {
            // Once for all sizes: the limit costs nothing, the launch says what it takes.
            let most = gpu.shared_memory as i32 - function.shared_size_bytes().w()?;
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, most).w()?;
        }
        let function = Function { function, chained };
        loaded.functions.insert(name.to_owned(), function.clone());
        Ok(function)
    }
}

impl Compiled {
    /// Machine code where there is some for this GPU; else the driver compiles.
    fn load(&self, gpu: &Gpu) -> Result<Module> {
        let context = gpu.stream.context();
        let module = match context.load_module(Ptx::from_binary(self.code.to_vec())) {
            Err(DriverError(CUDA_ERROR_NO_BINARY_FOR_GPU)) => {
                context.load_module(Ptx::from_src(self.ptx))
            }
            loaded => loaded,
        };
        Ok(Module {
            module: module.w()?,
            chained: chain::is_chained(self.ptx),
        })
    }
}

/// Of a thread of `function`, in the newest machine code of this build that the GPU can run; `None`: there is none.
fn registers(file: &str, function: &str, capability: u32) -> Option<u32> {
    let (_, compiled) = find(file, capability).ok()?;
    let runs = |(name, machine, _): &&(&str, u32, u32)| {
        *name == function && *machine <= capability && machine / 10 == capability / 10
    };
    let newest = compiled.registers.iter().filter(runs);
    let newest = newest.max_by_key(|(_, machine, _)| *machine);
    newest.map(|(_, _, registers)| *registers)
}

/// The newest of a file that the GPU can run.
fn find(file: &str, capability: u32) -> Result<(&'static str, &'static Compiled)> {
    let Some((name, compiled)) = KERNELS.iter().find(|(name, _)| *name == file) else {
        bail!("this build has no kernels/{file}.cu");
    };
    let newest = compiled.iter().rfind(|one| one.arch <= capability);
    match newest {
        Some(newest) => Ok((name, newest)),
        None => bail!(
            "this build's kernels need compute capability {}, and the GPU has {capability}; build with CANDLEPOWER_CUDA_ARCHS={capability}",
            compiled.first().map_or(0, |one| one.arch)
        ),
    }
}
