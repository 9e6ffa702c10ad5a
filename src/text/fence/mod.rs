//! What a `tokenizer.json` may do, read from it before a tokenizer is made: how far text can grow, how much is added,
//! and that nothing in it is larger than its kind.

mod file;
mod growth;
mod run;

pub use growth::Growth;
pub use run::{Stopped, caught, within};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::ground::json::{self, Limits};

/// Bytes of the file; those of the largest vocabularies have 35 MB.
pub const LARGEST_FILE: u64 = 64 << 20;
/// Bytes that the normalizer and the pre-tokenizer may make of a prompt.
pub const MOST_NORMALIZED: usize = 32 << 20;
/// Bytes that each byte may become: NFKC and SentencePiece's tables need some 33.
const MOST_GROWTH: usize = 128;
/// Of a part that is not the vocabulary: SentencePiece's table takes 320 kB, in one text.
const PART: Limits = Limits {
    bytes: 4 << 20,
    memory: 16 << 20,
};
/// Special tokens around a prompt.
const MOST_ADDED: usize = 64;

/// The bounds that the tokenizer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// Of a prompt before it is cut into tokens.
    pub encode: Growth,
    /// Of the tokens' texts.
    pub decode: Growth,
}

impl Fence {
    /// # Errors
    /// A clause: what in the file is beyond its bounds, with both.
    pub fn of(text: &str) -> Result<Self, String> {
        let file = file::File::read(text)?;
        let part = |raw: Option<&RawValue>, name| parsed(raw, name);
        let normalizer = growth::of_normalizer(&part(file.normalizer, "normalizer")?)?;
        let pre_tokenizer = growth::of_pre_tokenizer(&part(file.pre_tokenizer, "pre_tokenizer")?)?;
        let fence = Self {
            encode: normalizer.then(pre_tokenizer),
            decode: growth::of_decoder(&part(file.decoder, "decoder")?)?,
        };
        for (growth, what) in [(fence.encode, "text"), (fence.decode, "a token")] {
            if growth.times > MOST_GROWTH {
                return Err(format!(
                    "{what} may grow {}-fold, where {MOST_GROWTH}-fold is the most",
                    growth.times
                ));
            }
        }
        let added = fence.encode.bytes(file.added_bytes);
        if added > MOST_NORMALIZED {
            return Err(format!("its added tokens may grow to {added} bytes"));
        }
        check_template(&part(file.post_processor, "post_processor")?)?;
        Ok(fence)
    }
}

fn parsed(raw: Option<&RawValue>, name: &str) -> Result<Value, String> {
    let text = raw.map_or("null", RawValue::get);
    if text.len() as u64 > PART.bytes {
        return Err(format!(
            "its {name} has {} bytes, where {} are the most",
            text.len(),
            PART.bytes
        ));
    }
    let parsed = json::parse(text.as_bytes(), PART);
    let parsed = parsed.map_err(|error| format!("its {name}: {error}"));
    parsed.map(|json| json.value)
}

/// The template around a prompt holds the prompt once and few tokens, of which it says what they are. Parts are known by
/// their keys, as the tokenizer knows them.
fn check_template(part: &Value) -> Result<(), String> {
    if part.is_null() {
        return Ok(());
    }
    if !part.is_object() {
        return Err("its post_processor is no object".to_owned());
    }
    let list = |value: &Value, key| value.get(key).and_then(Value::as_array).cloned();
    for inner in list(part, "processors").unwrap_or_default() {
        check_template(&inner)?;
    }
    let Some(pieces) = list(part, "single") else {
        return Ok(());
    };
    let (mut prompts, mut added) = (0, 0);
    for piece in &pieces {
        let id = |kind| piece.get(kind)?.get("id")?.as_str();
        match (id("Sequence"), id("SpecialToken")) {
            (Some("A"), _) => prompts += 1,
            (_, Some(id)) => {
                let token = part.get("special_tokens").and_then(|all| all.get(id));
                let ids = token.and_then(|token| list(token, "ids"));
                added += ids.map(|ids| ids.len()).ok_or_else(|| {
                    format!("its post_processor adds {id:.40}, which its special_tokens lack")
                })?;
            }
            _ => {
                return Err(format!(
                    "its post_processor has a piece that is neither the prompt nor a special token: {:.80}",
                    piece.to_string()
                ));
            }
        }
    }
    if prompts > 1 {
        return Err(format!(
            "its post_processor repeats the prompt {prompts} times"
        ));
    }
    if added > MOST_ADDED || pieces.len() > MOST_ADDED {
        let added = added.max(pieces.len());
        return Err(format!(
            "its post_processor adds {added} tokens, where {MOST_ADDED} are the most"
        ));
    }
    Ok(())
}
