//! The outline of a `tokenizer.json`: its parts as text, its tokens counted and not kept.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::ground::json::words::in_words;

/// Tokens of a vocabulary; the largest have 260,000.
const MOST_TOKENS: usize = 1 << 20;
const MOST_MERGES: usize = 1 << 22;
/// Bytes of one token; the longest known have some hundred.
const LONGEST_TOKEN: usize = 4096;
const MOST_ADDED_TOKENS: usize = 1 << 17;
const MOST_ADDED_BYTES: usize = 1 << 20;
/// Characters of a word that WordPiece goes through, in cubed time; its default is 100.
const LONGEST_WORD: u64 = 256;
/// Bytes of anything else.
const LARGEST_OTHER: usize = 64 << 10;

#[derive(Debug, Default)]
pub struct File<'a> {
    pub normalizer: Option<&'a RawValue>,
    pub pre_tokenizer: Option<&'a RawValue>,
    pub post_processor: Option<&'a RawValue>,
    pub decoder: Option<&'a RawValue>,
    /// Of the added tokens' texts.
    pub added_bytes: usize,
}

impl<'a> File<'a> {
    pub fn read(text: &'a str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| in_words(&error.to_string()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for File<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = File<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the object of a tokenizer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File<'de>, A::Error> {
        let mut file = File::default();
        while let Some(key) = map.next_key::<Cow<str>>()? {
            match key.as_ref() {
                "normalizer" => file.normalizer = map.next_value()?,
                "pre_tokenizer" => file.pre_tokenizer = map.next_value()?,
                "post_processor" => file.post_processor = map.next_value()?,
                "decoder" => file.decoder = map.next_value()?,
                "added_tokens" => file.added_bytes = map.next_value::<AddedTokens>()?.0,
                "model" => {
                    map.next_value::<Model>()?;
                }
                _ => small(&key, map.next_value()?)?,
            }
        }
        Ok(file)
    }
}

fn small<E: Error>(key: &str, value: &RawValue) -> Result<(), E> {
    let size = value.get().len();
    match size > LARGEST_OTHER {
        true => Err(E::custom(format!(
            "{key:.40} has {size} bytes, where {LARGEST_OTHER} are the most"
        ))),
        false => Ok(()),
    }
}

struct Model;

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ModelVisitor)
    }
}

struct ModelVisitor;

impl<'de> Visitor<'de> for ModelVisitor {
    type Value = Model;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the object of a model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Model, A::Error> {
        while let Some(key) = map.next_key::<Cow<str>>()? {
            match key.as_ref() {
                "vocab" => {
                    map.next_value::<Vocabulary>()?;
                }
                "merges" => {
                    map.next_value::<Merges>()?;
                }
                "max_input_chars_per_word" => {
                    let longest: u64 = map.next_value()?;
                    if longest > LONGEST_WORD {
                        return Err(A::Error::custom(format!(
                            "max_input_chars_per_word is {longest}, where {LONGEST_WORD} is the most"
                        )));
                    }
                }
                _ => small(&key, map.next_value()?)?,
            }
        }
        Ok(Model)
    }
}

/// Counts up to a bound.
struct Count {
    count: usize,
    most: usize,
    what: &'static str,
}

impl Count {
    fn add<E: Error>(&mut self, token: &str) -> Result<(), E> {
        self.count += 1;
        let Self { most, what, .. } = self;
        if self.count > *most {
            return Err(E::custom(format!("it has more than {most} {what}")));
        }
        if token.len() > LONGEST_TOKEN {
            let size = token.len();
            return Err(E::custom(format!(
                "one of its {what} has {size} bytes, where {LONGEST_TOKEN} are the most"
            )));
        }
        Ok(())
    }
}

/// `{token: id}`, or `[[token, score]]`.
struct Vocabulary;

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabularyVisitor(Count {
            count: 0,
            most: MOST_TOKENS,
            what: "tokens",
        }))
    }
}

struct VocabularyVisitor(Count);

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("tokens and their ids")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Vocabulary, A::Error> {
        while let Some(token) = map.next_key::<Cow<str>>()? {
            self.0.add(&token)?;
            map.next_value::<serde_json::Number>()?;
        }
        Ok(Vocabulary)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Vocabulary, A::Error> {
        while let Some((token, _)) = list.next_element::<(Cow<str>, serde_json::Number)>()? {
            self.0.add(&token)?;
        }
        Ok(Vocabulary)
    }
}

/// `["a b"]`, or `[["a", "b"]]`.
struct Merges;

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MergesVisitor(Count {
            count: 0,
            most: MOST_MERGES,
            what: "merges",
        }))
    }
}

struct MergesVisitor(Count);

impl<'de> Visitor<'de> for MergesVisitor {
    type Value = Merges;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Merges, A::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Merge<'a> {
            Line(#[serde(borrow)] Cow<'a, str>),
            Pair(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] Cow<'a, str>),
        }
        while let Some(merge) = list.next_element::<Merge>()? {
            match merge {
                Merge::Line(line) => self.0.add(&line)?,
                Merge::Pair(left, right) => {
                    self.0.add(&left)?;
                    self.0.count -= 1;
                    self.0.add(&right)?;
                }
            }
        }
        Ok(Merges)
    }
}

/// Bytes of all added tokens.
#[derive(Default)]
struct AddedTokens(usize);

impl<'de> Deserialize<'de> for AddedTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddedVisitor)
    }
}

struct AddedVisitor;

impl<'de> Visitor<'de> for AddedVisitor {
    type Value = AddedTokens;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of added tokens")
    }

    fn visit_unit<E>(self) -> Result<AddedTokens, E> {
        Ok(AddedTokens::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AddedTokens, A::Error> {
        #[derive(serde::Deserialize)]
        struct Added<'a> {
            #[serde(borrow)]
            content: Cow<'a, str>,
        }
        let mut tokens = Count {
            count: 0,
            most: MOST_ADDED_TOKENS,
            what: "added tokens",
        };
        let mut bytes = 0;
        while let Some(added) = list.next_element::<Added>()? {
            tokens.add(&added.content)?;
            bytes += added.content.len();
            if bytes > MOST_ADDED_BYTES {
                return Err(A::Error::custom(format!(
                    "its added tokens have more than {MOST_ADDED_BYTES} bytes"
                )));
            }
        }
        Ok(AddedTokens(bytes))
    }
}
