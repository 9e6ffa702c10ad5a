//! The compiled kernels in this binary, loaded when first used, and how they are launched.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::sys::CUfunction_attribute;
use candle_core::cuda::cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg};
use candle_core::{Result, bail};

use super::device::Gpu;

/// PTX of one file of `kernels/` for each architecture, ascending.
type Compiled = (&'static str, &'static [(u32, &'static str)]);

/// Written by `kernels/build.rs`.
const KERNELS: &[Compiled] = include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

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

/// Blocks, threads of each, and bytes of dynamic shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: u32,
    pub shared: u32,
}

impl Grid {
    /// `blocks` in one row.
    pub fn row(blocks: usize, threads: u32) -> Self {
        Self {
            blocks: (blocks as u32, 1, 1),
            threads,
            shared: 0,
        }
    }
}

/// Functions found so far, by name.
#[derive(Debug, Default)]
pub struct Modules {
    functions: Mutex<HashMap<String, CudaFunction>>,
    /// PTX that takes the place of a file's.
    replaced: Option<(&'static str, String)>,
}

impl Modules {
    /// With `ptx` in place of what the build made of `kernels/<file>.cu`.
    pub fn replaced(file: &'static str, ptx: String) -> Self {
        Self {
            replaced: Some((file, ptx)),
            ..Self::default()
        }
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
        let mut builder = gpu.stream.launch_builder(&found);
        for argument in arguments {
            match argument {
                Arg::At(value) | Arg::U64(value) => builder.arg(value),
                Arg::U32(value) => builder.arg(value),
                Arg::F32(value) => builder.arg(value),
                Arg::F64(value) => builder.arg(value),
            };
        }
        let config = LaunchConfig {
            grid_dim: grid.blocks,
            block_dim: (grid.threads, 1, 1),
            shared_mem_bytes: grid.shared,
        };
        // SAFETY: the callers, all in `ops/cuda`, pass what the kernel declares, and addresses of buffers that
        // outlive the stream's work: they are freed on the same stream.
        let launched = unsafe { builder.launch(config) };
        match launched {
            Ok(_) => Ok(()),
            Err(error) => bail!("{function} could not be launched: {error}"),
        }
    }

    fn function(&self, gpu: &Gpu, file: &str, name: &str, shared: u32) -> Result<CudaFunction> {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(function.clone());
        }
        let ptx = match &self.replaced {
            Some((replaced, ptx)) if *replaced == file => ptx,
            _ => text(file, gpu.capability)?,
        };
        let module = format!("candlepower/{file}");
        let loaded = gpu.device.get_or_load_custom_func(name, &module, ptx)?;
        let function = loaded.into_cuda_function();
        if shared > 0 {
            // Once for all sizes: the limit costs nothing, the launch says what it takes.
            let most = gpu.shared_memory as i32 - function.shared_size_bytes().w()?;
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, most).w()?;
        }
        functions.insert(name.to_owned(), function.clone());
        Ok(function)
    }
}

/// The newest PTX of a file that the GPU can run.
fn text(file: &str, capability: u32) -> Result<&'static str> {
    let Some((_, compiled)) = KERNELS.iter().find(|(name, _)| *name == file) else {
        bail!("this build has no kernels/{file}.cu");
    };
    match compiled.iter().rev().find(|(arch, _)| *arch <= capability) {
        Some((_, ptx)) => Ok(ptx),
        None => bail!(
            "this build's kernels need compute capability {}, and the GPU has {capability}; build with CANDLEPOWER_CUDA_ARCHS={capability}",
            compiled.first().map_or(0, |(arch, _)| *arch)
        ),
    }
}
