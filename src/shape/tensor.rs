//! One tensor of a checkpoint: its name, its shape, what it does and how it is stored.

/// What a tensor does in its layer: decides how ranks share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A row for each token of the vocabulary; the head too where they are tied.
    Embedding,
    /// A row for each token of the vocabulary.
    Head,
    /// Weight and bias of q: rows by attention head.
    Query,
    /// Weights and biases of k and v: rows by KV head.
    KeyValue,
    /// Weights that make the latents of multi-head latent attention: every rank makes all of them.
    Latent,
    /// Weight of o: columns by attention head.
    Output,
    /// What a recurrent layer has beside its output: shared by its own heads.
    Mixer,
    /// Weights and biases of gate and up: rows by intermediate feature.
    Up,
    /// Weight of down: columns by intermediate feature.
    Down,
    /// Bias of o or down, added once to the sum over ranks.
    SumBias,
    /// Scores of the experts: every rank routes every token.
    Router,
    Norm,
    /// Of a tower beside the decoder, such as one for images.
    Tower,
    /// None of these: every rank holds all of it.
    Other,
}

impl Role {
    /// Weights of these, where they are matrices, are what quantisers change.
    pub fn is_projection(self) -> bool {
        match self {
            Self::Query
            | Self::KeyValue
            | Self::Latent
            | Self::Output
            | Self::Mixer
            | Self::Up
            | Self::Down => true,
            Self::Embedding
            | Self::Head
            | Self::SumBias
            | Self::Router
            | Self::Norm
            | Self::Tower
            | Self::Other => false,
        }
    }
}

/// In what elements a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The checkpoint's own type: bf16, f16 or f32.
    Plain,
    /// One byte an element (e4m3), with a `Scale` beside it.
    Fp8,
    /// One factor for each block of a weight of shape `of`; the last blocks may be cut short.
    Scale { of: [usize; 2], block: [usize; 2] },
    /// The checkpoint's own type, of tensors of several shapes: ranks share their number.
    Loose,
    /// So many elements take so many bytes, all that belongs to them included: scales, zeros, codebooks. Only
    /// its bytes are known, and ranks share them.
    Packed { elements: u64, bytes: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    /// Row-major; a projection is `[output features, input features]`.
    pub shape: Vec<usize>,
    pub role: Role,
    pub format: Format,
    /// `None` before and behind all layers.
    pub layer: Option<usize>,
    /// The expert whose weight this is.
    pub expert: Option<usize>,
    /// Tensors alike that this one stands for, where only bytes count: the experts of a layer. Else 1.
    pub count: usize,
}

impl TensorSpec {
    /// Bytes that `elements` of it take in memory: vectors and scales are widened to f32, matrices keep the
    /// checkpoint's type of `matrix_bytes`.
    pub fn bytes(&self, elements: u64, matrix_bytes: usize) -> u64 {
        let of_each = match (self.format, self.shape.len()) {
            (Format::Packed { .. }, _) => return self.packed_bytes(elements),
            (Format::Fp8, _) => 1,
            (Format::Scale { .. }, _) | (Format::Plain, 1) => size_of::<f32>(),
            (Format::Plain | Format::Loose, _) => matrix_bytes,
        };
        elements * of_each as u64
    }

    /// Where the format tells the bytes of `elements` by itself; else 0.
    pub fn packed_bytes(&self, elements: u64) -> u64 {
        match self.format {
            Format::Packed {
                elements: each,
                bytes,
            } => {
                (u128::from(elements) * u128::from(bytes)).div_ceil(u128::from(each.max(1))) as u64
            }
            _ => 0,
        }
    }

    /// Weights in it: scales are none.
    pub fn parameters(&self) -> u64 {
        match self.format {
            Format::Scale { .. } => 0,
            _ => self.elements(),
        }
    }

    /// Elements of all that it stands for.
    pub fn elements(&self) -> u64 {
        let lengths = self.shape.iter().map(|&length| length as u64);
        lengths.product::<u64>() * self.count as u64
    }

    /// This weight of shape `of` in FP8, and the scales of its blocks.
    pub fn in_fp8(self, of: [usize; 2], block: [usize; 2]) -> [Self; 2] {
        let scales = Self {
            name: scale_name(&self.name),
            shape: [0, 1].map(|axis| of[axis].div_ceil(block[axis])).into(),
            format: Format::Scale { of, block },
            ..self
        };
        let weight = Self {
            name: self.name,
            shape: of.into(),
            format: Format::Fp8,
            ..scales
        };
        [weight, scales]
    }
}

/// What a block-quantised weight's name goes on with for its scales (they multiply, as the name does not say).
pub const SCALE_SUFFIX: &str = "_scale_inv";

/// The scales beside the weight `name`.
pub fn scale_name(name: &str) -> String {
    format!("{name}{SCALE_SUFFIX}")
}
