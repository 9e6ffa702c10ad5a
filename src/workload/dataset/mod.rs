//! A file of requests, in the forms that benchmarks use: own lines, vLLM's and GuideLLM's, ShareGPT, OpenAI's messages,
//! Mooncake's traces.

mod dialogue;
mod keys;
mod pipe;
mod records;
mod row;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use records::{Fault, Records};
use row::{ACCEPTED, Arrival, Ask, Output, Row};

use super::{Prompt, WorkItem, item_seed};
use crate::ground::terminal::{listed, printable};
use crate::text::{Conversation, TokenPool};

/// Seconds that no run lasts.
const LATEST_ARRIVAL: f64 = 1e9;
const MILLISECONDS: f64 = 1e3;
/// Tokens that Mooncake's traces hash at once.
const MOONCAKE_BLOCK: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error("--dataset {file}: cannot be read ({reason}); give a readable file of JSON lines")]
    Io { file: String, reason: String },
    #[error("{file}, line {line}: {reason}")]
    Line {
        file: String,
        line: usize,
        reason: String,
    },
    #[error("{file}: holds no requests{why}; give {ACCEPTED}")]
    Empty { file: String, why: String },
}

/// What the records of a file leave open.
pub struct Defaults<'a> {
    pub output_len: usize,
    pub vocab_size: usize,
    /// Tokens that the model can place: no prompt or output is longer.
    pub max_len: usize,
    /// Ids of synthetic prompts.
    pub pool: &'a TokenPool,
    pub seed: u64,
    /// Turns text into ids.
    pub encode: &'a dyn Fn(&str) -> Result<Vec<u32>, NotEncoded>,
    /// As `encode`, of messages, through the model's chat template.
    pub chat: &'a dyn Fn(&Conversation) -> Result<Vec<u32>, NotEncoded>,
}

/// Why a text has no ids, in a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotEncoded {
    /// It has more tokens than the model can place.
    TooLong(String),
    Failed(String),
}

impl From<NotEncoded> for String {
    fn from(error: NotEncoded) -> Self {
        match error {
            NotEncoded::TooLong(reason) | NotEncoded::Failed(reason) => reason,
        }
    }
}

/// One request of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub prompt: Prompt,
    /// Output tokens at most.
    pub output_len: usize,
    /// Seconds from the run's start, where the file says so.
    pub arrival: Option<f64>,
}

/// The requests of a file, in its order, and never none.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    items: Vec<Item>,
    /// What of the file is not used, in sentences that follow its name.
    pub remarks: Vec<String>,
    pool: Arc<TokenPool>,
}

impl Deref for Dataset {
    type Target = [Item];

    fn deref(&self) -> &[Item] {
        &self.items
    }
}

impl FromIterator<WorkItem> for Dataset {
    /// Requests that came from no file: at least one, with ids for prompts.
    fn from_iter<I: IntoIterator<Item = WorkItem>>(items: I) -> Self {
        let items = items.into_iter().map(|item| Item {
            prompt: Prompt::Ids(item.prompt),
            output_len: item.output_len,
            arrival: item.arrival,
        });
        Self {
            items: items.collect(),
            remarks: Vec::new(),
            // Nothing is drawn.
            pool: Arc::new(TokenPool::Below(1)),
        }
    }
}

impl Dataset {
    /// The token ids of an item's prompt.
    pub fn prompt(&self, item: &Item) -> Arc<[u32]> {
        item.prompt.ids(&self.pool)
    }
}

/// Reads every request of `path`. If one record has an arrival, all must, in ascending order.
///
/// # Errors
/// The file cannot be read, or a record is wrong: with its line.
pub fn read(path: &Path, defaults: &Defaults) -> Result<Dataset, DatasetError> {
    let file = printable(&path.display().to_string()).into_owned();
    let unreadable = |error: std::io::Error| DatasetError::Io {
        file: file.clone(),
        reason: error.to_string(),
    };
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if kind.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    let source = BufReader::new(pipe::open(path).map_err(unreadable)?);
    parse(source, &file, defaults)
}

/// As [`read`], of any bytes; `file` names them in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(
    source: impl BufRead,
    file: &str,
    defaults: &Defaults,
) -> Result<Dataset, DatasetError> {
    let mut reader = Reader {
        defaults,
        items: Vec::new(),
        first_timestamp: None,
        left_out: LeftOut::default(),
    };
    for record in Records::new(source) {
        let record = record.and_then(|record| {
            let line = record.line;
            let row = Row::of(&record.text, line);
            let read = row.and_then(|row| reader.add(row).map_err(|reason| (line, reason)));
            read.map_err(|(line, reason)| Fault { line, reason })
        });
        record.map_err(|fault| DatasetError::Line {
            file: file.to_owned(),
            line: fault.line,
            reason: printable(&fault.reason).into_owned(),
        })?;
    }
    let remarks = reader.left_out.remarks(defaults.max_len);
    if reader.items.is_empty() {
        return Err(DatasetError::Empty {
            file: file.to_owned(),
            why: remarks
                .iter()
                .map(|remark| format!(" ({remark})"))
                .collect(),
        });
    }
    Ok(Dataset {
        items: reader.items,
        remarks,
        pool: Arc::new(defaults.pool.clone()),
    })
}

