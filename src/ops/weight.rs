//! A linear layer's weight: how it is read, and what lies beside it when it is stored in e4m3.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};
use float8::F8E4M3;

use super::bytes::bytes_of;
use super::storage;

/// Rows of one stored weight matrix `[n, k]`, read on demand so that no second whole copy exists.
pub trait WeightRows: Sync {
    /// `(n, k)`: output features and input features.
    fn shape(&self) -> (usize, usize);

    fn dtype(&self) -> DType;

    /// `[rows.len(), k]` in `dtype`, on the CPU, contiguous.
    fn read(&self, rows: Range<usize>) -> Result<Tensor>;

    /// Of a part that is stored in e4m3.
    fn scales(&self) -> Result<Option<PartScales>> {
        Ok(None)
    }
}

/// Scales of the blocks that one stored matrix touches.
#[derive(Debug, Clone)]
pub struct PartScales {
    /// f32 `[grid rows, grid columns]`.
    pub values: Tensor,
    /// Elements of a block along n and along k; the last ones may be cut short.
    pub block: [usize; 2],
    /// Where the matrix's first element lies within its block.
    pub offset: [usize; 2],
}

/// Scales of an e4m3 weight: an element is `weight * scale of its block`.
#[derive(Debug, Clone)]
pub struct BlockScales {
    /// f32 `[grid rows, grid columns]`, the grids of stacked parts one under the other.
    pub values: Tensor,
    /// Elements of a block along n and along k.
    pub block: [usize; 2],
    /// `(first row of the weight, row of values)` of each run of rows that share scales, ascending.
    pub runs: Vec<(usize, usize)>,
    /// Where the weight's first column lies within its block.
    pub column_offset: usize,
    /// Whether activations are rounded to e4m3 as well: for each row and each block of columns by a scale of
    /// `max|x| / 448` (DeepSeek-V3 report, section 3.3; `act_quant` of the published checkpoints). A block is a
    /// block of the whole weight's columns, so that ranks which cut one between them each scale their part.
    pub quantize_activations: bool,
}

/// `y = x Wᵀ + b`, the weight in the layout its `Kernels` chose.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Output features.
    pub n: usize,
    /// Input features.
    pub k: usize,
    pub weight: Tensor,
    /// `[n]`, f32.
    pub bias: Option<Tensor>,
    /// Of an e4m3 weight.
    pub scales: Option<BlockScales>,
}

impl Linear {
    /// Bytes held by weight, scales and bias.
    pub fn bytes(&self) -> u64 {
        let scales = self.scales.as_ref().map_or(0, |s| bytes_of(&s.values));
        bytes_of(&self.weight) + scales + self.bias.as_ref().map_or(0, bytes_of)
    }

    /// Rounds activations too, where the weight is e4m3: see [`BlockScales::quantize_activations`].
    pub fn with_quantized_activations(mut self) -> Self {
        if let Some(scales) = &mut self.scales {
            scales.quantize_activations = true;
        }
        self
    }
}

impl BlockScales {
    /// The scales of stacked `parts`; `None` where they are not all e4m3.
    ///
    /// # Errors
    /// A part without scales, or with others than its shape needs; parts whose blocks lie differently along k.
    pub(super) fn stack(parts: &[&dyn WeightRows]) -> Result<Option<Self>> {
        if parts.iter().any(|part| part.dtype() != DType::F8E4M3) {
            return Ok(None);
        }
        let (mut grids, mut runs) = (Vec::new(), Vec::new());
        let (mut first, mut grid_row, mut place) = (0, 0, None);
        for part in parts {
            let PartScales {
                values,
                block,
                offset,
            } = scales_of(*part)?;
            let along_k = (block, offset[1]);
            if *place.get_or_insert(along_k) != along_k {
                bail!("stacked e4m3 weights have blocks {place:?} and {along_k:?}");
            }
            for row in 0..values.dim(0)? {
                let start = (row * block[0]).saturating_sub(offset[0]);
                runs.push((first + start, grid_row + row));
            }
            first += part.shape().0;
            grid_row += values.dim(0)?;
            grids.push(values);
        }
        let Some((block, column_offset)) = place else {
            return Ok(None);
        };
        Ok(Some(Self {
            values: Tensor::cat(&grids, 0)?,
            block,
            runs,
            column_offset,
            quantize_activations: false,
        }))
    }
}

/// The scales of an e4m3 part, which cover its shape.
fn scales_of(part: &dyn WeightRows) -> Result<PartScales> {
    let Some(scales) = part.scales()? else {
        bail!("an e4m3 weight has no scales");
    };
    let PartScales {
        values,
        block,
        offset,
    } = &scales;
    let (n, k) = part.shape();
    let within = (0..2).all(|axis| offset[axis] < block[axis]);
    let blocks = |axis: usize, length: usize| (offset[axis] + length).div_ceil(block[axis].max(1));
    if !within || values.dims() != [blocks(0, n), blocks(1, k)] {
        bail!(
            "an e4m3 weight of {n} x {k}, {offset:?} within blocks of {block:?}, has scales of {:?}",
            values.dims()
        );
    }
    Ok(scales)
}

/// Holds that there is no NaN.
pub(super) fn check_e4m3(values: &Tensor) -> Result<()> {
    /// All but the sign.
    const NAN: u8 = 0x7f;
    storage::read(values, |values: &[F8E4M3]| {
        match values.iter().any(|value| value.to_bits() & NAN == NAN) {
            true => bail!("an e4m3 weight holds a NaN (0x7f or 0xff)"),
            false => Ok(()),
        }
    })
}

/// Rows `rows` of a part in f32, times their scales where it has them.
pub(super) fn read_widened(part: &dyn WeightRows, rows: Range<usize>) -> Result<Tensor> {
    let stored = part.read(rows.clone())?;
    let widened = stored.to_dtype(DType::F32)?;
    if part.dtype() != DType::F8E4M3 {
        return Ok(widened);
    }
    check_e4m3(&stored)?;
    let PartScales {
        values,
        block,
        offset,
    } = scales_of(part)?;
    let grid = |axis: usize, range: Range<usize>| {
        let indices = range.map(|i| ((offset[axis] + i) / block[axis]) as u32);
        Tensor::new(indices.collect::<Vec<_>>(), &Device::Cpu)
    };
    let scales = values
        .index_select(&grid(0, rows)?, 0)?
        .index_select(&grid(1, 0..part.shape().1)?, 1)?;
    widened * scales
}
