//! The model's tokenizer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::{TextError, invalid, text_if_there};
use super::fence::{Fence, LARGEST_FILE, MOST_NORMALIZED, Stopped, caught, within};
use super::synthetic::TokenPool;
use super::tokenizer_config::TokenizerConfig;
use crate::ground::json::words;

const FILE: &str = "tokenizer.json";
/// What making a tokenizer of the file may take; the largest take some seconds.
const LOAD_LIMIT: Duration = Duration::from_secs(60);
/// What a text may take: some hundredfold of what it does.
const ENCODE_LIMIT: Duration = Duration::from_secs(5);
const SLOWEST_BYTES_PER_SECOND: usize = 64 << 10;
/// Of a long text: what is cut into tokens at once to see whether it has too many.
const PIECE_BYTES: usize = 64 << 10;
/// Tokens that a cut may add.
const CUT_TOKENS: usize = 64;

/// `tokenizer.json`, with the beginning-of-sequence rule of `tokenizer_config.json`.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    fence: Fence,
    /// Put first where the tokenizer's own post-processor does not.
    bos: Option<u32>,
}

impl Tokenizer {
    /// # Errors
    /// `dir` has no `tokenizer.json`, it or `tokenizer_config.json` is malformed, or it lets text grow without bounds.
    pub fn load(dir: &Path) -> Result<Self, TextError> {
        let path = dir.join(FILE);
        let text = text_if_there(&path, LARGEST_FILE)?.ok_or_else(|| TextError::NoTokenizer {
            path: dir.to_owned(),
        })?;
        Self::of(text, &path, &TokenizerConfig::load(dir)?)
    }

