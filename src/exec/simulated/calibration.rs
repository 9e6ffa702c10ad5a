//! Constants of the simulated device that every level shares, and where they came from. What an engine's kernels reach
//! is in `kernels.rs`, what its host costs in `server.rs`. None belongs to one model, one card or one row:
//! `tests/figures/simulated.rs` holds how far they carry.
//!
//! "The cases" are the rows of `tests/fixtures/calibration/throughput_cases.json`; "the report's rows" are those of
//! `models/vllm_reference.json`; "the H100" is this project's own run (`kernels/NOTES.md`).

/// FLOPs of a multiply-add.
pub const FMA: u64 = 2;
/// f32 lanes of an SM: of compute capabilities 7.0 to 8.0, and of all later ones (white papers).
pub const EARLY_SM_LANES: f64 = 64.0;
pub const SM_LANES: f64 = 128.0;

/// Share of the data sheet's tensor FLOP/s that a large matmul reaches, where nobody measured the card:
/// 0.87 on an A100 (271 of 312), 0.80 on an H100 (795 of 989).
pub const MATMUL_SHARE: f64 = 0.80;
/// A kernel that moves bytes for `a` seconds and computes for `b` of them takes `(a^n + b^n)^(1/n)`: neither hides
/// the other wholly where both take long. Fitted to the H100's steps of 300 requests, which lie at that knee.
pub const KNEE: f64 = 2.5;
/// Rows that a tensor core multiplies at a time (PTX ISA): `mma`, and `wgmma` of Hopper and the Blackwell of data centres.
pub const MMA_ROWS: usize = 16;
pub const WGMMA_ROWS: usize = 64;
/// Without graphs the host launches each kernel: some 5 us apart.
pub const LAUNCH_SECONDS: f64 = 5e-6;

/// vLLM sends all ranks' logits to one in the model's type. A gather moves about half of what an
/// all-reduce of the same message does.
pub const GATHER_OF_ALL_REDUCE: f64 = 0.5;
