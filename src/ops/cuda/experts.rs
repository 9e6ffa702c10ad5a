//! A mixture's experts: routing, grouping rows by expert, and one product over all groups.

use candle_core::{Result, bail};

use super::Cuda;
use crate::ops::{Buffer, ExpertSpace, Experts, Routes, Routing};

/// Rows grouped by expert.
#[derive(Debug, Default)]
pub struct Space {}

pub fn route(
    _cuda: &Cuda,
    _scores: &Buffer,
    _routing: &Routing,
    _rows: usize,
    _routes: &Routes,
    _load: &Buffer,
) -> Result<()> {
    bail!("not built")
}

pub fn experts(
    _cuda: &Cuda,
    _x: &Buffer,
    _experts: &Experts,
    _routes: &Routes,
    _rows: usize,
    _space: &ExpertSpace,
    _out: &Buffer,
) -> Result<()> {
    bail!("not built")
}
