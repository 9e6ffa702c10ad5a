//! What the requests of a load hold, made ready once for any number of runs.

use std::cell::OnceCell;
use std::sync::Arc;

use super::options::LoadOptions;
use crate::ground::Progress;
use crate::session::{ModelFiles, RunError, SessionError, Wish};
use crate::text::{Conversation, TextError};
use crate::workload::dataset::{self, NotEncoded, talks};
use crate::workload::{Conversations, Drawn, Prefixes, Synthetic, Turns, Work};

/// Prompt tokens of a load that says nothing.
const DEFAULT_INPUT_LEN: usize = 100;
/// Output tokens of a load by hand that says nothing: the quick scenario's.
const DEFAULT_OUTPUT_LEN: usize = 32;
/// Of a run that was stopped before it began.
const NOT_READ: &str = "the dataset was not read to its end, so there is no result";

/// Prompts and output lengths, checked against the model.
#[derive(Debug, Clone)]
pub struct Content {
    pub(super) work: Work,
    /// The prompt's text, or how prompts are made.
    pub(super) prompt: String,
    /// What a session must be opened for: the length that was asked for, else that of the longest request.
    pub max_model_len: usize,
    /// What of the dataset is not used, in sentences.
    pub remarks: Vec<String>,
}

impl Content {
    /// `progress` may stop the reading of a dataset.
    ///
    /// # Errors
    /// The dataset is malformed, or the requests are longer than the model's context.
    pub fn read(
        load: &LoadOptions,
        files: &ModelFiles,
        progress: &dyn Progress,
    ) -> Result<Self, SessionError> {
        let Made {
            work,
            words: prompt,
            mut remarks,
        } = work(load, files, progress)?;
        length_for(work.least_room(), files)?;
        let context = files.max_model_len(files.model.positions())?;
        if work.longest() > context {
            remarks.push(format!(
                "note: lengths are drawn up to {} tokens in all, and those beyond the context of {context} are cut to it",
                work.longest()
            ));
        }
        let work = work.within(context);
        Ok(Self {
            max_model_len: length_for(work.longest(), files)?,
            prompt,
            remarks,
            work,
        })
    }

    /// Requests of the dataset; `None`: there is none.
    pub fn items(&self) -> Option<usize> {
        match &self.work {
            Work::Dataset(items) => Some(items.len()),
            Work::Conversations(talks) => talks.recorded().map(Iterator::count),
            _ => None,
        }
    }

    /// Requests of the dataset where each has a time of its own.
    pub(super) fn arrivals(&self) -> Option<usize> {
        match &self.work {
            Work::Dataset(items) if items.iter().all(|item| item.arrival.is_some()) => {
                Some(items.len())
            }
            _ => None,
        }
    }
}

/// What a session must be opened for, of requests of up to `longest` tokens.
///
/// # Errors
/// That is beyond the model's context, or beyond what was asked for.
pub(super) fn length_for(longest: usize, files: &ModelFiles) -> Result<usize, SessionError> {
    let max_model_len = files.max_model_len(longest)?;
    match longest > max_model_len {
        true => Err(Wish::LongestRequest {
            longest,
            max_model_len,
        }
        .into()),
        false => Ok(max_model_len),
    }
}

/// What requests ask, in words too, and what is to be said of it.
struct Made {
    work: Work,
    words: String,
    remarks: Vec<String>,
}

impl Made {
    fn new(work: Work, words: String) -> Self {
        Self {
            work,
            words,
            remarks: Vec::new(),
        }
    }
}

fn work(
    load: &LoadOptions,
    files: &ModelFiles,
    progress: &dyn Progress,
) -> Result<Made, SessionError> {
    let default_output = match load.scenario {
        Some(preset) => preset.output_len(),
        None => DEFAULT_OUTPUT_LEN,
    };
    let output_len = load.output_len.unwrap_or(default_output.into());
    if let Some(text) = &load.prompt {
        let prompt = files.encode(text, true)?;
        return Ok(Made::new(Work::fixed(prompt, output_len), text.clone()));
    }
    let pool = files.token_pool()?;
    if let Some(path) = &load.dataset {
        // Texts take nearly all of the time.
        let going_on = || match progress.is_stopped() {
            true => Err(NotEncoded::Failed("interrupted".to_owned())),
            false => Ok(()),
        };
        let encode = |text: &str| {
            going_on()?;
            files.encode(text, true).map_err(not_encoded)
        };
        let template = OnceCell::new();
        let chat = |conversation: &Conversation| {
            going_on()?;
            let template = template.get_or_init(|| files.chat_template());
            let template = template
                .as_ref()
                .map_err(|e| NotEncoded::Failed(e.to_string()))?;
            files
                .encode_chat(template, conversation)
                .map_err(not_encoded)
        };
        let defaults = dataset::Defaults {
            output_len,
            vocab_size: files.shape().vocab_size,
            max_len: files.max_model_len(files.model.positions())?,
            time_scale: load.time_scale,
            pool: &pool,
            seed: files.options.seed,
            encode: &encode,
            chat: &chat,
        };
        let read = match load.turns {
            1 => dataset::read(path, &defaults)
                .map(|items| (items.remarks.clone(), Work::Dataset(items.into()))),
            most => talks::read(path, &defaults, most).map(|read| {
                let talks = Conversations {
                    turns_of: Turns::Recorded(read.talks),
                    turns: most,
                    think_time: load.think_time,
                };
                (read.remarks, Work::Conversations(talks))
            }),
        };
        if read.is_err() && progress.is_stopped() {
            return Err(RunError::Interrupted(NOT_READ).into());
        }
        let (remarks, work) = read.map_err(Wish::from)?;
        let of_file = |remark| format!("note: {}: {remark}", path.display());
        let mut words = format!("dataset {}", path.display());
        if load.turns > 1 {
            words += &in_conversations(load, "up to ");
        }
        return Ok(Made {
            remarks: remarks.into_iter().map(of_file).collect(),
            ..Made::new(work, words)
        });
    }
    let input_len = load.input_len.unwrap_or(DEFAULT_INPUT_LEN.into());
    let prefixes = Prefixes {
        len: load.prefix_len,
        groups: load.prefix_groups,
    };
    let mut words = format!("synthetic: {input_len} random token ids a request");
    if prefixes.len > 0 {
        words += &format!(
            ", behind {} that {} groups share",
            prefixes.len, prefixes.groups
        );
    }
    let synthetic = Synthetic {
        prefixes,
        ..Synthetic::new(Drawn::new(input_len, output_len), Arc::new(pool))
    };
    if load.turns == 1 {
        return Ok(Made::new(Work::Synthetic(synthetic), words));
    }
    words += &in_conversations(load, "");
    let talks = Conversations {
        turns_of: Turns::MadeUp(synthetic),
        turns: load.turns,
        think_time: load.think_time,
    };
    Ok(Made::new(Work::Conversations(talks), words))
}

fn in_conversations(load: &LoadOptions, most: &str) -> String {
    format!(
        ", in conversations of {most}{} turns, {} s to think between them",
        load.turns,
        load.think_time.as_secs_f64()
    )
}

fn not_encoded(error: SessionError) -> NotEncoded {
    let reason = error.to_string();
    match error {
        SessionError::Wish(wish) if matches!(*wish, Wish::Text(TextError::TooLong { .. })) => {
            NotEncoded::TooLong(reason)
        }
        _ => NotEncoded::Failed(reason),
    }
}
