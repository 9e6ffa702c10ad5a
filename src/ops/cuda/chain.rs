//! Launches of kernels that may begin before the one in front has ended: `kernels/chain.cuh` has their side of it.

use std::ffi::c_void;

use candle_core::cuda::cudarc::driver::{CudaFunction, DriverError, sys};

use super::device::Gpu;
use super::launches::Grid;

/// In the PTX of kernels that take part, all of their file.
const MARK: &str = "griddepcontrol.";

/// Whether kernels of a file let others overlap them, and wait for them.
pub fn is_chained(ptx: &str) -> bool {
    ptx.contains(MARK)
}

/// Queues `function`. Where it `overlaps` the kernel in front, as far as the driver can.
///
/// # Safety
/// `arguments` are addresses of what the kernel declares, which point to what outlives the stream's work; where it
/// `overlaps`, it and the kernel in front are of chained files.
///
/// # Errors
/// The driver refuses the launch.
pub unsafe fn launch(
    gpu: &Gpu,
    function: &CudaFunction,
    grid: Grid,
    arguments: &mut [*mut c_void],
    overlaps: bool,
) -> Result<(), DriverError> {
    gpu.stream.context().bind_to_thread()?;
    let mut queue = |attributes: &mut [sys::CUlaunchAttribute]| {
        let config = sys::CUlaunchConfig {
            gridDimX: grid.blocks.0,
            gridDimY: grid.blocks.1,
            gridDimZ: grid.blocks.2,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: grid.shared,
            hStream: gpu.stream.cu_stream(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        };
        let (function, arguments) = (function.cu_function(), arguments.as_mut_ptr());
        // SAFETY: the caller's word; the driver copies configuration and arguments before it returns.
        unsafe { sys::cuLaunchKernelEx(&config, function, arguments, std::ptr::null_mut()) }
            .result()
    };
    if overlaps {
        match queue(&mut [attribute()]) {
            Ok(()) => return Ok(()),
            // If it is refused for another reason, so is the one below.
            Err(_) => gpu.launches.never_overlap(),
        }
    }
    queue(&mut [])
}

fn attribute() -> sys::CUlaunchAttribute {
    sys::CUlaunchAttribute {
        id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: Default::default(),
        value: sys::CUlaunchAttributeValue {
            programmaticStreamSerializationAllowed: 1,
        },
    }
}
