//! How a checkpoint's weights are quantised, as far as memory and the card are concerned.

/// How weights are quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// 8-bit floats (e4m3) in blocks of so many rows and columns, each with a scale.
    Fp8 { block: [usize; 2] },
    /// In any other way.
    Other(Scheme),
}

/// What a quantiser made of most of the projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    pub method: Method,
    pub code: Code,
    /// Of a weight, in whole bits; GGUF types have a part of one more.
    pub bits: usize,
    /// Input features that share a scale; `None`: a row, or the whole tensor.
    pub group: Option<usize>,
    /// Inputs are quantised too.
    pub activations: bool,
    /// Input features lie in the order of their importance (GPTQ's `desc_act`).
    pub act_order: bool,
}

/// Who wrote them, which decides the kernel that reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Awq,
    Gptq,
    CompressedTensors,
    Fp8,
    FbgemmFp8,
    ModelOpt,
    BitsAndBytes,
    Mxfp4,
    TorchAo,
    Gguf,
    Quark,
    /// Another one, seen in the headers.
    Unnamed,
}

/// In what numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    Int,
    Float,
}

impl Method {
    /// As `quant_method` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Awq => "awq",
            Self::Gptq => "gptq",
            Self::CompressedTensors => "compressed-tensors",
            Self::Fp8 => "fp8",
            Self::FbgemmFp8 => "fbgemm_fp8",
            Self::ModelOpt => "modelopt",
            Self::BitsAndBytes => "bitsandbytes",
            Self::Mxfp4 => "mxfp4",
            Self::TorchAo => "torchao",
            Self::Gguf => "gguf",
            Self::Quark => "quark",
            Self::Unnamed => "an unnamed method",
        }
    }
}
