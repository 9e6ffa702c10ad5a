//! The model's tokenizer.

use std::path::Path;

use super::error::{TextError, parse_if_there, read_if_there};
use super::synthetic::TokenPool;
use super::tokenizer_config::{self, SpecialToken, TokenizerConfig};

const FILE: &str = "tokenizer.json";

/// `tokenizer.json`, with the beginning-of-sequence rule of `tokenizer_config.json`.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Put first where the tokenizer's own post-processor does not.
    bos: Option<u32>,
}

impl Tokenizer {
    /// # Errors
    /// `dir` has no `tokenizer.json`, or it or `tokenizer_config.json` is malformed.
    pub fn load(dir: &Path) -> Result<Self, TextError> {
        let path = dir.join(FILE);
        let text = read_if_there(&path)?.ok_or_else(|| TextError::NoTokenizer {
            path: dir.to_owned(),
        })?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&text).map_err(|error| TextError::Invalid {
                path,
                reason: error.to_string(),
            })?;
        // Files may carry the truncation and padding of a training run: a prompt is neither cut nor filled up.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| TextError::Encode {
                reason: error.to_string(),
            })?;
        let config: TokenizerConfig =
            parse_if_there(&dir.join(tokenizer_config::FILE))?.unwrap_or_default();
        let bos = match config.bos_token.map(SpecialToken::into_text) {
            Some(token) if config.add_bos_token == Some(true) => match inner.token_to_id(&token) {
                Some(id) => Some(id),
                None => return Err(TextError::UnknownBos { token }),
            },
            _ => None,
        };
        Ok(Self { inner, bos })
    }

    /// Token ids of `text`. `add_special` adds what the model expects around plain text (BOS, once); a rendered chat
    /// template already has it and wants `false`. Special tokens written in the text are recognised in both cases.
    ///
    /// # Errors
    /// The tokenizer rejects the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        let encoding =
            self.inner
                .encode_fast(text, add_special)
                .map_err(|error| TextError::Encode {
                    reason: error.to_string(),
                })?;
        let mut ids = encoding.get_ids().to_vec();
        if let Some(bos) = self
            .bos
            .filter(|bos| add_special && ids.first() != Some(bos))
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Text of `ids`. Ids that the tokenizer does not know (padded vocabularies) give no text.
    ///
    /// # Errors
    /// The tokenizer's decoder rejects the tokens.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|error| TextError::Decode {
                reason: error.to_string(),
            })
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
        let ordinary = |id: &u32| !added.contains_key(id) && self.inner.id_to_token(*id).is_some();
        TokenPool::of((0..vocab_limit).filter(ordinary), vocab_limit)
    }
}
