//! Prompts in, tokens out as they are drawn: all prompts as one batch.

use std::collections::VecDeque;
use std::time::Duration;

use derive_setters::Setters;

use super::assembly::Session;
use super::error::{RunError, SessionError, Wish};
use super::files::ModelFiles;
use crate::engine::Engine;
use crate::ground::results::Kind;
use crate::ground::{
    Event, EventKind, FinishReason, Progress, Request, RequestId, Sampling, StopRule, TokenLogprobs,
};
use crate::text::DecodeStream;

/// Of a text that was stopped.
const PARTIAL: &str = "what was generated is partial";

/// Output tokens of a prompt that was given no limit, where the context has room for them.
const DEFAULT_MAX_TOKENS: usize = 128;

/// A prompt to continue, and how. Greedy, up to the model's end token, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct Generation {
    /// Token ids, taken as they are.
    #[setters(into)]
    pub prompt: Vec<u32>,
    /// `None`: 128, or what the context leaves.
    pub max_tokens: Option<usize>,
    /// Go on after the model's end token.
    pub ignore_eos: bool,
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Only so many of the most likely tokens; 0 is all.
    pub top_k: usize,
    /// Only the most likely tokens that make up this share of the probability.
    pub top_p: f32,
    /// Of what is drawn.
    pub seed: u64,
    /// Log-probabilities of each token and of so many best alternatives.
    pub logprobs: Option<usize>,
}

impl Generation {
    /// `prompt`, continued greedily.
    pub fn new(prompt: impl Into<Vec<u32>>) -> Self {
        Self {
            prompt: prompt.into(),
            max_tokens: None,
            ignore_eos: false,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            logprobs: None,
        }
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            logprobs: self.logprobs,
        }
    }

    /// Output tokens within a context of `max_model_len`.
    fn output_len(&self, max_model_len: usize) -> Result<usize, Wish> {
        let prompt = self.prompt.len();
        let room = max_model_len.saturating_sub(prompt);
        let asked = self
            .max_tokens
            .unwrap_or(DEFAULT_MAX_TOKENS.min(room.max(1)));
        match asked <= room {
            true => Ok(asked),
            false => Err(Wish::TooLong {
                prompt,
                asked,
                max_model_len,
            }),
        }
    }
}

/// One token that was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Which of the prompts it continues.
    pub prompt: usize,
    /// Of the vocabulary.
    pub id: u32,
    /// The text that it completes, often none; the last one brings what is left. Empty without a tokenizer.
    pub text: String,
    /// Where they were asked for.
    pub logprobs: Option<TokenLogprobs>,
    /// Why it is the last of its prompt.
    pub finish: Option<FinishReason>,
}

impl ModelFiles {
    /// That `prompts` can be continued, asked before anything is loaded.
    ///
    /// # Errors
    /// A simulated device, an id outside the vocabulary, or a length beyond the context.
    pub fn check_generation(&self, prompts: &[Generation]) -> Result<(), SessionError> {
        if self.device.is_simulated() {
            let device = self.options.device.clone().unwrap_or_default();
            return Err(Wish::NothingToGenerate(device).into());
        }
        let max_model_len = self.max_model_len(self.model.positions())?;
        for prompt in prompts {
            self.check_ids(&prompt.prompt)?;
            prompt.output_len(max_model_len)?;
        }
        Ok(())
    }
}

