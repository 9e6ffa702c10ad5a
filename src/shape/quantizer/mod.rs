//! How a checkpoint's weights are packed, wherever that is stated: which modules, in what numbers, and how many
//! bytes that takes.

mod common;
mod excluded;
mod grouped;
mod read;

use self::excluded::Names;
use super::error::ShapeError;
use super::keys::Keys;
use super::{Format, Quantization, TensorSpec};

/// What a quantiser did.
#[derive(Debug, Default)]
pub(super) struct Quantizer {
    /// Of most projections; `None`: nothing is quantised.
    pub quantization: Option<Quantization>,
    pub kv_in_fp8: bool,
    /// The head is packed too.
    pub packs_head: bool,
    pub assumptions: Vec<String>,
    /// Modules that keep the checkpoint's own type.
    excluded: Names,
    /// Only routed experts are packed.
    experts_only: bool,
    /// Routed experts are packed in this way instead.
    experts: Option<Packing>,
    /// The first whose modules these are counts.
    groups: Vec<(Names, Packing)>,
}

/// Bytes of a weight and of what stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Packing {
    /// Of an element.
    pub bits: usize,
    /// Input features that share a scale; 0: all of a row.
    pub group: usize,
    /// Bytes of a scale; 0: one for the whole tensor, which is not counted.
    pub scale: usize,
    /// Bits of a zero point beside each scale.
    pub zero_bits: usize,
    /// Bytes for each input feature, such as its place in the order of importance.
    pub index: usize,
}

impl Packing {
    /// Bytes of a weight of so many rows and columns.
    fn bytes(self, [rows, columns]: [usize; 2]) -> u64 {
        let [rows, columns] = [rows as u64, columns as u64];
        let groups = match self.group {
            0 => 1,
            group => columns.div_ceil(group as u64),
        };
        let beside = rows * groups * (8 * self.scale + self.zero_bits) as u64;
        (rows * columns * self.bits as u64 + beside).div_ceil(8) + columns * self.index as u64
    }

    fn pack(self, weight: TensorSpec, shape: [usize; 2]) -> TensorSpec {
        let format = Format::Packed {
            elements: (shape[0] as u64 * shape[1] as u64).max(1),
            bytes: self.bytes(shape),
        };
        TensorSpec { format, ..weight }
    }
}

impl Quantizer {
    /// By the configuration, else by what a tool wrote `beside` it.
    ///
    /// # Errors
    /// It says something that nothing is known of.
    pub fn read(config: &Keys, beside: Option<&Keys>) -> Result<Self, ShapeError> {
        read::within(config)
            .or_else(|| beside.and_then(read::beside))
            .unwrap_or_else(|| Ok(Self::default()))
    }

    /// `weight`, the matrix of `module`, as it was packed.
    pub fn pack(&self, module: &str, weight: TensorSpec, shape: [usize; 2]) -> Vec<TensorSpec> {
        let is_expert = weight.count > 1;
        let kept = (self.experts_only && !is_expert) || self.excluded.hold(module);
        if kept {
            return vec![weight];
        }
        if let Some(packing) = self.experts.filter(|_| is_expert) {
            return vec![packing.pack(weight, shape)];
        }
        if let Some(Quantization::Fp8 { block }) = self.quantization {
            return weight.in_fp8(shape, block).into();
        }
        let mut groups = self.groups.iter();
        let Some((_, packing)) = groups.find(|(names, _)| names.is_empty() || names.hold(module))
        else {
            return vec![weight];
        };
        vec![packing.pack(weight, shape)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_a_weight_is_counted() {
        let four = Packing {
            bits: 4,
            group: 128,
            scale: 2,
            zero_bits: 4,
            index: 0,
        };
        assert_eq!(four.bytes([2, 256]), 256 + 2 * 2 * 2 + 2);
        let rows = Packing {
            bits: 8,
            scale: 4,
            ..Packing::default()
        };
        assert_eq!(rows.bytes([3, 10]), 30 + 12);
        let ordered = Packing { index: 8, ..four };
        assert_eq!(ordered.bytes([2, 256]), four.bytes([2, 256]) + 8 * 256);
    }
}
