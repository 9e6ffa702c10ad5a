//! Text to token ids and back: tokenizer, chat template, synthetic prompts, and the checkpoint's words on generation.
//! Every loader takes a directory in Hugging Face layout.

mod chat;
mod error;
mod fence;
mod generation;
mod jinja;
mod stream;
mod synthetic;
mod tokenizer;
mod tokenizer_config;

pub use chat::{ChatTemplate, Conversation, Message};
pub use error::TextError;
pub use generation::{GenerationConfig, end_tokens};
pub use stream::DecodeStream;
pub use synthetic::TokenPool;
pub use tokenizer::Tokenizer;
