//! Where weights come from: a checkpoint's files, or seeded random numbers at the same shapes.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::context::go_on;
use crate::ground::Progress;
use crate::ops::{PartScales, WeightRows};
use crate::parallel::shard::{Slice, TensorPlan};
use crate::shape::{Format, TensorSpec};

/// Tensors as a model expects them, on the CPU, read on demand.
pub trait WeightSource: Send + Sync {
    /// Of the stored elements.
    fn dtype(&self, tensor: &TensorSpec) -> Result<DType>;

    /// The part of a matrix in these rows and columns.
    fn block(
        &self,
        tensor: &TensorSpec,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Tensor>;

    /// Elements `range` of a vector, widened to f32.
    fn vector(&self, tensor: &TensorSpec, range: Range<usize>) -> Result<Tensor>;
}

/// A source whose next part fails once somebody says stop: of large tensors, one part takes long enough.
pub struct Stoppable<S> {
    source: S,
    progress: Arc<dyn Progress>,
}

impl<S> Stoppable<S> {
    pub fn new(source: S, progress: Arc<dyn Progress>) -> Self {
        Self { source, progress }
    }
}

impl<S: WeightSource> WeightSource for Stoppable<S> {
    fn dtype(&self, tensor: &TensorSpec) -> Result<DType> {
        self.source.dtype(tensor)
    }

    fn block(
        &self,
        tensor: &TensorSpec,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Tensor> {
        go_on(self.progress.as_ref())?;
        self.source.block(tensor, rows, columns)
    }

    fn vector(&self, tensor: &TensorSpec, range: Range<usize>) -> Result<Tensor> {
        self.source.vector(tensor, range)
    }
}

/// Some rows and columns of a stored matrix.
struct Part<'a> {
    tensor: &'a TensorSpec,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<'a> Part<'a> {
    fn new((plan, slice): (TensorPlan<'a>, &Slice)) -> Result<Self> {
        let tensor = plan.tensor;
        let [height, width] = tensor.shape[..] else {
            bail!("{} is {:?}, not a matrix", tensor.name, tensor.shape);
        };
        let range = slice.range.clone();
        let (rows, columns) = match slice.axis {
            0 => (range, 0..width),
            _ => (0..height, range),
        };
        Ok(Self {
            tensor,
            rows,
            columns,
        })
    }
}

/// One rank's slice of one matrix of a source.
pub struct Matrix<'a> {
    source: &'a dyn WeightSource,
    part: Part<'a>,
    /// Rows of zeros behind the source's.
    padding: usize,
    dtype: DType,
    /// Of the blocks that the slice touches.
    scales: Option<Part<'a>>,
}

impl<'a> Matrix<'a> {
    /// `scales` are those beside a weight in FP8.
    pub fn new(
        source: &'a dyn WeightSource,
        (plan, slice): (TensorPlan<'a>, Slice),
        scales: Option<(TensorPlan<'a>, Slice)>,
    ) -> Result<Self> {
        let scales = scales
            .as_ref()
            .map(|(plan, slice)| Part::new((*plan, slice)));
        Ok(Self {
            source,
            part: Part::new((plan, &slice))?,
            padding: slice.padding,
            dtype: source.dtype(plan.tensor)?,
            scales: scales.transpose()?,
        })
    }
}

impl WeightRows for Matrix<'_> {
    fn shape(&self) -> (usize, usize) {
        let Part { rows, columns, .. } = &self.part;
        (rows.len() + self.padding, columns.len())
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn read(&self, rows: Range<usize>) -> Result<Tensor> {
        let Part {
            tensor,
            rows: own,
            columns,
        } = &self.part;
        let stored = rows.start.min(own.len())..rows.end.min(own.len());
        let zeros = rows.len() - stored.len();
        let zeros = || Tensor::zeros((zeros, columns.len()), self.dtype, &Device::Cpu);
        if stored.is_empty() {
            return zeros();
        }
        let all_stored = stored.len() == rows.len();
        let stored = own.start + stored.start..own.start + stored.end;
        let values = self.source.block(tensor, stored, columns.clone())?;
        match all_stored {
            true => Ok(values),
            false => Tensor::cat(&[values, zeros()?], 0),
        }
    }

    fn scales(&self) -> Result<Option<PartScales>> {
        let Some(Part {
            tensor,
            rows,
            columns,
        }) = &self.scales
        else {
            return Ok(None);
        };
        let Format::Scale { block, .. } = tensor.format else {
            bail!("{} holds no scales", tensor.name);
        };
        let stored = self.source.block(tensor, rows.clone(), columns.clone())?;
        let values = stored.to_dtype(DType::F32)?;
        let all = values.flatten_all()?.to_vec1::<f32>()?;
        if let Some(wrong) = all.iter().find(|scale| !scale.is_finite() || **scale < 0.0) {
            bail!(
                "{} has a scale of {wrong}, and a scale is a finite number from 0; fetch the checkpoint again",
                tensor.name
            );
        }
        let first = [self.part.rows.start, self.part.columns.start];
        Ok(Some(PartScales {
            values,
            block,
            offset: [0, 1].map(|axis| first[axis] % block[axis]),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::model::DummyWeights;
    use crate::shape::{Role, WeightType};

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Progress for Flag {
        fn stop(&self) -> &AtomicBool {
            &self.0
        }
    }

    #[test]
    fn a_tensor_is_left_in_its_middle() {
        let dummy = DummyWeights {
            seed: 0,
            weight_type: WeightType::F32,
        };
        let flag = Arc::new(Flag::default());
        let source = Stoppable::new(dummy, flag.clone());
        let tensor = TensorSpec {
            name: "w".to_owned(),
            shape: vec![8, 4],
            role: Role::Output,
            format: Format::Plain,
            layer: None,
            expert: None,
            count: 1,
        };
        assert!(source.block(&tensor, 0..4, 0..4).is_ok());
        flag.0.store(true, Ordering::Relaxed);
        let error = source.block(&tensor, 4..8, 0..4).unwrap_err();
        assert!(error.to_string().contains("told to stop"), "{error}");
    }
}
