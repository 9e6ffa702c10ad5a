//! `generate`: prompts in, text out, all prompts as one batch.

mod args;

use serde::Serialize;
use serde_json::{Value, json};

use super::console::Console;
use super::failure::Failure;
use super::output;
use crate::ground::{FinishReason, TokenLogprobs};
use crate::session::{Generation, Job, ModelFiles, Session};
use crate::text::Message;
use args::Input;

pub use args::GenerateArgs;

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
    let progress = Console::watching(&args.common.output);
    let files = ModelFiles::find(&args.common.options(), progress.as_ref())?;
    // Of a device that has nothing to generate, before its prompts are looked at.
    files.check_generation(&[])?;
    let prompts = prompts(args, &files)?;
    let prompts: Vec<_> = prompts
        .into_iter()
        .map(|ids| args.generation(ids))
        .collect();
    files.check_generation(&prompts)?;
    let mut session = files.open(job, &progress)?;
    // The text of a single prompt is printed as it comes; of several, and of JSON, nothing.
    let has_text = session.files.tokenizer.is_some();
    let streams = prompts.len() == 1 && !args.common.output.json && has_text;
    let mut answers: Vec<Answer> = prompts.iter().map(|_| Answer::default()).collect();
    let drawn = draw(&mut session, &prompts, &mut answers, streams);
    if drawn.is_err() && !progress.is_stopped() {
        return drawn;
    }
    match streams {
        true => output::line("")?,
        false => show(args, &session.files, prompts, answers)?,
    }
    drawn
}

/// Runs all prompts, as far as it comes.
fn draw(
    session: &mut Session,
    prompts: &[Generation],
    answers: &mut [Answer],
    streams: bool,
) -> Result<(), Failure> {
    for token in session.generate(prompts)? {
        let token = token?;
        if streams {
            output::result(&token.text)?;
        }
        let answer = &mut answers[token.prompt];
        answer.token_ids.push(token.id);
        answer.logprobs.extend(token.logprobs);
        answer.finish = token.finish;
    }
    Ok(())
}

/// Ids of every prompt, in the order of the command line.
fn prompts(args: &GenerateArgs, files: &ModelFiles) -> Result<Vec<Vec<u32>>, Failure> {
    let template = match args.chat {
        true => Some(files.chat_template()?),
        false => None,
    };
    let text = |text: &String| match &template {
        None => Ok(files.encode(text, true)?),
        Some(template) => {
            let rendered = template.render(&[Message::user(text.as_str())], true);
            let rendered = rendered.map_err(Failure::usage)?;
            Ok(files.encode(&rendered, false)?)
        }
    };
    let ids = |ids: &Vec<u32>| {
        files.check_ids(ids)?;
        Ok(ids.clone())
    };
    let inputs = args.inputs.iter().map(|input| match input {
        Input::Text(i) => text(&args.prompt[*i]),
        Input::Ids(i) => ids(&args.prompt_ids[*i]),
    });
    inputs.collect()
}

fn show(
    args: &GenerateArgs,
    files: &ModelFiles,
    prompts: Vec<Generation>,
    answers: Vec<Answer>,
) -> Result<(), Failure> {
    let mut shown = Vec::new();
    for (Generation { prompt, .. }, answer) in prompts.into_iter().zip(answers) {
        let text = match &files.tokenizer {
            None => None,
            Some(t) => Some(t.decode(&answer.token_ids, true).map_err(Failure::run)?),
        };
        shown.push(Shown {
            prompt_ids: prompt,
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
