//! One linear layer over some rows, as data, with its bounds.

use super::packing::Activations;
use super::panel::{Element, PANEL, PanelElement, packed_len, packed_steps};
use super::scales::Scales;

/// `out = x Wᵀ + b`.
#[derive(Debug, Clone, Copy)]
pub struct Gemm<'a, W> {
    /// `[rows, k]`, rows `ldx` apart.
    pub x: &'a [f32],
    pub ldx: usize,
    pub rows: usize,
    pub activations: Activations,
    /// Packed `[n, k]`.
    pub w: &'a [W],
    pub n: usize,
    pub k: usize,
    /// Of an e4m3 weight, and of no other.
    pub scales: Option<Scales<'a>>,
    /// `[n]`.
    pub bias: Option<&'a [f32]>,
    /// Distance of output rows, at least `n`.
    pub ldo: usize,
}

impl<W: PanelElement> Gemm<'_, W> {
    /// Holds what is read.
    pub(super) fn check_inputs(&self) {
        let last = self.rows - 1;
        assert!(self.x.len() >= last * self.ldx + self.k, "activations");
        self.check_weight();
    }

    pub(super) fn check_weight(&self) {
        assert!(
            self.w.len() >= packed_len::<W>(self.n, self.k),
            "packed weight"
        );
        assert!(self.bias.is_none_or(|bias| bias.len() >= self.n), "bias");
        let scaled = matches!(W::ELEMENT, Element::E4m3);
        assert!(scaled == self.scales.is_some(), "e4m3 weights have scales");
        if let Some(scales) = &self.scales {
            scales.check(self.n, self.k);
        }
    }

    /// `width` output columns from panel `panel` on, side by side.
    pub(super) fn panels_from(&self, panel: usize, width: usize) -> Self {
        let first = panel * PANEL;
        Self {
            w: &self.w[first * packed_steps::<W>(self.k)..],
            n: width,
            scales: self.scales.map(|scales| scales.starting_at(first)),
            bias: self.bias.map(|bias| &bias[first..]),
            ldo: width,
            ..*self
        }
    }

    pub(super) fn check(&self, out: &[f32]) {
        let last = self.rows - 1;
        self.check_inputs();
        assert!(
            self.ldo >= self.n && out.len() >= last * self.ldo + self.n,
            "output"
        );
    }
}
