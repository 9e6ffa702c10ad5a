//! Every constant of the simulated device, and where it came from. None belongs to one model, one card or
//! one row: `tests/figures/simulated.rs` holds how far they carry.
//!
//! "The cases" are the 16-bit rows of `tests/fixtures/calibration/throughput_cases.json`; "the report's
//! rows" are its four at concurrency 1 (`models/vllm_reference.json`).

/// Share of the data sheet's bandwidth that a kernel reading weights reaches. Copies within a card reach
/// 0.89 (lim-29, A800) to 0.91 (lim-01, RTX 4090), and the report's rows ask for no less.
pub const READ_SHARE: f64 = 0.90;
/// Bytes that one SM takes in a clock at most: so many loads are in flight. Decode of 14B and 32B reads
/// some 1.4 TB/s on an A100 (108 SMs: tput-021, -025) and 1.5 TB/s on an H20 (78 SMs: tput-062, -072):
/// 9 bytes a clock on both, where their memories would give 2.0 and 4.0 TB/s. Cards whose memory is slow
/// for their SMs (all with GDDR) never meet it.
pub const SM_BYTES_PER_CLOCK: f64 = 9.0;
/// FLOPs of an f32 multiply-add.
pub const FMA: f64 = 2.0;
/// f32 lanes of an SM: of compute capabilities 7.0 to 8.0, and of all later ones (white papers).
pub const EARLY_SM_LANES: f64 = 64.0;
pub const SM_LANES: f64 = 128.0;

/// Share of the data sheet's tensor FLOP/s that a matmul of a step reaches, where nobody measured the card:
/// 0.87 on an A100 (271 of 312), 0.80 on an H100 (795 of 989).
pub const MATMUL_SHARE: f64 = 0.80;
/// Share of a matmul's rate that attention over a prompt reaches: FlashAttention 2 reports 50 to 73 % of
/// an A100's peak (Dao 2023), where matmul reaches 87 %.
pub const ATTENTION_SHARE: f64 = 0.7;

/// A kernel's start and end in a CUDA graph: the gap to the next one, filling and draining the card.
/// Node-to-node gaps of some 1 us are what NVIDIA reports for graphs.
pub const KERNEL_SECONDS: f64 = 1e-6;
/// Without graphs the host launches each kernel: some 5 us apart.
pub const LAUNCH_SECONDS: f64 = 5e-6;

/// What vLLM adds to a step in turn with the GPU: scheduling, building inputs, reading tokens back. Fitted
/// to the report's rows on two ranks, and in line with lim-07's 8B model on one.
pub const VLLM_STEP_SECONDS: f64 = 1.0e-3;
/// For each rank that must be told and waited for: the report's rows on eight ranks beside those on two.
pub const VLLM_RANK_SECONDS: f64 = 0.30e-3;
/// For each running request: its row of the batch, its logits' processors and draw, its text. The cases
/// lie between 0.05 ms (H100 host, tput-162, -188) and 0.25 ms (L40S and RTX 4090 hosts, tput-166, -227).
pub const VLLM_REQUEST_SECONDS: f64 = 0.12e-3;
/// For each layer: attention is launched by Python between pieces of graphs, while the GPU works. Models
/// of 1.5B and less meet it and nothing larger does: 0.08 ms on hosts of an A100 and an H100 (tput-002,
/// -175), up to 0.35 ms on the slow host of an RTX 4090 (tput-134).
pub const VLLM_LAYER_SECONDS: f64 = 0.08e-3;
/// vLLM sends all ranks' logits to one in the model's type. A gather moves about half of what an
/// all-reduce of the same message does.
pub const GATHER_OF_ALL_REDUCE: f64 = 0.5;
