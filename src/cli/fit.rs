//! `fit`: will this model run on that hardware, and if not, what is the nearest change that does.

use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::failure::Failure;
use super::fit_args::{EngineFlag, FitArgs};
use super::{fit_text, model_files, output};
use crate::fit::{self, Answer, Ask, Card, Engine, Limits, Load, Release, StoredBytes};
use crate::hardware::{self, Capability};
use crate::hub::{
    self, DummyReason, HubSettings, ModelSource, ResolveOptions, Stop, WeightFiles, cards,
};
use crate::model::tensors::expected;
use crate::model::{Checkpoint, Described, ModelSpec};
use crate::parallel::Split;

/// The exit code of an answer that nothing fits.
const DOES_NOT_FIT: u8 = 3;
/// A card that only its memory is known of.
const USUAL_CAPABILITY: Capability = Capability { major: 8, minor: 9 };
/// Tokens of a request of the report's loads.
const REPORT_INPUT: usize = 100;
const REPORT_OUTPUT: usize = 601;

/// Prints the answers; gives the exit code.
pub fn run(args: &FitArgs) -> Result<u8, Failure> {
    let asks = asks(args)?;
    let mut answers: Vec<Answer> = asks.iter().map(fit::answer).collect();
    for answer in &answers {
        check_load(args, answer).map_err(Failure::Usage)?;
    }
    if args.output.json {
        if !args.explain {
            answers.iter_mut().for_each(|answer| answer.explain.clear());
        }
        match answers.as_slice() {
            [answer] if args.gpus.len() < 2 => output::json(answer)?,
            answers => output::json(&answers)?,
        }
    } else {
        output::result(&fit_text::text(&answers, args.explain))?;
    }
    match answers.iter().any(|answer| answer.fits) {
        true => Ok(0),
        false => Ok(DOES_NOT_FIT),
    }
}

/// One for each number of GPUs.
fn asks(args: &FitArgs) -> Result<Vec<Ask>, Failure> {
    let card = card(args).map_err(Failure::Usage)?;
    let engine = engine(args).map_err(Failure::Usage)?;
    let (name, spec, stored) = model(args)?;
    let counts = match args.gpus.as_slice() {
        [] => vec![args.tp.unwrap_or(1) * args.pp],
        counts => counts.to_vec(),
    };
    let ask = |gpus: usize| {
        let tp = ranks(args, gpus)?;
        Ok(Ask {
            model: name.clone(),
            spec: spec.clone(),
            stored: stored.clone(),
            card: card.clone(),
            gpus,
            split: Split {
                tp,
                expert_parallel: args.expert_parallel,
            },
            pp: args.pp,
            engine,
            limits: Limits {
                max_model_len: args.max_model_len,
                utilization: args.gpu_memory_utilization,
                max_num_seqs: args.max_num_seqs,
                max_num_batched_tokens: args.max_num_batched_tokens,
            },
            block_size: args.block_size,
            dtype: args.dtype.weight_type(),
            kv_type: args.kv_cache_dtype.kv_type(),
            eager: args.enforce_eager,
            load: load(args),
        })
    };
    counts
        .into_iter()
        .map(ask)
        .collect::<anyhow::Result<_>>()
        .map_err(Failure::Usage)
}

/// Tensor-parallel ranks on `gpus`.
fn ranks(args: &FitArgs, gpus: usize) -> anyhow::Result<usize> {
    let pp = args.pp;
    let tp = args.tp.unwrap_or((gpus / pp).max(1));
    let ranks = tp.saturating_mul(pp);
    if ranks > gpus {
        bail!(
            "--tp {tp} x --pp {pp} is {ranks} ranks, and --gpus is {gpus}; ask for at least as many GPUs, or fewer ranks"
        );
    }
    Ok(tp)
}

