//! Kernels that do nothing: a pass over a decoder with them counts what a real one costs.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

use super::{
    Ask, AttentionShape, Buffer, ExpertSpace, Experts, HeadNorms, Kernels, KvLayer, Linear, Norm,
    Rope, Routes, Routing, Rows, Summary,
};

/// Stands for kernels whose activations have this type.
#[derive(Debug, Clone, Copy)]
pub struct Nothing(pub DType);

impl Kernels for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn activations(&self) -> DType {
        self.0
    }

    fn embed(&self, _: &Linear, _: u32, _: &[u32], _: &Buffer) -> Result<()> {
        Ok(())
    }

    fn rope(&self, _: &Rope, _: &[u32], _: &Buffer) -> Result<()> {
        Ok(())
    }

    fn add_norm(
        &self,
        _: &Buffer,
        _: Option<&Buffer>,
        _: &Norm,
        _: usize,
        _: &Buffer,
    ) -> Result<()> {
        Ok(())
    }

    fn linear(&self, _: &Tensor, _: &Linear, _: usize, _: &Buffer) -> Result<()> {
        Ok(())
    }

    fn write_kv(
        &self,
        _: &Buffer,
        _: &AttentionShape,
        _: Option<&HeadNorms>,
        _: &Tensor,
        _: &Rows,
        _: &KvLayer,
    ) -> Result<()> {
        Ok(())
    }

    fn attend(
        &self,
        _: &Tensor,
        _: &AttentionShape,
        _: &Rows,
        _: &KvLayer,
        _: &Buffer,
    ) -> Result<()> {
        Ok(())
    }

    fn silu_mul(&self, _: &Tensor, _: usize, _: &Buffer) -> Result<()> {
        Ok(())
    }

    fn route(&self, _: &Buffer, _: &Routing, _: usize, _: &Routes, _: &Buffer) -> Result<()> {
        Ok(())
    }

    fn experts(
        &self,
        _: &Buffer,
        _: &Experts,
        _: &Routes,
        _: usize,
        _: &ExpertSpace,
        _: &Buffer,
    ) -> Result<()> {
        Ok(())
    }

    fn gather(&self, _: &Tensor, _: &[u32], _: &Buffer) -> Result<()> {
        Ok(())
    }

    fn summarize(
        &self,
        _: &Tensor,
        _: &Range<usize>,
        _: &[Ask],
        out: &mut Vec<Summary>,
    ) -> Result<()> {
        out.clear();
        Ok(())
    }

    fn greedy(
        &self,
        _: &Tensor,
        _: &Linear,
        _: &Range<usize>,
        _: usize,
        _: &Buffer,
        out: &mut Vec<(u32, f32)>,
    ) -> Result<()> {
        out.clear();
        Ok(())
    }
}