impl Session {
    /// Token ids of `text`, as the model wants plain text.
    ///
    /// # Errors
    /// The model has no tokenizer, or it rejects the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, SessionError> {
        self.files.encode(text, true)
    }

    /// Continues all `prompts` as one batch. Tokens come in the order in which they are drawn; dropping the iterator ends
    /// the requests.
    ///
    /// ```
    /// use candlepower::{EngineOptions, Generation};
    ///
    /// let mut session = EngineOptions::new("tests/fixtures/llama-tiny").device("cpu").open()?;
    /// let prompt = Generation::new([1, 2, 3]).max_tokens(4).ignore_eos(true);
    /// let mut ids = Vec::new();
    /// for token in session.generate(&[prompt])? {
    ///     ids.push(token?.id);
    /// }
    /// assert_eq!(ids.len(), 4);
    /// # Ok::<(), candlepower::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ModelFiles::check_generation`].
    pub fn generate(&mut self, prompts: &[Generation]) -> Result<Tokens<'_>, SessionError> {
        if self.kind == Kind::Predicted {
            return Err(Wish::NothingToGenerate(self.hardware.device.clone()).into());
        }
        let end_tokens = self.files.end_tokens()?;
        let mut requests = Vec::new();
        for (id, prompt) in prompts.iter().enumerate() {
            self.files.check_ids(&prompt.prompt)?;
            let end_tokens = match prompt.ignore_eos {
                true => Vec::new(),
                false => end_tokens.clone(),
            };
            requests.push(Request {
                id: id as RequestId,
                prompt: prompt.prompt.as_slice().into(),
                stop: StopRule {
                    max_tokens: prompt.output_len(self.settings.max_model_len)?,
                    end_tokens: end_tokens.into(),
                },
                sampling: prompt.sampling(),
                arrival: Duration::ZERO,
            });
        }
        let tokenizer = self.files.tokenizer.as_ref();
        let stream = || tokenizer.map(|tokenizer| tokenizer.decode_stream(true));
        let streams = requests.iter().map(|_| stream()).collect();
        let mut events = Vec::new();
        for request in requests {
            self.engine.submit(request, &mut events);
        }
        Ok(Tokens {
            engine: &mut self.engine,
            progress: self.progress.as_ref(),
            streams,
            events: events.into(),
        })
    }
}

/// Tokens as they come.
pub struct Tokens<'s> {
    engine: &'s mut Engine,
    progress: &'s dyn Progress,
    /// Of each prompt; `None`: no tokenizer, or it is finished.
    streams: Vec<Option<DecodeStream<'s>>>,
    events: VecDeque<Event>,
}

impl Tokens<'_> {
    /// Of the events so far.
    fn take(&mut self) -> Result<Option<Token>, SessionError> {
        while let Some(event) = self.events.pop_front() {
            match event.kind {
                EventKind::Token { token, logprobs } => {
                    let finish = self.finish_of(event.request);
                    let prompt = event.request as usize;
                    return Ok(Some(Token {
                        prompt,
                        id: token,
                        text: self.text(prompt, token, finish.is_some())?,
                        logprobs: logprobs.map(|logprobs| *logprobs),
                        finish,
                    }));
                }
                EventKind::Failed(reason) => return Err(Wish::Request(reason).into()),
                EventKind::Queued
                | EventKind::Admitted { .. }
                | EventKind::Preempted
                | EventKind::Finished(_) => {}
            }
        }
        Ok(None)
    }

    /// A request's end follows its last token at once.
    fn finish_of(&self, request: RequestId) -> Option<FinishReason> {
        match self.events.front() {
            Some(Event {
                kind: EventKind::Finished(reason),
                request: ended,
                ..
            }) if *ended == request => Some(*reason),
            _ => None,
        }
    }

    fn text(&mut self, prompt: usize, token: u32, is_last: bool) -> Result<String, RunError> {
        let Some(stream) = &mut self.streams[prompt] else {
            return Ok(String::new());
        };
        let mut text = stream.push(token)?;
        if is_last && let Some(stream) = self.streams[prompt].take() {
            text += &stream.finish()?;
        }
        Ok(text)
    }

    /// The next token; `None`: all prompts are done.
    fn draw(&mut self) -> Result<Option<Token>, SessionError> {
        let mut events = Vec::new();
        loop {
            if let Some(token) = self.take()? {
                return Ok(Some(token));
            }
            if self.engine.is_idle() {
                return Ok(None);
            }
            if self.progress.is_stopped() {
                return Err(RunError::Interrupted(PARTIAL).into());
            }
            let step = self.engine.step(&mut events);
            step.map_err(|error| match self.progress.is_stopped() {
                true => RunError::Interrupted(PARTIAL),
                false => RunError::from(error),
            })?;
            self.events.extend(events.drain(..));
        }
    }

    fn end(&mut self) {
        let mut events = Vec::new();
        let how = EventKind::Finished(FinishReason::Cancelled);
        self.engine.abort_all(&how, &mut events);
        self.events.clear();
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<Token, SessionError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let drawn = self.draw();
        if drawn.is_err() {
            self.end();
        }
        drawn.transpose()
    }
}

impl Drop for Tokens<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