fn card(args: &FitArgs) -> anyhow::Result<Card> {
    let Some(name) = &args.gpu else {
        // clap asks for one of the two.
        let memory_gib = args.gpu_memory.unwrap_or_default();
        return Ok(Card {
            name: format!("a GPU of {memory_gib} GiB"),
            memory_gib,
            capability: USUAL_CAPABILITY,
        });
    };
    let mut card = Card::from(&hardware::find(name)?);
    card.memory_gib = args.gpu_memory.unwrap_or(card.memory_gib);
    Ok(card)
}

fn engine(args: &FitArgs) -> anyhow::Result<Engine> {
    match (args.engine, args.vllm_version) {
        (EngineFlag::Vllm, release) => Ok(Engine::Vllm(release.unwrap_or(Release::USUAL))),
        (EngineFlag::Candlepower, None) => Ok(Engine::Candlepower),
        (EngineFlag::Candlepower, Some(_)) => {
            bail!(
                "--vllm-version is for --engine vllm, and --engine is candlepower; add --engine vllm or leave it out"
            )
        }
    }
}

/// Name, shapes, and how a checkpoint stores them where one is there.
fn model(args: &FitArgs) -> Result<(String, ModelSpec, Option<Arc<StoredBytes>>), Failure> {
    let options = ResolveOptions {
        // No weights are fetched for their headers; a card looks no further than the cache.
        dummy_weights: cards::find(&args.model).is_none(),
        progress: !args.output.quiet,
        settings: HubSettings::from_env(),
        stop: Stop::default(),
    };
    let source = hub::resolve(&args.model, &options).map_err(model_files::source_failure)?;
    let file = source.config_name();
    let Described { mut spec, remarks } = Described::of(&source).map_err(Failure::usage)?;
    if !args.output.quiet {
        let remarks = remarks.iter();
        remarks.for_each(|remark| output::note(&format!("warning: {remark}")));
    }
    spec.check_runnable(&file).map_err(Failure::usage)?;
    if let Some(layers) = args.layers {
        model_files::check_layers(layers, &spec, &file).map_err(Failure::Usage)?;
        spec.truncate_layers(layers);
    }
    let stored = stored(args, &source, &spec)?;
    Ok((source.name, spec, stored))
}

/// From the headers of a checkpoint that is here.
fn stored(
    args: &FitArgs,
    source: &ModelSource,
    spec: &ModelSpec,
) -> Result<Option<Arc<StoredBytes>>, Failure> {
    let files = match (&source.weights, &source.dir) {
        (
            WeightFiles::Dummy {
                why: DummyReason::Requested,
            },
            Some(dir),
        ) => match hub::weights_in(dir) {
            Ok(files) => files,
            Err(_) => return Ok(None),
        },
        (WeightFiles::Dummy { .. }, _) => return Ok(None),
        (files, _) => files.clone(),
    };
    let checkpoint = Checkpoint::open(&files, spec).map_err(Failure::usage)?;
    if args.output.verbose {
        output::note("element sizes are those of the checkpoint's headers");
    }
    let bytes = |name: String| Some((name.clone(), checkpoint.stored_bytes(&name)?));
    let names = expected(spec).into_iter().map(|tensor| tensor.name);
    Ok(Some(Arc::new(names.filter_map(bytes).collect())))
}

/// `None`: nothing was said of a load.
fn load(args: &FitArgs) -> Option<Load> {
    let said = [args.concurrency, args.input_len, args.output_len];
    said.iter().any(Option::is_some).then(|| Load {
        concurrency: args.concurrency.unwrap_or(1),
        input_len: args.input_len.unwrap_or(REPORT_INPUT),
        output_len: args.output_len.unwrap_or(REPORT_OUTPUT),
    })
}

fn check_load(args: &FitArgs, answer: &Answer) -> anyhow::Result<()> {
    match load(args) {
        Some(load) if load.tokens() > answer.max_model_len => Err(anyhow!(
            "a request of {} + {} tokens is longer than the {} of --max-model-len; raise it or shorten the request",
            load.input_len,
            load.output_len,
            answer.max_model_len
        )),
        _ => Ok(()),
    }
}
