//! Slices of contiguous CPU tensors: read under candle's lock, written through an in-place op.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail};
use float8::F8E4M3;
use half::{bf16, f16};

use super::Buffer;

/// An element type that kernels write.
pub trait Element: WithDType {
    fn elements(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl Element for $type {
            fn elements(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}
element!(f32, F32);
element!(bf16, BF16);
element!(f16, F16);
element!(F8E4M3, F8E4M3);
element!(u32, U32);

/// Calls `f` with the elements of a contiguous CPU tensor.
pub fn read<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("a CPU kernel was given a tensor on another device");
    };
    let all = storage.as_slice::<T>()?;
    f(&all[contiguous(layout)?])
}

/// Calls `f` with the elements of a CPU buffer, to be changed in place.
///
/// `f` must not touch the same buffer again: its lock is held.
pub fn write<T: Element, R>(buffer: &Buffer, f: impl FnOnce(&mut [T]) -> Result<R>) -> Result<R> {
    let op = Write {
        f: RefCell::new(Some(f)),
        result: RefCell::new(None),
        elements: buffer.elem_count(),
        element: std::marker::PhantomData::<T>,
    };
    buffer.first().inplace_op1(&op)?;
    match op.result.into_inner() {
        Some(result) => Ok(result),
        None => bail!("candle did not run an in-place operation"),
    }
}

struct Write<F, T, R> {
    f: RefCell<Option<F>>,
    result: RefCell<Option<R>>,
    elements: usize,
    element: std::marker::PhantomData<T>,
}

impl<F: FnOnce(&mut [T]) -> Result<R>, T: Element, R> InplaceOp1 for Write<F, T, R> {
    fn name(&self) -> &'static str {
        "write"
    }

    /// The layout is that of the first element; a buffer is the whole storage.
    fn cpu_fwd(&self, storage: &mut CpuStorage, _first: &Layout) -> Result<()> {
        let Some(all) = T::elements(storage) else {
            bail!(
                "a CPU kernel writes {:?}, and was given another type",
                T::DTYPE
            );
        };
        if let Some(f) = self.f.borrow_mut().take() {
            *self.result.borrow_mut() = Some(f(&mut all[..self.elements])?);
        }
        Ok(())
    }
}

fn contiguous(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("a CPU kernel was given a tensor that is not contiguous"),
    }
}
