//! Everything that went into a scheduler and came out of it, as data: a run can be replayed without its engine.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::config::SchedulerConfig;
use super::decision::{Decision, Outcome, Submission};
use super::state::Scheduler;
use crate::ground::RequestId;

/// One call of a scheduler and its answer. A line of the log's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum LogRecord {
    Add {
        id: RequestId,
        prompt: Vec<u32>,
        max_tokens: usize,
        accepted: bool,
    },
    Abort {
        id: RequestId,
        found: bool,
    },
    Schedule(Decision),
    Complete {
        outcomes: Vec<Outcome>,
    },
    /// Of tokens that were completed before they were known.
    Settle {
        outcomes: Vec<Outcome>,
    },
    Reset {
        done: bool,
    },
}

/// The calls of one scheduler in order.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerLog {
    pub config: SchedulerConfig,
    pub records: Vec<LogRecord>,
}

/// Why a log could not be read.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("the scheduler log cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the scheduler log is empty: its first line must be the scheduler's config")]
    Empty,
    #[error("line {line} of the scheduler log is not a record of this version: {source}")]
    Malformed {
        line: usize,
        source: serde_json::Error,
    },
}

impl SchedulerLog {
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            config,
            records: Vec::new(),
        }
    }

    pub fn add(&mut self, submission: &Submission, accepted: bool) {
        self.records.push(LogRecord::Add {
            id: submission.id,
            prompt: submission.prompt.to_vec(),
            max_tokens: submission.max_tokens,
            accepted,
        });
    }

    pub fn abort(&mut self, id: RequestId, found: bool) {
        self.records.push(LogRecord::Abort { id, found });
    }

    pub fn schedule(&mut self, decision: &Decision) {
        self.records.push(LogRecord::Schedule(decision.clone()));
    }

    pub fn complete(&mut self, outcomes: &[Outcome]) {
        self.records.push(LogRecord::Complete {
            outcomes: outcomes.to_vec(),
        });
    }

    pub fn settle(&mut self, outcomes: &[Outcome]) {
        self.records.push(LogRecord::Settle {
            outcomes: outcomes.to_vec(),
        });
    }

    pub fn reset(&mut self, done: bool) {
        self.records.push(LogRecord::Reset { done });
    }

    /// The decisions that ran something, in order: each is a step.
    pub fn steps(&self) -> impl Iterator<Item = &Decision> {
        let decisions = self.records.iter().filter_map(|record| match record {
            LogRecord::Schedule(decision) => Some(decision),
            _ => None,
        });
        decisions.filter(|decision| !decision.is_empty())
    }

    /// JSON lines: the config, then a line for each call.
    pub fn write(&self, mut writer: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut writer, &self.config)?;
        writeln!(writer)?;
        for record in &self.records {
            serde_json::to_writer(&mut writer, record)?;
            writeln!(writer)?;
        }
        writer.flush()
    }

    /// Reads what [`write`](Self::write) wrote.
    pub fn read(reader: impl BufRead) -> Result<Self, LogError> {
        let mut lines = reader.lines();
        let first = lines.next().ok_or(LogError::Empty)??;
        let mut log = Self::new(parse(1, &first)?);
        for (line, text) in (2..).zip(lines) {
            log.records.push(parse(line, &text?)?);
        }
        Ok(log)
    }
}

fn parse<'a, T: Deserialize<'a>>(line: usize, text: &'a str) -> Result<T, LogError> {
    serde_json::from_str(text).map_err(|source| LogError::Malformed { line, source })
}

/// Makes the same calls on a fresh scheduler and compares every answer; the first difference comes back as a sentence.
pub fn replay(log: &SchedulerLog) -> Result<(), String> {
    let mut scheduler = Scheduler::new(log.config.clone()).map_err(|error| error.to_string())?;
    let mut decision = Decision::default();
    for (number, record) in log.records.iter().enumerate() {
        let differs =
            |now: &dyn std::fmt::Debug| format!("call {number} gives {now:?} now, was {record:?}");
        match record {
            LogRecord::Add {
                id,
                prompt,
                max_tokens,
                accepted,
            } => {
                let answer = scheduler.add(Submission {
                    id: *id,
                    prompt: prompt.as_slice().into(),
                    max_tokens: *max_tokens,
                });
                if answer.is_ok() != *accepted {
                    return Err(differs(&answer));
                }
            }
            LogRecord::Abort { id, found } => {
                let answer = scheduler.abort(*id);
                if answer != *found {
                    return Err(differs(&answer));
                }
            }
            LogRecord::Schedule(expected) => {
                scheduler.schedule(&mut decision);
                if decision != *expected {
                    return Err(differs(&decision));
                }
            }
            LogRecord::Complete { outcomes } => scheduler.complete(outcomes),
            LogRecord::Settle { outcomes } => scheduler.settle(outcomes),
            LogRecord::Reset { done } => {
                let answer = scheduler.reset_prefix_cache();
                if answer != *done {
                    return Err(differs(&answer));
                }
            }
        }
    }
    Ok(())
}
