//! From the flags of `bench` to the runs it plays, checked before anything is loaded.

use std::cell::OnceCell;
use std::sync::Arc;

use anyhow::anyhow;

use super::bench_args::BenchArgs;
use super::failure::Failure;
use super::generate::model_end_tokens;
use super::model_files::ModelFiles;
use crate::bench::{Load, Preset, Script};
use crate::ground::Sampling;
use crate::ground::results::{Engine, Scenario};
use crate::scheduler::blocks_at_full_length;
use crate::text::{Conversation, TextError};
use crate::workload::dataset::{self, NotEncoded};
use crate::workload::{Arrivals, Work};

/// Prompt tokens of a load that says nothing.
const DEFAULT_INPUT_LEN: usize = 100;
/// Output tokens of a load by hand that says nothing: the quick scenario's.
const DEFAULT_OUTPUT_LEN: usize = 32;
/// Requests of a load by hand that says nothing: so many for each in flight.
const DEFAULT_WAVES: usize = 4;
/// Requests of an open loop that says nothing.
const DEFAULT_OPEN_REQUESTS: usize = 32;

pub struct RunPlan {
    pub scenario: Scenario,
    pub script: Script,
    /// The prompt's text, or how prompts were made.
    pub prompt: String,
    /// Tokens of the longest request.
    longest: usize,
}

impl RunPlan {
    /// Most of these requests that the engine can run at once.
    pub fn capacity(&self, engine: &Engine) -> usize {
        let blocks = blocks_at_full_length(self.longest, 0, engine.block_size).max(1);
        engine.max_num_seqs.min(engine.num_kv_blocks / blocks)
    }
}

pub struct BenchPlan {
    pub runs: Vec<RunPlan>,
    pub max_model_len: usize,
}

impl BenchPlan {
    pub fn new(args: &BenchArgs, files: &ModelFiles) -> Result<Self, Failure> {
        let (work, prompt) = work(args, files)?;
        let longest = work.longest();
        let max_model_len = files.max_model_len(&args.common, longest)?;
        if longest > max_model_len {
            return Err(Failure::Usage(anyhow!(
                "the longest request has {longest} tokens, prompt and output, and --max-model-len is {max_model_len}; raise it or shorten the request"
            )));
        }
        let end_tokens = match args.stop_at_eos {
            true => model_end_tokens(files)?,
            false => Vec::new(),
        };
        let mut runs = Vec::new();
        for (name, load, requests) in loads(args, &work)? {
            for repeat in 0..args.repeats {
                // Every run has synthetic prompts of its own.
                let seed = args.common.seed.wrapping_add(runs.len() as u64);
                runs.push(RunPlan {
                    scenario: scenario(args, &name, load, requests, &work, repeat),
                    script: Script {
                        work: work.clone(),
                        load,
                        requests,
                        warmup: args.warmup,
                        request_timeout: args.request_timeout,
                        sampling: Sampling {
                            seed: args.common.seed,
                            ..Sampling::GREEDY
                        },
                        end_tokens: end_tokens.clone(),
                        seed,
                    },
                    prompt: prompt.clone(),
                    longest,
                });
            }
        }
        Ok(Self {
            runs,
            max_model_len,
        })
    }
}

/// The requests' content, and words for it.
fn work(args: &BenchArgs, files: &ModelFiles) -> Result<(Work, String), Failure> {
    let default_output = match args.scenario {
        Some(preset) => preset.output_len(),
        None => DEFAULT_OUTPUT_LEN,
    };
    let output_len = args.output_len.unwrap_or(default_output);
    if let Some(text) = &args.prompt {
        let prompt = files.encode(text, true).map_err(Failure::Usage)?;
        let work = Work::Fixed {
            prompt: prompt.into(),
            output_len,
        };
        return Ok((work, text.clone()));
    }
    let pool = files.token_pool()?;
    if let Some(path) = &args.dataset {
        let encode = |text: &str| files.encode(text, true).map_err(not_encoded);
        let template = OnceCell::new();
        let chat = |conversation: &Conversation| {
            let template = template.get_or_init(|| files.chat_template());
            let template = template
                .as_ref()
                .map_err(|e| NotEncoded::Failed(format!("{e:#}")))?;
            files
                .encode_chat(template, conversation)
                .map_err(not_encoded)
        };
        let items = dataset::read(
            path,
            &dataset::Defaults {
                output_len,
                vocab_size: files.spec.vocab_size,
                max_len: files.spec.max_position_embeddings,
                pool: &pool,
                seed: args.common.seed,
                encode: &encode,
                chat: &chat,
            },
        )
        .map_err(Failure::usage)?;
        let words = format!("dataset {}", path.display());
        return Ok((Work::Dataset(items.into()), words));
    }
    let input_len = args.input_len.unwrap_or(DEFAULT_INPUT_LEN);
    let words = format!("synthetic: {input_len} random token ids a request");
    let work = Work::Synthetic {
        input_len,
        output_len,
        pool: Arc::new(pool),
    };
    Ok((work, words))
}

