//! How many bytes a part of a tokenizer makes of a text at most.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// Of Unicode's forms in UTF-8, and of lower case: the largest that a character takes, rounded up.
const NFC: usize = 3;
const NFD: usize = 4;
const NFK: usize = 12;
const LOWERCASE: usize = 2;
/// A three-byte character between two spaces.
const SPACED: usize = 2;
/// A byte as a character of its own.
const BYTE_LEVEL: usize = 2;
/// A replacement character in UTF-8.
const CHARACTER: usize = 4;
/// Characters of a pattern, and counts in its braces: a tokenizer's longest known has 1,500.
const LONGEST_PATTERN: usize = 8192;
const LARGEST_REPEAT: usize = 1000;

/// A text of `n` bytes becomes at most `times * n + plus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    pub times: usize,
    pub plus: usize,
}

impl Growth {
    const NONE: Self = Self { times: 1, plus: 0 };

    fn by(times: usize) -> Self {
        Self { times, plus: 0 }
    }

    pub fn then(self, next: Self) -> Self {
        Self {
            times: self.times.saturating_mul(next.times),
            plus: self
                .plus
                .saturating_mul(next.times)
                .saturating_add(next.plus),
        }
    }

    pub fn bytes(self, text: usize) -> usize {
        self.times.saturating_mul(text).saturating_add(self.plus)
    }
}

pub fn of_normalizer(part: &Value) -> Result<Growth, String> {
    match kind(part)? {
        "" | "Strip" | "StripAccents" | "Nmt" => Ok(Growth::NONE),
        "Sequence" => all(part, "normalizers", of_normalizer),
        "NFC" => Ok(Growth::by(NFC)),
        "NFD" => Ok(Growth::by(NFD)),
        "NFKC" | "NFKD" => Ok(Growth::by(NFK)),
        "Lowercase" => Ok(Growth::by(LOWERCASE)),
        "BertNormalizer" => Ok(Growth::by(NFD * LOWERCASE * SPACED)),
        "ByteLevel" => Ok(Growth::by(BYTE_LEVEL)),
        "Prepend" => Ok(Growth {
            times: 1,
            plus: text(part, "prepend").len(),
        }),
        "Replace" => replaced(part),
        "Precompiled" => precompiled(text(part, "precompiled_charsmap")),
        other => Err(unknown("normalizer", other)),
    }
}

/// Cutting makes no bytes; a prefix may be put in front of each piece.
pub fn of_pre_tokenizer(part: &Value) -> Result<Growth, String> {
    match kind(part)? {
        "" | "Whitespace" | "WhitespaceSplit" | "Punctuation" | "Digits" | "CharDelimiterSplit"
        | "BertPreTokenizer" | "UnicodeScripts" => Ok(Growth::NONE),
        "Sequence" => all(part, "pretokenizers", of_pre_tokenizer),
        "Split" => pattern(part).map(|_| Growth::NONE),
        "FixedLength" if part.get("length").and_then(Value::as_u64) == Some(0) => {
            Err("its pre_tokenizer cuts pieces of length 0".to_owned())
        }
        "FixedLength" => Ok(Growth::NONE),
        "ByteLevel" if part.get("add_prefix_space") == Some(&Value::Bool(false)) => {
            Ok(Growth::by(BYTE_LEVEL))
        }
        "ByteLevel" => Ok(Growth::by(2 * BYTE_LEVEL)),
        "Metaspace" => Ok(Growth::by(2 * CHARACTER)),
        other => Err(unknown("pre_tokenizer", other)),
    }
}

/// Of the tokens' texts.
pub fn of_decoder(part: &Value) -> Result<Growth, String> {
    match kind(part)? {
        "" | "Fuse" | "Strip" | "BPEDecoder" | "CTC" => Ok(Growth::NONE),
        "Sequence" => all(part, "decoders", of_decoder),
        // What is no character is shown as one of three bytes; a space goes in front.
        "ByteLevel" | "ByteFallback" | "Metaspace" | "WordPiece" => Ok(Growth::by(CHARACTER)),
        "Replace" => replaced(part),
        other => Err(unknown("decoder", other)),
    }
}

fn kind(part: &Value) -> Result<&str, String> {
    match part {
        Value::Null => Ok(""),
        Value::Object(object) => match object.get("type").and_then(Value::as_str) {
            Some(kind) if !kind.is_empty() => Ok(kind),
            _ => Err("one of its parts has no type".to_owned()),
        },
        _ => Err("one of its parts is no object".to_owned()),
    }
}

fn unknown(part: &str, kind: &str) -> String {
    format!("its {part} {kind:.40} is not known")
}

fn all(
    part: &Value,
    key: &str,
    of: fn(&Value) -> Result<Growth, String>,
) -> Result<Growth, String> {
    let parts = part.get(key).and_then(Value::as_array);
    let parts = parts.into_iter().flatten();
    parts
        .map(of)
        .try_fold(Growth::NONE, |sum, next| Ok(sum.then(next?)))
}

fn text<'a>(part: &'a Value, key: &str) -> &'a str {
    part.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn replaced(part: &Value) -> Result<Growth, String> {
    let content = text(part, "content").len();
    Ok(Growth::by(match pattern(part)? {
        Pattern::Text(text) => content.div_ceil(text.len()).max(1),
        // It may match nothing, between any two characters.
        Pattern::Regex => content.saturating_add(1),
    }))
}

enum Pattern<'a> {
    Text(&'a str),
    Regex,
}

fn pattern(part: &Value) -> Result<Pattern<'_>, String> {
    let pattern = part.get("pattern").unwrap_or(&Value::Null);
    let (found, text) = match (text(pattern, "String"), text(pattern, "Regex")) {
        ("", "") => return Err("one of its patterns is empty".to_owned()),
        ("", regex) => (Pattern::Regex, regex),
        (text, _) => (Pattern::Text(text), text),
    };
    if text.len() > LONGEST_PATTERN {
        return Err(format!(
            "one of its patterns has {} bytes, where {LONGEST_PATTERN} are the most",
            text.len()
        ));
    }
    let counts = text
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next());
    let counts = counts
        .flat_map(|count| count.split(','))
        .filter_map(|n| n.trim().parse::<u128>().ok());
    match (&found, counts.max()) {
        (Pattern::Regex, Some(count)) if count > LARGEST_REPEAT as u128 => Err(format!(
            "one of its patterns repeats {count} times, where {LARGEST_REPEAT} are the most"
        )),
        _ => Ok(found),
    }
}

/// SentencePiece's table: the length of a trie, the trie, then texts that end in zeros, of which one may stand for
/// each byte. The length is what memory is taken by.
fn precompiled(table: &str) -> Result<Growth, String> {
    let wrong = |what: &str| format!("its precompiled_charsmap {what}");
    let bytes = BASE64_STANDARD
        .decode(table)
        .map_err(|_| wrong("is no base64"))?;
    let (length, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| wrong("is cut short"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let texts = rest.get(length..).ok_or_else(|| wrong("is cut short"))?;
    let longest = texts.split(|&byte| byte == 0).map(<[u8]>::len).max();
    Ok(Growth::by(longest.unwrap_or(0).max(1)))
}