    /// The text of a `tokenizer.json`; `path` names it in errors.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path) -> Result<Self, TextError> {
        Self::of(text.to_owned(), path, &TokenizerConfig::default())
    }

    fn of(text: String, path: &Path, config: &TokenizerConfig) -> Result<Self, TextError> {
        let fenced = |reason| TextError::Fenced {
            path: path.to_owned(),
            reason,
        };
        let fence = Fence::of(&text).map_err(fenced)?;
        let inner = match within(LOAD_LIMIT, move || build(&text)) {
            Ok(Ok(inner)) => inner,
            Ok(Err(reason)) => return Err(invalid(path, reason)),
            Err(stopped) => return Err(fenced(what_stopped(&stopped))),
        };
        let bos = match config.tokens.get("bos_token") {
            Some(token) if config.add_bos_token => match inner.token_to_id(token) {
                Some(id) => Some(id),
                None => {
                    let token = token.to_owned();
                    return Err(TextError::UnknownBos { token });
                }
            },
            _ => None,
        };
        Ok(Self {
            inner: Arc::new(inner),
            fence,
            bos,
        })
    }

    /// Token ids of `text`. `add_special` adds what the model expects around plain text (BOS, once); a rendered chat
    /// template already has it and wants `false`. Special tokens written in the text are recognised in both cases.
    ///
    /// # Errors
    /// The tokenizer rejects the text, or may make too much of it.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        let made = self.fence.encode.bytes(text.len());
        if made > MOST_NORMALIZED {
            let reason = format!(
                "{} bytes, of which tokenizer.json may make {made}, where {MOST_NORMALIZED} are the most",
                text.len()
            );
            return Err(TextError::TooLong { reason });
        }
        let inner = self.inner.clone();
        let own = text.to_owned();
        let limit = ENCODE_LIMIT.saturating_add(Duration::from_secs(
            (made / SLOWEST_BYTES_PER_SECOND) as u64,
        ));
        let encoded = within(limit, move || inner.encode_fast(own, add_special));
        let failed = |reason| TextError::Encode { reason };
        let encoding = encoded
            .map_err(|stopped| failed(what_stopped(&stopped)))?
            .map_err(|error| failed(error.to_string()))?;
        let mut ids = encoding.get_ids().to_vec();
        if let Some(bos) = self
            .bos
            .filter(|bos| add_special && ids.first() != Some(bos))
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// As [`encode`](Self::encode), of a text that has `most` tokens at most. One that has more is noticed before it
    /// takes the memory of its tokens, which is a hundred times its own.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), or there are more.
    pub fn encode_within(
        &self,
        text: &str,
        add_special: bool,
        most: usize,
    ) -> Result<Vec<u32>, TextError> {
        let too_long = |tokens: &str| TextError::TooLong {
            reason: format!(
                "{} bytes make {tokens} tokens, where {most} are the most",
                text.len()
            ),
        };
        if text.len() > PIECE_BYTES {
            let mut rest = text;
            // Those of the pieces, less those that the cuts may have made.
            let mut fewest = 0;
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
                fewest += self.encode(piece, false)?.len().saturating_sub(CUT_TOKENS);
                if fewest > most {
                    return Err(too_long(&format!("more than {fewest}")));
                }
                rest = behind;
            }
        }
        let ids = self.encode(text, add_special)?;
        match ids.len() > most {
            true => Err(too_long(&ids.len().to_string())),
            false => Ok(ids),
        }
    }

    /// Text of `ids`. Ids that the tokenizer does not know (padded vocabularies) give no text.
    ///
    /// # Errors
    /// The tokenizer's decoder rejects the tokens.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        let failed = |reason| TextError::Decode { reason };
        let decoded = caught(|| self.inner.decode(ids, skip_special));
        let decoded = decoded
            .map_err(|reason| failed(format!("tokenizer.json made the decoder fail: {reason}")))?;
        decoded.map_err(|error| failed(error.to_string()))
    }

    /// Tokens known, added ones included. A model's `vocab_size` may be larger (padding).
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token by its exact text.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The ids below `vocab_limit` that stand for ordinary text: known, and not an added token (special ones, chat
    /// marks, tool and thinking tags).
    ///
    /// # Errors
    /// No such id is below the limit.
    pub fn token_pool(&self, vocab_limit: u32) -> Result<TokenPool, TextError> {
        let added = self.inner.get_added_tokens_decoder();
        let known = self.inner.get_vocab(true).into_values();
        let mut ids: Vec<u32> = known
            .filter(|id| *id < vocab_limit && !added.contains_key(id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        TokenPool::of(ids, vocab_limit)
    }
}

fn build(text: &str) -> Result<tokenizers::Tokenizer, String> {
    let mut inner =
        tokenizers::Tokenizer::from_bytes(text).map_err(|error| in_words(&error.to_string()))?;
    // Files may carry the truncation and padding of a training run: a prompt is neither cut nor filled up.
    inner.with_padding(None);
    inner
        .with_truncation(None)
        .map_err(|error| error.to_string())?;
    Ok(inner)
}

/// What the library says of the file, which it names by types of its own.
fn in_words(error: &str) -> String {
    if let Some((_, fault)) = error.split_once("Regex error: ") {
        return format!(
            "one of its patterns cannot be used: {}",
            words::without_place(fault)
        );
    }
    if error.starts_with("Model missing") {
        return "it has no model".to_owned();
    }
    let parts = [
        ("PreTokenizer", "pre_tokenizer"),
        ("PostProcessor", "post_processor"),
        ("Normalizer", "normalizer"),
        ("Decoder", "decoder"),
        ("Model", "model"),
        ("Merge", "list of merges"),
    ];
    let named = error
        .split_once("untagged enum ")
        .map_or("", |(_, name)| name);
    match parts.iter().find(|(kind, _)| named.starts_with(kind)) {
        Some((_, part)) => format!("its {part} is of no kind that is known"),
        None => words::in_words(error),
    }
}

fn what_stopped(stopped: &Stopped) -> String {
    match stopped {
        Stopped::Late => "tokenizer.json has patterns or words that take it too long".to_owned(),
        Stopped::Panicked(reason) => format!("tokenizer.json made the tokenizer fail: {reason}"),
    }
}
