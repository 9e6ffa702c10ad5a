//! What the kernels of an engine reach of a card, by few constants that hold for every card.

/// Of one engine, or one kind of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kernels {
    /// Share of the data sheet's bandwidth that a kernel reads at.
    pub read_share: f64,
    /// Bytes of weights that one SM takes in a clock at most: so many loads are in flight. `None`: memory bounds alone.
    pub sm_bytes_per_clock: Option<f64>,
    /// Share of the rate of a large matmul that those of a step reach.
    pub matmul_share: f64,
    /// Share of a matmul's rate that attention over prompts reaches.
    pub attention_share: f64,
    /// FLOPs an SM does in a clock for a running request's queries over cached keys and values; `None`: as over prompts.
    pub decode_sm_flops_per_clock: Option<f64>,
    /// Start and end of a kernel in a CUDA graph: the gap behind the one before, filling and draining the card.
    pub seconds: f64,
}

impl Kernels {
    /// This project's. The read share and the seconds of a kernel are fitted to nine steps of the H100 (1.5B, 8B and
    /// 14B at 1, 50 and 300 requests). FlashAttention 2 reports 50 to 73 % of an A100's peak over prompts (Dao 2023), where
    /// matmul reaches 87 %.
    pub const OWN: Self = Self {
        read_share: 0.87,
        sm_bytes_per_clock: None,
        matmul_share: 1.0,
        attention_share: 0.7,
        decode_sm_flops_per_clock: None,
        seconds: 4.0e-6,
    };

    /// Those of vLLM, SGLang and TensorRT-LLM of 2024 and 2025, fitted to the cases of engines without a server (Qwen's
    /// figures on A100 and H20, NVIDIA's on A100).
    ///
    /// - Reads: copies within a card reach 0.89 (lim-29, A800) to 0.91 (lim-01, RTX 4090) of the data sheet. Weights come
    ///   no faster than 10 bytes an SM and clock: 1.6 TB/s on an A100, 1.8 on an H20, whose memory gives 4.0. Cards whose
    ///   memory is slow for their SMs (all with GDDR) never meet it.
    /// - Running requests: contexts of 30,000 tokens and more cost what the products of their query heads cost, with few
    ///   heads less than with many over the same cache: 5 to 7 TFLOP/s on both cards.
    /// - A layer launches some more kernels than the nine that are counted here (rotation, partial sums, casts), which
    ///   is in the seconds of each.
    pub const ENGINES: Self = Self {
        read_share: 0.90,
        sm_bytes_per_clock: Some(10.4),
        matmul_share: 0.90,
        attention_share: 0.62,
        decode_sm_flops_per_clock: Some(69.0),
        seconds: 5.5e-6,
    };
}
