//! A sum over ranks, the residual and the norm behind it, in one launch.

use candle_core::{DType, Result, bail};

use super::{CHANNELS, Exchange, UNIT, Values};
use crate::ops::cuda::elementwise::{in_accesses, row_threads};
use crate::ops::cuda::modules::{Arg, Grid};
use crate::ops::cuda::{suffix, tensor};
use crate::ops::{Buffer, Norm};

/// `one_shot_norm` of a type.
pub fn kernel(dtype: DType) -> Result<String> {
    Ok(format!("one_shot_norm_{}", suffix(dtype)?))
}

impl Exchange {
    /// Whether [`Self::all_reduce_norm`] takes rows of `delta`: whole units, no longer than a slot.
    pub fn norms(&self, delta: &Buffer) -> Result<bool> {
        self.takes(delta, tensor::address(delta)?)
    }

    /// `at`: where the rows of `delta` lie.
    fn takes(&self, delta: &Buffer, at: u64) -> Result<bool> {
        let row_bytes = delta.dim(1)? * delta.dtype().size_in_bytes();
        let fits = row_bytes / UNIT <= self.inboxes.slot_units;
        Ok(fits && in_accesses(row_bytes, &[at]))
    }

    /// `x += delta`, summed over all ranks, and `out` the norm of `x`, of the first `rows` rows, with the bits of
    /// [`Self::all_reduce`] and the norm one after the other. `delta` stays this rank's part.
    ///
    /// # Errors
    /// Buffers that do not fit together or that it does not take, or the driver refuses the launch.
    pub fn all_reduce_norm(
        &self,
        delta: &Buffer,
        x: &Buffer,
        norm: &Norm,
        rows: usize,
        out: &Buffer,
    ) -> Result<()> {
        let [values, x, out] = [
            Values::new(delta, rows)?,
            Values::new(x, rows)?,
            Values::new(out, rows)?,
        ];
        let alike = |a: &Values, b: &Values| (a.count, a.dtype) == (b.count, b.dtype);
        let weight = tensor::address(&norm.weight)?;
        let is_whole = in_accesses(UNIT, &[x.at, out.at, weight]);
        if !alike(&values, &x)
            || !alike(&values, &out)
            || !is_whole
            || !self.takes(delta, values.at)?
        {
            bail!(
                "{rows} rows of {:?} cannot be added up and normalised at once",
                delta.dims()
            );
        }
        let (width, kernel) = (delta.dim(1)?, kernel(values.dtype)?);
        let threads = row_threads(width, UNIT / values.dtype.size_in_bytes());
        let arguments = [
            Arg::At(values.at),
            Arg::At(x.at),
            Arg::At(weight),
            Arg::F32(norm.eps),
            Arg::U32(width as u32),
            Arg::U32(rows as u32),
            Arg::At(out.at),
        ];
        self.launch_grid(&kernel, Grid::row(rows.min(CHANNELS), threads), &arguments)
    }
}
