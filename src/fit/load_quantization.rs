//! Weights that become others than the checkpoint has, when a server loads them or before.

use std::str::FromStr;

use crate::shape::{Format, TensorSpec};

/// What is made of a 16-bit checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LoadQuantization {
    /// While it is loaded: a byte for each weight of a projection, a scale for each matrix. Embedding, head and norms stay
    /// as they are, here and with the next three.
    Fp8,
    /// The same with a scale for each block of 128 x 128.
    Fp8PerBlock,
    /// Four bits, and a byte for each 64 of them (nf4, doubly quantised).
    BitsAndBytes,
    /// A byte for each weight of experts.
    ExpertsInt8,
    /// A GGUF file of this type: so many bits for each weight of any matrix.
    Gguf(f64),
}

/// Types of GGUF files, and bits of a weight in the files of an 8B model that `llama-quantize` makes: its own table.
const GGUF_TYPES: [(&str, f64); 22] = [
    ("F16", 16.0),
    ("BF16", 16.0),
    ("Q8_0", 8.5),
    ("Q6_K", 6.56),
    ("Q5_K_M", 5.7),
    ("Q5_K_S", 5.57),
    ("Q5_1", 6.0),
    ("Q5_0", 5.54),
    ("Q4_K_M", 4.89),
    ("Q4_K_S", 4.67),
    ("Q4_1", 5.0),
    ("Q4_0", 4.63),
    ("IQ4_NL", 4.68),
    ("IQ4_XS", 4.46),
    ("Q3_K_L", 4.3),
    ("Q3_K_M", 4.0),
    ("Q3_K_S", 3.64),
    ("IQ3_XXS", 3.25),
    ("Q2_K", 3.16),
    ("IQ2_XXS", 2.38),
    ("IQ1_M", 2.15),
    ("IQ1_S", 2.0),
];

const OF_SERVERS: [(&str, LoadQuantization); 4] = [
    ("fp8", LoadQuantization::Fp8),
    ("fp8_per_block", LoadQuantization::Fp8PerBlock),
    ("bitsandbytes", LoadQuantization::BitsAndBytes),
    ("experts_int8", LoadQuantization::ExpertsInt8),
];

impl LoadQuantization {
    /// Of `tensor`, of which a rank holds `elements`; `None`: it stays as it is.
    pub(super) fn bytes(self, tensor: &TensorSpec, elements: u64) -> Option<u64> {
        let matrix = tensor.shape.len() == 2 && tensor.format == Format::Plain;
        let projection = matrix && tensor.role.is_projection();
        match self {
            // It is made of the checkpoint as it was before it was quantised.
            Self::Gguf(bits) if tensor.format == Format::Fp8 => {
                Some((elements as f64 * bits / 8.0) as u64)
            }
            Self::Gguf(_) if matches!(tensor.format, Format::Scale { .. }) => Some(0),
            Self::Gguf(bits) if matrix => Some((elements as f64 * bits / 8.0) as u64),
            Self::Gguf(_) => None,
            _ if !projection => None,
            Self::Fp8 => Some(elements),
            // The shape has its blocks.
            Self::Fp8PerBlock => None,
            Self::BitsAndBytes => Some(elements / 2 + elements / 64),
            Self::ExpertsInt8 => (tensor.expert.is_some() || tensor.count > 1).then_some(elements),
        }
    }
}

impl FromStr for LoadQuantization {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let server = OF_SERVERS.iter().find(|row| row.0 == text).map(|row| row.1);
        let gguf = || {
            let row = GGUF_TYPES
                .iter()
                .find(|row| row.0.eq_ignore_ascii_case(text));
            row.map(|row| Self::Gguf(row.1))
        };
        server.or_else(gguf).ok_or_else(|| {
            let servers = OF_SERVERS.iter().map(|row| row.0);
            let all: Vec<&str> = servers.chain(GGUF_TYPES.iter().map(|row| row.0)).collect();
            format!(
                "{text:?} is nothing that weights are made; it may be {}",
                all.join(", ")
            )
        })
    }
}