struct Reader<'a> {
    defaults: &'a Defaults<'a>,
    items: Vec<Item>,
    /// Timestamps may count from any time.
    first_timestamp: Option<f64>,
    left_out: LeftOut,
}

impl Reader<'_> {
    fn add(&mut self, row: Option<Row>) -> Result<(), String> {
        let Some(row) = row else {
            self.left_out.unasked += 1;
            return Ok(());
        };
        self.left_out.keys.extend(row.unread);
        // A dialogue of people is as long as it was; benchmarks pass over those that a model cannot hold.
        let dialogue = matches!(row.output, Output::As(_));
        let made = self.prompt(row.ask).and_then(|prompt| {
            let output_len = self.output_len(row.output)?;
            self.check_lengths(&prompt, output_len)?;
            Ok((prompt, output_len))
        });
        match made {
            Ok((prompt, output_len)) => {
                let arrival = self.arrival(row.arrival)?;
                self.items.push(Item {
                    prompt,
                    output_len,
                    arrival,
                });
                Ok(())
            }
            Err(NotEncoded::TooLong(_)) if dialogue => {
                self.left_out.long += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check_lengths(&self, prompt: &Prompt, output_len: usize) -> Result<(), NotEncoded> {
        let longest = self.defaults.max_len;
        let lengths = [("prompt", prompt.len()), ("output", output_len)];
        match lengths.into_iter().find(|(_, length)| *length > longest) {
            None => Ok(()),
            Some((what, length)) => Err(NotEncoded::TooLong(format!(
                "the {what} has {length} tokens, beyond the {longest} positions of the model; shorten it"
            ))),
        }
    }

    fn output_len(&self, output: Output) -> Result<usize, NotEncoded> {
        match output {
            Output::Open => Ok(self.defaults.output_len),
            Output::Tokens(0) => Err(failed("the output length is 0; ask for at least one token")),
            Output::Tokens(tokens) => Ok(tokens),
            Output::As(answer) => Ok((self.defaults.encode)(&answer)?.len().max(1)),
        }
    }

    fn prompt(&self, ask: Ask) -> Result<Prompt, NotEncoded> {
        let seed = self.defaults.seed;
        let ids = match ask {
            Ask::Text(text) => (self.defaults.encode)(&text)?,
            Ask::Ids(ids) => ids,
            Ask::Chat(conversation) => (self.defaults.chat)(&conversation)?,
            Ask::Length { len: 0, .. } => Vec::new(),
            Ask::Length { len, hashes } if hashes.is_empty() => {
                let seed = item_seed(seed, self.items.len());
                return Ok(Prompt::Drawn { len, seed });
            }
            Ask::Length { len, hashes } => {
                return Ok(Prompt::Blocks {
                    len,
                    block: block_of(len, hashes.len()),
                    hashes: hashes.into(),
                    seed,
                });
            }
        };
        if ids.is_empty() {
            return Err(failed("the prompt has no tokens; give at least one"));
        }
        let vocab_size = self.defaults.vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(id) => Err(NotEncoded::Failed(format!(
                "token id {id} is outside the vocabulary of {vocab_size}; use ids below it"
            ))),
            None => Ok(Prompt::Ids(ids.into())),
        }
    }

    fn arrival(&mut self, arrival: Option<Arrival>) -> Result<Option<f64>, String> {
        let seconds = match arrival {
            None => None,
            Some(Arrival::Seconds(seconds)) => Some(seconds),
            Some(Arrival::Milliseconds(time)) => {
                let first = *self.first_timestamp.get_or_insert(time);
                Some((time - first) / MILLISECONDS)
            }
        };
        let before = self.items.last().map(|last| last.arrival);
        match (before, seconds) {
            (Some(Some(before)), Some(now)) if now < before => Err(format!(
                "arrival {now} is before the record above's {before}"
            )),
            (Some(Some(_)), None) | (Some(None), Some(_)) => {
                Err("give every record an arrival, or none".to_owned())
            }
            (_, Some(now)) if !(0.0..=LATEST_ARRIVAL).contains(&now) => Err(format!(
                "arrival is {now}; it must be seconds from the start, at most {LATEST_ARRIVAL}"
            )),
            _ => Ok(seconds),
        }
    }
}

fn failed(reason: &str) -> NotEncoded {
    NotEncoded::Failed(reason.to_owned())
}

/// Tokens of a block, so that `hashes` of them make a prompt: Mooncake's, where they do.
fn block_of(len: usize, hashes: usize) -> usize {
    match len.div_ceil(MOONCAKE_BLOCK) == hashes {
        true => MOONCAKE_BLOCK,
        false => len.div_ceil(hashes),
    }
}

#[derive(Default)]
struct LeftOut {
    unasked: usize,
    long: usize,
    keys: BTreeSet<String>,
}

impl LeftOut {
    fn remarks(&self, longest: usize) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.unasked > 0 {
            remarks.push(format!(
                "{} conversations ask nothing and are left out",
                self.unasked
            ));
        }
        if self.long > 0 {
            remarks.push(format!(
                "{} conversations are longer than the {longest} positions of the model and are left out",
                self.long
            ));
        }
        if !self.keys.is_empty() {
            let keys: Vec<&String> = self.keys.iter().collect();
            remarks.push(format!(
                "the keys {} say nothing about a request and are not used",
                listed(&keys, ", ")
            ));
        }
        remarks
    }
}

#[cfg(test)]
mod tests;
