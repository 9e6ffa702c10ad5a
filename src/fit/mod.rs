//! Will this model run on that hardware, with what context and concurrency, and if not, what is the
//! nearest change that does: arithmetic over plain data, no weights and no GPU.
//!
//! An [`Ask`] is the question, an [`Answer`] the verdict with the ledger it rests on. `vllm`, `sglang` and `llama_cpp` do the
//! sum as those servers do it, `candlepower` as our own engine owns its memory; `record` says how good such answers
//! were.

mod answer;
mod ask;
mod candlepower;
mod explain;
mod fixes;
mod gpu_layers;
mod ledger;
mod llama_cpp;
mod load_quantization;
mod pool;
mod quantised;
mod reason;
mod record;
mod releases;
mod rules;
mod scratch;
mod sglang;
mod terms;
mod verdict;
mod vllm;

pub use answer::{Answer, PerRank, answer, assess};
pub use ask::{Ask, Card, Engine, Extras, KvType, Limits, Load, Lora, StoredBytes};
pub use fixes::Fix;
pub use gpu_layers::{CacheType, LlamaCpp};
pub use load_quantization::LoadQuantization;
pub use record::Record;
pub use releases::{Release, UnknownRelease};
pub use verdict::Verdict;
pub use vllm::server_limits;
