//! What one rank holds of each layer, from the shard plan: bytes as stored, elements as multiplied.

use crate::parallel::{RankShape, ShardPlan};
use crate::shape::{Format, Mlp, Quantization, Role, TensorSpec, WeightType};

/// The rank that is simulated: none holds more.
const RANK: usize = 0;

/// The weights of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matrix {
    /// As stored: scales and biases too.
    pub bytes: u64,
    /// Of the matrices alone: each is one multiply-add a row.
    pub elements: u64,
    pub inputs: usize,
    pub outputs: usize,
    /// Tensor cores multiply in 8 bits.
    pub eight_bits: bool,
}

/// What decides how long a layer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layer {
    pub window: Option<usize>,
    /// Elements that one token adds to the KV cache, K and V together.
    pub kv_width: usize,
    pub qkv: Matrix,
    pub o: Matrix,
    pub gate_up: Matrix,
    pub down: Matrix,
    /// Of a layer with experts, whose gate, up and down are all of this rank's experts together.
    pub router: Option<Matrix>,
}

/// The whole model on one rank.
#[derive(Debug, Clone)]
pub struct Shapes {
    pub rank: RankShape,
    pub hidden: usize,
    pub head_dim: usize,
    /// Bytes of an activation.
    pub element: usize,
    pub head: Matrix,
    /// Layers that differ.
    pub kinds: Vec<Layer>,
    /// The kind of each layer, in order.
    pub layers: Vec<usize>,
}

impl Shapes {
    /// Plain weights and activations are of `dtype`.
    pub fn new(plan: &ShardPlan, dtype: WeightType) -> Self {
        let (shape, rank) = (plan.shape(), plan.rank_shape(RANK));
        let hidden = shape.hidden_size;
        let q = rank.num_heads * shape.head_dim;
        let layers = shape.layers.iter().map(|layer| {
            let width = match layer.mlp {
                Mlp::Dense { .. } => rank.intermediate_size,
                Mlp::Experts(_) => rank.moe_intermediate_size,
            };
            let kv_width = layer.kv.elements_per_token(plan.tp());
            Layer {
                window: layer.kv.window(),
                kv_width,
                qkv: matrix(hidden, q + kv_width),
                o: matrix(q, hidden),
                gate_up: matrix(hidden, 2 * width),
                down: matrix(width, hidden),
                router: None,
            }
        });
        let mut layers: Vec<Layer> = layers.collect();
        let mut head = matrix(hidden, rank.vocab_rows);
        // Inputs are quantised as well.
        let eight_bits = match shape.quantization {
            Some(Quantization::Other(scheme)) => scheme.activations && scheme.bits == 8,
            _ => false,
        };
        for part in plan.tensors() {
            let tensor = part.tensor;
            let held = part.elements(RANK);
            let layer = tensor.layer.map(|layer| &mut layers[layer]);
            let matrix = match (layer, tensor.role) {
                (Some(layer), Role::Query | Role::KeyValue | Role::Latent | Role::Mixer) => {
                    &mut layer.qkv
                }
                (Some(layer), Role::Output) => &mut layer.o,
                (Some(layer), Role::Up) => &mut layer.gate_up,
                (Some(layer), Role::Down | Role::SumBias) => &mut layer.down,
                (Some(layer), Role::Router) => {
                    layer.router.insert(self::matrix(hidden, tensor.shape[0]))
                }
                (None, Role::Head) => &mut head,
                (None, Role::Embedding) if shape.tie_word_embeddings => &mut head,
                _ => continue,
            };
            matrix.add(tensor, held, dtype, eight_bits);
        }
        let mut kinds = Vec::new();
        let layers = layers.into_iter().map(|layer| {
            let known = kinds.iter().position(|kind| *kind == layer);
            known.unwrap_or_else(|| {
                kinds.push(layer);
                kinds.len() - 1
            })
        });
        let layers = layers.collect();
        Self {
            rank,
            hidden,
            head_dim: shape.head_dim,
            element: dtype.bytes(),
            head,
            kinds,
            layers,
        }
    }

    pub fn q_width(&self) -> usize {
        self.rank.num_heads * self.head_dim
    }
}

impl Matrix {
    /// `eight_bits`: packed weights are multiplied as they are; else they are widened on their way in.
    fn add(&mut self, tensor: &TensorSpec, held: u64, dtype: WeightType, eight_bits: bool) {
        self.bytes += tensor.bytes(held, dtype.bytes());
        self.elements += match tensor.format {
            Format::Scale { .. } => 0,
            Format::Packed { .. } | Format::Loose => held,
            Format::Plain | Format::Fp8 if tensor.shape.len() > 1 => held,
            Format::Plain | Format::Fp8 => 0,
        };
        self.eight_bits |= match tensor.format {
            Format::Fp8 => true,
            Format::Packed { .. } => eight_bits,
            _ => false,
        };
    }
}

fn matrix(inputs: usize, outputs: usize) -> Matrix {
    Matrix {
        inputs,
        outputs,
        ..Matrix::default()
    }
}
