//! `generate`: prompts in, text out, all prompts as one batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::generate_args::{GenerateArgs, Input};
use super::job::Job;
use super::model_files::ModelFiles;
use super::session::Session;
use super::{interrupt, output};
use crate::ground::{
    Event, EventKind, FinishReason, Request, RequestId, Sampling, StopRule, TokenLogprobs,
};
use crate::text::{ChatTemplate, DecodeStream, GenerationConfig, Message, end_tokens};

/// Output tokens of a prompt that was given no limit, where the context has room for them.
const DEFAULT_MAX_TOKENS: usize = 128;

/// What came back for one prompt.
#[derive(Debug, Default)]
struct Answer {
    token_ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
    finish: Option<FinishReason>,
}

#[derive(Serialize)]
struct Shown {
    prompt_ids: Vec<u32>,
    token_ids: Vec<u32>,
    text: Option<String>,
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<Value>>,
}

pub fn run(args: &GenerateArgs, job: Option<&Job>) -> Result<(), Failure> {
    let files = ModelFiles::find(&args.common)?;
    if files.device.is_simulated() {
        return Err(Failure::Usage(anyhow!(
            "--device {}: a simulated device has no weights, so there is nothing to generate; use bench",
            args.common.device.as_deref().unwrap_or_default()
        )));
    }
    let prompts = prompts(args, &files)?;
    let max_model_len = files.max_model_len(&args.common, files.spec.max_position_embeddings)?;
    let lengths = lengths(args, &prompts, max_model_len)?;
    let end_tokens = match args.ignore_eos {
        true => Vec::new(),
        false => model_end_tokens(&files)?,
    };
    let mut session = Session::of_this_machine(&args.common, &files, max_model_len, job)?;
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.common.seed,
        logprobs: args.logprobs,
    };
    let requests = prompts.iter().zip(lengths).enumerate();
    let requests = requests.map(|(id, (prompt, max_tokens))| Request {
        id: id as RequestId,
        prompt: prompt.as_slice().into(),
        stop: StopRule {
            max_tokens,
            end_tokens: end_tokens.as_slice().into(),
        },
        sampling,
        arrival: Duration::ZERO,
    });
    let mut printer = Printer::new(args, &files, prompts.len());
    let stop = interrupt::flag(args.common.output.quiet);
    let (answers, whole) = complete(&mut session, requests, &stop, &mut printer)?;
    printer.finish()?;
    show(args, &files, prompts, answers)?;
    match whole {
        true => Ok(()),
        false => Err(Failure::Run(anyhow!(
            "interrupted: the output above is partial"
        ))),
    }
}

/// Ids of every prompt, in the order of the command line.
fn prompts(args: &GenerateArgs, files: &ModelFiles) -> Result<Vec<Vec<u32>>, Failure> {
    let template = match (args.chat, &files.source.dir) {
        (false, _) => None,
        (true, Some(dir)) => ChatTemplate::load(dir).map_err(Failure::usage)?,
        (true, None) => None,
    };
    if args.chat && template.is_none() {
        return Err(Failure::Usage(anyhow!(
            "--chat: {} has no chat template; leave --chat out, or give a model directory with one",
            files.source.name
        )));
    }
    let text = |text: &String| match &template {
        None => files.encode(text, true).map_err(Failure::Usage),
        Some(template) => {
            let rendered = template.render(&[Message::user(text.as_str())], true);
            let rendered = rendered.map_err(Failure::usage)?;
            files.encode(&rendered, false).map_err(Failure::Usage)
        }
    };
    let vocab = files.spec.vocab_size;
    let ids = |ids: &Vec<u32>| match ids.iter().find(|&&id| id as usize >= vocab) {
        None => Ok(ids.clone()),
        Some(id) => Err(Failure::Usage(anyhow!(
            "--prompt-ids: token id {id} is outside the vocabulary of {vocab}; use ids below it"
        ))),
    };
    let inputs = args.inputs.iter().map(|input| match input {
        Input::Text(i) => text(&args.prompt[*i]),
        Input::Ids(i) => ids(&args.prompt_ids[*i]),
    });
    inputs.collect()
}

/// Output tokens of each prompt within the context.
fn lengths(
    args: &GenerateArgs,
    prompts: &[Vec<u32>],
    max_model_len: usize,
) -> Result<Vec<usize>, Failure> {
    let one = |prompt: &Vec<u32>| {
        let room = max_model_len.saturating_sub(prompt.len());
        let asked = args
            .max_tokens
            .unwrap_or(DEFAULT_MAX_TOKENS.min(room.max(1)));
        if asked <= room {
            return Ok(asked);
        }
        Err(Failure::Usage(anyhow!(
            "a prompt of {} tokens and {asked} output tokens do not fit a context of {max_model_len}; shorten them or raise --max-model-len",
            prompt.len()
        )))
    };
    prompts.iter().map(one).collect()
}

