//! Text of tokens as they come, in whole characters.

use super::error::TextError;
use super::tokenizer::Tokenizer;

/// What a decoder writes for bytes that are not (yet) a character.
const INCOMPLETE: char = char::REPLACEMENT_CHARACTER;

/// Incremental decoding. The pieces, put together, are the text that [`Tokenizer::decode`] gives for all ids.
///
/// A token's text depends on its left neighbour (leading spaces, split characters), so each new token is decoded
/// behind the tokens of the last piece, whose text is then taken off.
#[derive(Debug, Clone)]
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    skip_special: bool,
    /// Tokens of the last piece, as left context, then those that wait for their character's end.
    ids: Vec<u32>,
    /// How many of `ids` have been given out.
    given: usize,
}

impl Tokenizer {
    /// Decodes a growing output piece by piece.
    pub fn decode_stream(&self, skip_special: bool) -> DecodeStream<'_> {
        DecodeStream {
            tokenizer: self,
            skip_special,
            ids: Vec::new(),
            given: 0,
        }
    }
}

impl DecodeStream<'_> {
    /// Adds a token and returns the text that became complete, possibly empty.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        self.ids.push(id);
        self.take(false)
    }

    /// The rest at the end of the output: bytes that never became a character show as U+FFFD.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(mut self) -> Result<String, TextError> {
        self.take(true)
    }

    fn take(&mut self, even_incomplete: bool) -> Result<String, TextError> {
        let before = self
            .tokenizer
            .decode(&self.ids[..self.given], self.skip_special)?;
        let all = self.tokenizer.decode(&self.ids, self.skip_special)?;
        if all.ends_with(INCOMPLETE) && !even_incomplete {
            return Ok(String::new());
        }
        let piece = all.strip_prefix(&before).unwrap_or(&all).to_owned();
        if !piece.is_empty() {
            self.ids.drain(..self.given);
        }
        self.given = self.ids.len();
        Ok(piece)
    }
}
