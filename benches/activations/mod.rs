//! What activations are when they meet weights of bf16: `cargo bench --bench NAME -- --bf16`.

use candlepower::ops::cpu::Cpu;

/// In f32, or in bf16 with `--bf16` on the command line.
pub fn cpu() -> Cpu {
    match std::env::args().any(|argument| argument == "--bf16") {
        true => Cpu::BF16,
        false => Cpu::F32,
    }
}