/// The ids that end an output, as the checkpoint says.
pub fn model_end_tokens(files: &ModelFiles) -> Result<Vec<u32>, Failure> {
    let generation = match &files.source.dir {
        Some(dir) => GenerationConfig::load(dir).map_err(Failure::usage)?,
        None => None,
    };
    Ok(end_tokens(&files.spec.eos_token_ids, generation.as_ref()))
}

/// Runs all requests; false when interrupted before the last.
fn complete(
    session: &mut Session,
    requests: impl Iterator<Item = Request>,
    stop: &AtomicBool,
    printer: &mut Printer,
) -> Result<(Vec<Answer>, bool), Failure> {
    let engine = &mut session.engine;
    let mut events = Vec::new();
    let mut answers = Vec::new();
    for request in requests {
        answers.push(Answer::default());
        engine.submit(request, &mut events);
    }
    note(&mut events, &mut answers, printer)?;
    while !engine.is_idle() {
        if stop.load(Ordering::Relaxed) {
            return Ok((answers, false));
        }
        engine.step(&mut events).map_err(Failure::run)?;
        note(&mut events, &mut answers, printer)?;
    }
    Ok((answers, true))
}

fn note(
    events: &mut Vec<Event>,
    answers: &mut [Answer],
    printer: &mut Printer,
) -> Result<(), Failure> {
    for event in events.drain(..) {
        let Some(answer) = answers.get_mut(event.request as usize) else {
            continue;
        };
        match event.kind {
            EventKind::Token { token, logprobs } => {
                answer.token_ids.push(token);
                answer.logprobs.extend(logprobs.map(|l| *l));
                printer.token(token)?;
            }
            EventKind::Finished(reason) => answer.finish = Some(reason),
            EventKind::Failed(reason) => return Err(Failure::Usage(anyhow!(reason))),
            EventKind::Queued | EventKind::Admitted | EventKind::Preempted => {}
        }
    }
    Ok(())
}

/// Prints the text of a single prompt as it comes; of several, and of JSON, nothing.
struct Printer<'a>(Option<DecodeStream<'a>>);

impl<'a> Printer<'a> {
    fn new(args: &GenerateArgs, files: &'a ModelFiles, prompts: usize) -> Self {
        let streams = prompts == 1 && !args.common.output.json;
        let tokenizer = files.tokenizer.as_ref().filter(|_| streams);
        Self(tokenizer.map(|t| t.decode_stream(true)))
    }

    fn token(&mut self, token: u32) -> Result<(), Failure> {
        match &mut self.0 {
            None => Ok(()),
            Some(stream) => output::result(&stream.push(token).map_err(Failure::run)?),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self.0 {
            None => Ok(()),
            Some(stream) => output::line(&stream.finish().map_err(Failure::run)?),
        }
    }
}

fn show(
    args: &GenerateArgs,
    files: &ModelFiles,
    prompts: Vec<Vec<u32>>,
    answers: Vec<Answer>,
) -> Result<(), Failure> {
    let count = prompts.len();
    let answers = prompts.into_iter().zip(answers);
    let mut shown = Vec::new();
    for (prompt_ids, answer) in answers {
        let text = match &files.tokenizer {
            None => None,
            Some(t) => Some(t.decode(&answer.token_ids, true).map_err(Failure::run)?),
        };
        shown.push(Shown {
            prompt_ids,
            token_ids: answer.token_ids,
            text,
            finish_reason: answer.finish,
            logprobs: args
                .logprobs
                .map(|_| answer.logprobs.iter().map(logprob).collect()),
        });
    }
    if args.common.output.json {
        return match shown.as_slice() {
            [one] => output::json(one),
            all => output::json(&all),
        };
    }
    if count == 1 && files.tokenizer.is_some() {
        return Ok(()); // streamed already
    }
    for (index, one) in shown.iter().enumerate() {
        let body = match &one.text {
            Some(text) => text.clone(),
            None => format!("{:?}", one.token_ids),
        };
        output::line(&format!("[{index}] {body}"))?;
    }
    Ok(())
}

fn logprob(token: &TokenLogprobs) -> Value {
    json!({"token_id": token.token_id, "logprob": token.logprob, "top": token.top})
}
