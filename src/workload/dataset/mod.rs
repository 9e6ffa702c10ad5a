//! A file of requests, in the forms that benchmarks use: own lines, vLLM's and GuideLLM's, ShareGPT, OpenAI's messages,
//! Mooncake's traces; and tables, as those of Azure and BurstGPT.

mod dialogue;
mod keys;
mod left_out;
mod pipe;
mod records;
mod row;
mod table;
pub mod talks;

use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use left_out::LeftOut;
use records::{Fault, Records};
use row::{ACCEPTED, Arrival, Ask, Output, Row};
use table::Table;

use super::lengths::{Lengths, Side};
use super::{Prompt, WorkItem, item_seed};
use crate::ground::terminal::printable;
use crate::text::{Conversation, TokenPool};

/// Seconds that no run lasts.
const LATEST_ARRIVAL: f64 = 1e9;
/// Tokens that Mooncake's traces hash at once.
const MOONCAKE_BLOCK: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error(
        "--dataset {file}: cannot be read ({reason}); give a readable file of JSON lines or CSV"
    )]
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
    pub output_len: Lengths,
    pub vocab_size: usize,
    /// Tokens that the context holds: no request is longer.
    pub max_len: usize,
    /// That arrival times are multiplied by.
    pub time_scale: f64,
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
    let (source, file) = opened(path)?;
    parse(source, &file, defaults)
}

/// With its name for messages.
fn opened(path: &Path) -> Result<(impl BufRead, String), DatasetError> {
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
    Ok((source, file))
}

/// As [`read`], of any bytes; `file` names them in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(
    mut source: impl BufRead,
    file: &str,
    defaults: &Defaults,
) -> Result<Dataset, DatasetError> {
    let mut reader = Reader::new(defaults);
    // What cannot be read is told by whoever reads it next.
    let is_table = source.fill_buf().is_ok_and(table::is_table);
    let read = match is_table {
        true => Table::new(source).and_then(|table| reader.add_table(table)),
        false => reader.add_records(Records::new(source)),
    };
    let remarks = reader.close(file, read, reader.items.is_empty())?;
    Ok(Dataset {
        items: reader.items,
        remarks,
        pool: Arc::new(defaults.pool.clone()),
    })
}

struct Reader<'a> {
    defaults: &'a Defaults<'a>,
    items: Vec<Item>,
    /// Of conversations, so far.
    turns: usize,
    /// Timestamps may count from any time.
    first_timestamp: Option<f64>,
    left_out: LeftOut,
}

impl<'a> Reader<'a> {
    fn new(defaults: &'a Defaults<'a>) -> Self {
        Self {
            defaults,
            items: Vec::new(),
            turns: 0,
            first_timestamp: None,
            left_out: LeftOut::default(),
        }
    }

    /// What was left out, where all was `read` and is not empty.
    fn close(
        &self,
        file: &str,
        read: Result<(), Fault>,
        is_empty: bool,
    ) -> Result<Vec<String>, DatasetError> {
        read.map_err(|fault| DatasetError::Line {
            file: file.to_owned(),
            line: fault.line,
            reason: printable(&fault.reason).into_owned(),
        })?;
        let remarks = self.left_out.remarks(self.defaults.max_len);
        let why = || remarks.iter().map(|remark| format!(" ({remark})"));
        match is_empty {
            true => Err(DatasetError::Empty {
                file: file.to_owned(),
                why: why().collect(),
            }),
            false => Ok(remarks),
        }
    }

    fn add_records(&mut self, records: Records<impl BufRead>) -> Result<(), Fault> {
        for record in records {
            let record = record?;
            let line = record.line;
            let row = Row::of(&record.text, line);
            let added = row.and_then(|row| self.add(row).map_err(|reason| (line, reason)));
            added.map_err(|(line, reason)| Fault { line, reason })?;
        }
        Ok(())
    }

    fn add_table(&mut self, table: Table<impl BufRead>) -> Result<(), Fault> {
        for row in table {
            let (line, object) = row?;
            let added = Row::of_value(object).and_then(|row| self.add(row));
            added.map_err(|reason| Fault { line, reason })?;
        }
        Ok(())
    }

    fn add(&mut self, row: Option<Row>) -> Result<(), String> {
        let Some(row) = row else {
            self.left_out.unasked += 1;
            return Ok(());
        };
        self.left_out.keys.extend(row.unread);
        let is_trace = matches!(row.arrival, Some(Arrival::Ticks { .. }));
        if is_trace && row.output == Output::Tokens(0) {
            self.left_out.unanswered += 1;
            return Ok(());
        }
        // What was recorded is as long as it was; benchmarks pass over what a model cannot hold.
        let is_recorded = is_trace || matches!(row.output, Output::As(_));
        let made = self.prompt(row.ask).and_then(|prompt| {
            let output_len = self.output_len(row.output, self.items.len(), prompt.len())?;
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
            Err(NotEncoded::TooLong(_)) if is_recorded => {
                self.left_out.long += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check_lengths(&self, prompt: &Prompt, output_len: usize) -> Result<(), NotEncoded> {
        let longest = self.defaults.max_len;
        let both = prompt.len().saturating_add(output_len);
        let lengths = [
            ("prompt has", prompt.len()),
            ("output has", output_len),
            ("prompt and the output have", both),
        ];
        match lengths.into_iter().find(|(_, length)| *length > longest) {
            None => Ok(()),
            Some((what, length)) => Err(NotEncoded::TooLong(format!(
                "the {what} {length} tokens, beyond the {longest} positions of the context; shorten it"
            ))),
        }
    }

    /// Of request `index` of the file.
    fn output_len(
        &self,
        output: Output,
        index: usize,
        prompt_len: usize,
    ) -> Result<usize, NotEncoded> {
        match output {
            Output::Open => {
                let seed = item_seed(self.defaults.seed, index);
                let longest = self.defaults.max_len.saturating_sub(prompt_len).max(1);
                Ok(self.defaults.output_len.cut(Side::Output, seed, longest))
            }
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
            Some(Arrival::Ticks { time, per_second }) => {
                let first = *self.first_timestamp.get_or_insert(time);
                Some((time - first) / per_second)
            }
        };
        let seconds = seconds.map(|seconds| seconds * self.defaults.time_scale);
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

#[cfg(test)]
mod tests;
