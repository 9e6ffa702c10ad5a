//! What one rank holds of each layer, from the shard plan: bytes as stored, elements as multiplied.

use crate::parallel::{RankShape, ShardPlan};
use crate::shape::{self, Experts, Format, Kv, Quantization, Role, TensorSpec, WeightType};

/// The rank that is simulated: none holds more.
const RANK: usize = 0;
/// In the name of what makes K and V of latents.
const UNPACKS: &str = "kv_b_proj";

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

/// What decides how long a layer takes. An operation whose matrix has no elements is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    pub kv: Kv,
    /// Elements that one token adds to the KV cache, K and V together.
    pub kv_width: usize,
    /// Of the queries of one token, as they are multiplied with K.
    pub q_width: usize,
    /// What makes Q, K and V of a token, or the latents of all of them.
    pub qkv: Matrix,
    /// `None`: K and V are kept as they are.
    pub latent: Option<Latent>,
    pub o: Matrix,
    /// Of a dense MLP, or of what every token takes beside the experts.
    pub gate_up: Matrix,
    pub down: Matrix,
    /// `None`: a dense layer.
    pub routed: Option<Routed>,
}

/// Between latents and heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latent {
    /// Queries from their latent, where they have one.
    pub queries: Matrix,
    /// K and V from theirs.
    pub unpack: Matrix,
}

/// The experts of a layer, all of this rank's together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed {
    pub experts: Experts,
    pub router: Matrix,
    pub gate_up: Matrix,
    pub down: Matrix,
}

/// The whole model on one rank.
#[derive(Debug, Clone)]
pub struct Shapes {
    pub rank: RankShape,
    pub hidden: usize,
    /// Of each layer.
    pub norms: usize,
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
        let empty = |layer: &shape::Layer| Layer {
            kv: layer.kv,
            kv_width: layer.kv.elements_per_token(plan.tp()),
            q_width: rank.num_heads * shape.head_dim,
            qkv: Matrix::default(),
            latent: matches!(layer.kv, Kv::Latent { .. }).then(Latent::default),
            o: Matrix::default(),
            gate_up: Matrix::default(),
            down: Matrix::default(),
            routed: layer.mlp.experts().map(Routed::new),
        };
        let mut layers: Vec<Layer> = shape.layers.iter().map(empty).collect();
        let mut head = Matrix::default();
        // Inputs are quantised as well.
        let eight_bits = match shape.quantization {
            Some(Quantization::Other(scheme)) => scheme.activations && scheme.bits == 8,
            _ => false,
        };
        for part in plan.tensors() {
            let tensor = part.tensor;
            // Tables of inputs for each layer are no heads.
            let is_tied = tensor.role == Role::Embedding && shape.tie_word_embeddings;
            let matrix = match tensor.layer {
                Some(layer) => layers[layer].of(tensor, hidden),
                None if tensor.role == Role::Head => Some(&mut head),
                None if is_tied && tensor.shape.last() == Some(&hidden) => Some(&mut head),
                None => None,
            };
            if let Some(matrix) = matrix {
                matrix.add(tensor, part.elements(RANK), dtype, eight_bits);
            }
        }
        head = Matrix {
            inputs: hidden,
            outputs: rank.vocab_rows,
            ..head
        };
        let mut kinds = Vec::new();
        let layers = layers.into_iter().map(|layer| {
            let layer = layer.sized(hidden, rank.experts.len());
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
            norms: shape.norms,
            element: dtype.bytes(),
            head,
            kinds,
            layers,
        }
    }
}

impl Layer {
    /// What `tensor` is a part of; `None`: it is read in passing.
    fn of(&mut self, tensor: &TensorSpec, hidden: usize) -> Option<&mut Matrix> {
        let expert = tensor.expert.is_some() || tensor.count > 1;
        let routed = self.routed.as_mut();
        Some(match tensor.role {
            Role::Query => match self.latent.as_mut() {
                Some(latent) if tensor.name.contains(UNPACKS) => &mut latent.unpack,
                Some(latent) if tensor.shape.last() != Some(&hidden) => &mut latent.queries,
                _ => &mut self.qkv,
            },
            Role::KeyValue | Role::Latent => &mut self.qkv,
            Role::Output => &mut self.o,
            Role::Router => &mut routed?.router,
            Role::Up => match routed.filter(|_| expert) {
                Some(routed) => &mut routed.gate_up,
                None => &mut self.gate_up,
            },
            Role::Down => match routed.filter(|_| expert) {
                Some(routed) => &mut routed.down,
                None => &mut self.down,
            },
            Role::SumBias => match (routed, expert) {
                (Some(routed), true) => &mut routed.down,
                (Some(_), false) => &mut self.o,
                // That of attention is as small, and stands with the MLP's.
                (None, _) => &mut self.down,
            },
            _ => return None,
        })
    }

    /// With what goes in and out of each matrix, of which all that read the same are one; of routed ones `held` are here.
    fn sized(self, hidden: usize, held: usize) -> Self {
        let latent_width = match self.kv {
            Kv::Latent { width, rotary, .. } => width - rotary,
            _ => hidden,
        };
        let o = self.o.giving(hidden, 1);
        Self {
            // Heads of some layers are wider than the others', or more.
            q_width: match self.kv.heads() {
                None => self.q_width,
                Some(heads) => o.inputs / heads.value_dim.max(1) * heads.key_dim,
            },
            qkv: self.qkv.taking(hidden, 1),
            latent: self.latent.map(|latent| Latent {
                queries: latent.queries.giving(self.q_width, 1),
                unpack: latent.unpack.taking(latent_width, 1),
            }),
            o,
            gate_up: self.gate_up.taking(hidden, 1),
            down: self.down.giving(hidden, 1),
            routed: self.routed.map(|routed| Routed {
                experts: routed.experts,
                router: routed.router.taking(hidden, 1),
                gate_up: routed.gate_up.taking(hidden, held),
                down: routed.down.giving(hidden, held),
            }),
            ..self
        }
    }
}

impl Routed {
    fn new(experts: Experts) -> Self {
        Self {
            experts,
            router: Matrix::default(),
            gate_up: Matrix::default(),
            down: Matrix::default(),
        }
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

    /// There is no such operation.
    pub fn is_none(&self) -> bool {
        self.elements == 0
    }

    /// `count` alike together, of so many input features each.
    fn taking(self, inputs: usize, count: usize) -> Self {
        Self {
            inputs,
            outputs: self.beside(inputs, count),
            ..self
        }
    }

    /// The same of output features.
    fn giving(self, outputs: usize, count: usize) -> Self {
        Self {
            inputs: self.beside(outputs, count),
            outputs,
            ..self
        }
    }

    fn beside(self, features: usize, count: usize) -> usize {
        self.elements as usize / (features * count).max(1)
    }
}
