//! From a wish to the layouts that hold it.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use super::command;
use super::held::{Held, Missed, Walk, hold};
use super::judged::Judged;
use super::layout::{Layout, cards, layouts};
use super::nearest;
use super::options::RecommendOptions;
use super::predict::{Predictor, server};
use super::result::{RECOMMENDATION_SCHEMA, Recommendation, Recommended, Rent};
use super::target::{Demand, Target};
use crate::fit::{Ask, Engine};
use crate::ground::results::Kind;
use crate::ground::{Progress, Unwatched};
use crate::session::{EngineOptions, ModelFiles, Reading, SessionError, Wish};
use crate::shape::Quantization;

const PER_MILLION: f64 = 1e6;
const SECONDS_PER_HOUR: f64 = 3600.0;

/// # Errors
/// There is no such model or card, the wish contradicts itself, or it was told to stop.
pub fn recommend(
    options: &RecommendOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Recommendation, SessionError> {
    let start = Instant::now();
    let cards = cards(&options.cards).map_err(Wish::from)?;
    let (base, reading) = base(options, &cards[0].0, progress.as_ref())?;
    let target = Target::new(options, base.shape.positions)?;
    let files = simulated(options, &cards[0].0, reading);
    if let (Err(reason), true) = (&files, needs_time(options)) {
        return Err(Wish::Question(format!(
            "{} does not run on simulated cards ({reason}), so no time is known of it; leave out --slo and --request-rate to be told what has room for it",
            base.model
        ))
        .into());
    }
    let all = layouts(options, &base.shape, &cards);
    let tried = all.len();
    let judged: Vec<Judged> = all
        .into_par_iter()
        .map(|layout| Judged::new(&base, layout, &target))
        .collect();
    let with_room = judged.iter().filter(|judged| judged.holds()).count();
    let predictor = files.as_ref().ok().map(|files| Predictor {
        files,
        base: &base,
        options,
        target: &target,
        progress: progress.clone(),
    });
    let walk = Walk {
        predictor: predictor.as_ref(),
        needs_time: needs_time(options),
    };
    let affordable = |judged: &Judged| is_affordable(options, &judged.layout);
    let (within, beyond): (Vec<Judged>, Vec<Judged>) = judged.into_iter().partition(affordable);
    let mut missed = Missed::default();
    let mut held = hold(within, options.top, &walk, &mut missed)?;
    let untimed = missed.untimed.clone();
    let nearest = match held.is_empty() {
        false => None,
        true => nearest::miss(beyond, missed, options.max_price, &walk, &base, &target)?,
    };
    if let Some(predictor) = &predictor {
        look_further(&mut held, predictor)?;
    }
    let source = command::Source::new(&base, options, files.as_ref().ok());
    let layouts = held
        .iter()
        .map(|held| recommended(held, &base, &source, options, &target))
        .collect();
    Ok(Recommendation {
        schema: RECOMMENDATION_SCHEMA.to_owned(),
        kind: Kind::Predicted,
        model: base.model.clone(),
        engine: base.engine.name().to_owned(),
        vllm_rules_since: match base.engine {
            Engine::Vllm(release) => Some(release.to_string()),
            _ => None,
        },
        objective: (!options.objective.is_empty()).then(|| options.objective.clone()),
        max_price: options.max_price,
        layouts,
        tried,
        with_room,
        nearest,
        notes: notes(options, &base, &target, files.err(), &untimed),
        target,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The model, and what the engine was told, on some card; with what was found of it.
fn base(
    options: &RecommendOptions,
    card: &str,
    progress: &dyn Progress,
) -> Result<(Ask, Reading), SessionError> {
    let mut question = options.question.clone();
    question.gpu = Some(card.to_owned());
    question.gpus = vec![question.tp.unwrap_or(1)];
    let (mut asks, reading) = question.resolved(progress)?;
    // One number of GPUs, one ask.
    let none = || Wish::Question("no number of GPUs was asked of".to_owned());
    Ok((asks.pop().ok_or_else(none)?, reading))
}

/// The model as a simulated card behind the engine's server takes it, or why none does.
fn simulated(
    options: &RecommendOptions,
    card: &str,
    reading: Reading,
) -> Result<ModelFiles, String> {
    let question = &options.question;
    let source = reading.source;
    let source = source.ok_or("a GGUF file has no configuration for them to read")?;
    let mut found = EngineOptions::new(&question.model).device(format!("sim:{card}"));
    found.layers = question.layers;
    found.server = server(question.engine);
    // What is to be remarked was when it was read.
    ModelFiles::of(&found, source, &Unwatched).map_err(|error| match error {
        SessionError::Wish(wish) => match *wish {
            Wish::OthersRun { why } => {
                format!("{why}; --engine vllm asks for an engine that runs it")
            }
            wish => wish.to_string(),
        },
        error => error.to_string(),
    })
}

/// Whether room alone does not tell.
fn needs_time(options: &RecommendOptions) -> bool {
    options.request_rate.is_some() || !options.objective.is_empty()
}

fn is_affordable(options: &RecommendOptions, layout: &Layout) -> bool {
    let within = |most: f64| layout.price.is_some_and(|price| price <= most);
    options.max_price.is_none_or(within)
}

/// The edge of each that was played.
fn look_further(held: &mut [Held], predictor: &Predictor) -> Result<(), SessionError> {
    held.par_iter_mut()
        .filter(|held| held.outcome.is_some())
        .try_for_each(|held| {
            held.outcome = Some(predictor.capacity(&held.judged)?);
            Ok(())
        })
}

fn recommended(
    held: &Held,
    base: &Ask,
    source: &command::Source,
    options: &RecommendOptions,
    target: &Target,
) -> Recommended {
    let (layout, answer) = (&held.judged.layout, &held.judged.answer);
    let predicted = held
        .outcome
        .as_ref()
        .map(|outcome| outcome.predicted.clone());
    let rate = predicted
        .as_ref()
        .and_then(|predicted| predicted.output_throughput);
    let usd = layout.price.zip(rate);
    let played = held.outcome.as_ref().and_then(|outcome| outcome.requests);
    let (command, absent) = source.commands(&held.judged, target, played);
    Recommended {
        gpu: layout.card.clone(),
        gpu_name: layout.gpu.full_name.clone(),
        gpus: layout.gpus,
        tp: layout.split.tp,
        pp: layout.pp,
        expert_parallel: layout.split.expert_parallel,
        replicas: layout.replicas(),
        quantisation: base.shape.quantization.map(|quantization| {
            let name = match quantization {
                Quantization::Fp8 { .. } => "fp8",
                Quantization::Other(scheme) => scheme.method.name(),
            };
            name.to_owned()
        }),
        verdict: answer.verdict.name().to_owned(),
        kv_tokens: answer.kv_tokens,
        max_concurrency: answer.max_concurrency,
        price_per_hour: layout.price,
        usd_per_million_output_tokens: usd
            .map(|(usd, rate)| usd / SECONDS_PER_HOUR / rate * PER_MILLION),
        price: options.prices.of(&layout.gpu.name).map(|price| Rent {
            usd_per_gpu_hour: price.usd_per_hour,
            source: price.source.clone(),
        }),
        predicted,
        command,
        absent,
    }
}

fn notes(
    options: &RecommendOptions,
    base: &Ask,
    target: &Target,
    unplayed: Option<String>,
    untimed: &[(Layout, String)],
) -> Vec<String> {
    let mut notes = vec![
        "prices are rough and dated (`price` names each source); --price CARD=USD or --price FILE.toml replaces them".to_owned(),
    ];
    match unplayed {
        Some(reason) => notes.push(format!(
            "nothing is said of time: simulated cards do not run this model ({reason})"
        )),
        None => notes.push(match base.engine {
            Engine::Candlepower => "times are those of simulated cards, at their raw capacity".to_owned(),
            Engine::Sglang => "times are those of simulated cards behind vLLM's server: SGLang's own host time is not known".to_owned(),
            _ => "times are those of simulated cards behind vLLM's server".to_owned(),
        }),
    }
    if matches!(target.demand, Demand::Concurrency(_)) && !options.objective.is_empty() {
        notes.push("all requests in flight are sent at once when the load begins, so the first of them wait for each other's prompts".to_owned());
    }
    if let Some((layout, reason)) = untimed.first() {
        notes.push(format!(
            "left out, for their time is not known: {} layouts with room, such as {} x {} ({reason})",
            untimed.len(),
            layout.gpus,
            layout.card
        ));
    }
    notes.extend(base.shape.assumptions.iter().cloned());
    notes
}