fn not_encoded(error: anyhow::Error) -> NotEncoded {
    let reason = format!("{error:#}");
    match error.downcast_ref() {
        Some(TextError::TooLong { .. }) => NotEncoded::TooLong(reason),
        _ => NotEncoded::Failed(reason),
    }
}

/// Name, load and number of requests of each run.
fn loads(args: &BenchArgs, work: &Work) -> Result<Vec<(String, Load, usize)>, Failure> {
    let trace = match work {
        Work::Dataset(items) if items.iter().all(|item| item.arrival.is_some()) => {
            Some(items.len())
        }
        _ => None,
    };
    if let Some(rate) = args.request_rate {
        let arrivals = Arrivals::new(rate, args.burstiness).map_err(Failure::usage)?;
        let counts = match args.requests.as_slice() {
            [] => vec![dataset_len(work).unwrap_or(DEFAULT_OPEN_REQUESTS)],
            counts => counts.to_vec(),
        };
        let name = |count| format!("rate{rate}-r{count}");
        let runs = counts.into_iter();
        return Ok(runs.map(|n| (name(n), Load::Open(arrivals), n)).collect());
    }
    if let (Some(lines), true) = (
        trace,
        args.concurrency.is_empty() && args.scenario.is_none(),
    ) {
        let count = match args.requests.as_slice() {
            [] => lines,
            [count] if *count <= lines => *count,
            other => {
                return Err(Failure::Usage(anyhow!(
                    "--requests {other:?}: the dataset has arrivals for {lines} requests; ask for one number of at most that"
                )));
            }
        };
        return Ok(vec![("trace".to_owned(), Load::Trace, count)]);
    }
    let pairs = match (args.scenario, args.concurrency.as_slice()) {
        (Some(preset), _) => with_requests(preset.loads(), &args.requests)?,
        (None, []) if args.requests.is_empty() && dataset_len(work).is_none() => {
            Preset::Quick.loads().to_vec()
        }
        (None, []) => {
            let default = dataset_len(work).unwrap_or(DEFAULT_WAVES);
            with_requests(&[(1, default)], &args.requests)?
        }
        (None, given) => {
            let default = |c: &usize| (*c, dataset_len(work).unwrap_or(c * DEFAULT_WAVES));
            let defaults: Vec<_> = given.iter().map(default).collect();
            with_requests(&defaults, &args.requests)?
        }
    };
    let run = |(concurrency, requests)| {
        let load = Load::Closed { concurrency };
        (format!("c{concurrency}"), load, requests)
    };
    Ok(pairs.into_iter().map(run).collect())
}

/// Pairs each concurrency with its number of requests; a single value of either repeats.
fn with_requests(
    loads: &[(usize, usize)],
    requests: &[usize],
) -> Result<Vec<(usize, usize)>, Failure> {
    let pair = |i: usize| {
        let concurrency = loads[if loads.len() == 1 { 0 } else { i }].0;
        let requests = requests[if requests.len() == 1 { 0 } else { i }];
        (concurrency, requests)
    };
    match (loads.len(), requests.len()) {
        (_, 0) => Ok(loads.to_vec()),
        (a, b) if a == b || a == 1 || b == 1 => Ok((0..a.max(b)).map(pair).collect()),
        (a, b) => Err(Failure::Usage(anyhow!(
            "--requests has {b} numbers for {a} loads; give one for each, or one for all"
        ))),
    }
}

fn dataset_len(work: &Work) -> Option<usize> {
    match work {
        Work::Dataset(items) => Some(items.len()),
        _ => None,
    }
}

fn scenario(
    args: &BenchArgs,
    name: &str,
    load: Load,
    requests: usize,
    work: &Work,
    repeat: usize,
) -> Scenario {
    let (concurrency, rate) = match load {
        Load::Closed { concurrency } => (Some(concurrency), None),
        Load::Open(arrivals) => (None, Some(arrivals.rate())),
        Load::Trace => (None, None),
    };
    let (input_len, output_len) = match work {
        Work::Synthetic {
            input_len,
            output_len,
            ..
        } => (Some(*input_len), Some(*output_len)),
        Work::Fixed { prompt, output_len } => (Some(prompt.len()), Some(*output_len)),
        Work::Dataset(items) => (
            common(items.iter().map(|i| i.prompt.len())),
            common(items.iter().map(|i| i.output_len)),
        ),
    };
    Scenario {
        name: name.to_owned(),
        concurrency,
        requests,
        input_len,
        output_len,
        request_rate: rate,
        burstiness: rate.map(|_| args.burstiness),
        warmup: args.warmup,
        repeat,
        repeats: args.repeats,
        request_timeout_s: args.request_timeout.map(|t| t.as_secs_f64()),
        stop_at_eos: args.stop_at_eos,
        dataset: args.dataset.as_ref().map(|p| p.display().to_string()),
        goodput: args.goodput,
    }
}

/// The value that all share.
fn common(mut values: impl Iterator<Item = usize>) -> Option<usize> {
    let first = values.next()?;
    values.all(|v| v == first).then_some(first)
}
