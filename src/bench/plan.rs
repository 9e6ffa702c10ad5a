//! From a load as it is asked for to the runs that are played, checked before anything is loaded.

use super::content::Content;
use super::options::LoadOptions;
use super::scenario::{Load, Preset};
use super::script::Script;
use crate::ground::results::Scenario;
use crate::ground::{Progress, Sampling};
use crate::session::{ModelFiles, SessionError, Wish};
use crate::telemetry;
use crate::workload::{Arrivals, Work};

/// Requests of a load by hand that says nothing: so many for each in flight.
const DEFAULT_WAVES: usize = 4;
/// Requests of an open loop that says nothing.
const DEFAULT_OPEN_REQUESTS: usize = 32;

/// Of a run's metrics, in memory and on their way into files; 45 KB were measured.
const RUN_BYTES: u64 = 64 << 10;

/// One run: a load, played once.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// The load, as results name it.
    pub scenario: Scenario,
    /// What the player does.
    pub script: Script,
    /// The prompt's text, or how prompts were made.
    pub prompt: String,
}

/// All runs of a load.
#[derive(Debug, Clone)]
pub struct BenchPlan {
    /// In the order in which they are played.
    pub runs: Vec<RunPlan>,
    /// What a session must be opened for: the length that was asked for, else that of the longest request.
    pub max_model_len: usize,
    /// What of the dataset is not used, in sentences.
    pub remarks: Vec<String>,
}

impl BenchPlan {
    /// `progress` may stop the reading of a dataset.
    ///
    /// # Errors
    /// The load contradicts itself, its dataset is malformed, or its requests are longer than the model's context.
    pub fn new(
        load: &LoadOptions,
        files: &ModelFiles,
        progress: &dyn Progress,
    ) -> Result<Self, SessionError> {
        load.check()?;
        let content = Content::read(load, files, progress)?;
        Self::of(load, &content, files)
    }

    /// Of requests that were read before, in whatever way they are to come.
    ///
    /// # Errors
    /// The load contradicts itself.
    pub fn of(
        load: &LoadOptions,
        content: &Content,
        files: &ModelFiles,
    ) -> Result<Self, SessionError> {
        load.check()?;
        let work = &content.work;
        let seed = files.options.seed;
        let end_tokens = match load.stop_at_eos {
            true => files.end_tokens()?,
            false => Vec::new(),
        };
        let available = telemetry::memory().available;
        let loads = loads(load, content)?;
        check_runs(loads.len(), load.repeats, available)?;
        let mut runs = Vec::new();
        for (name, arrivals, requests) in loads {
            for repeat in 0..load.repeats {
                runs.push(RunPlan {
                    scenario: scenario(load, &name, arrivals, requests, work, repeat),
                    script: Script {
                        work: work.clone(),
                        load: arrivals,
                        requests,
                        warmup: load.warmup,
                        request_timeout: load.request_timeout,
                        sampling: Sampling {
                            seed,
                            ..Sampling::GREEDY
                        },
                        end_tokens: end_tokens.clone(),
                        // Every run has synthetic prompts of its own.
                        seed: seed.wrapping_add(runs.len() as u64),
                    },
                    prompt: content.prompt.clone(),
                });
            }
        }
        for run in &runs {
            let fits = run.script.check(available);
            fits.map_err(|refusal| Wish::Load(refusal.to_string()))?;
        }
        Ok(Self {
            runs,
            max_model_len: content.max_model_len,
            remarks: content.remarks.clone(),
        })
    }
}

/// Refuses more runs than `available` bytes hold the results of; 0 is unknown.
fn check_runs(loads: usize, repeats: usize, available: u64) -> Result<(), Wish> {
    let most = (available / RUN_BYTES) as usize / loads;
    match available > 0 && repeats > most.max(1) {
        true => Err(Wish::Load(format!(
            "--repeats {repeats}: the results of {loads} loads so many times take about {} MiB, and {} MiB of memory are free; ask for {} at most",
            (RUN_BYTES
                .saturating_mul(loads as u64)
                .saturating_mul(repeats as u64))
                >> 20,
            available >> 20,
            most.max(1)
        ))),
        false => Ok(()),
    }
}

/// Name, load and number of requests of each run.
fn loads(
    load: &LoadOptions,
    content: &Content,
) -> Result<Vec<(String, Load, usize)>, SessionError> {
    let trace = content.arrivals();
    let decides =
        load.request_rate.is_empty() && load.concurrency.is_empty() && load.scenario.is_none();
    if load.time_scale != 1.0 && !(decides && trace.is_some()) {
        return Err(Wish::Load(format!(
            "--time-scale {} stretches the arrival times of a dataset, and {}; leave it out",
            load.time_scale,
            match trace {
                None => "there are none",
                Some(_) => "another flag says when requests come",
            }
        ))
        .into());
    }
    if !load.request_rate.is_empty() {
        let default = content
            .items()
            .unwrap_or(DEFAULT_OPEN_REQUESTS * load.turns);
        let rates: Vec<_> = load
            .request_rate
            .iter()
            .map(|&rate| (rate, default))
            .collect();
        let pairs = with_requests(&rates, &load.requests)?;
        return pairs.into_iter().map(|pair| open(load, pair)).collect();
    }
    if let (Some(lines), true) = (trace, decides) {
        let count = match load.requests.as_slice() {
            [] => lines,
            [count] if *count <= lines => *count,
            other => {
                let asked = other.to_vec();
                return Err(Wish::TraceRequests { asked, lines }.into());
            }
        };
        return Ok(vec![("trace".to_owned(), Load::Trace, count)]);
    }
    let pairs = match (load.scenario, load.concurrency.as_slice()) {
        (Some(preset), _) => with_requests(preset.loads(), &load.requests)?,
        (None, []) if load.requests.is_empty() && content.items().is_none() && load.turns == 1 => {
            Preset::Quick.loads().to_vec()
        }
        (None, []) => {
            let default = content.items().unwrap_or(DEFAULT_WAVES * load.turns);
            with_requests(&[(1, default)], &load.requests)?
        }
        (None, given) => {
            let default = |c: &usize| {
                (
                    *c,
                    content.items().unwrap_or(c * DEFAULT_WAVES * load.turns),
                )
            };
            let defaults: Vec<_> = given.iter().map(default).collect();
            with_requests(&defaults, &load.requests)?
        }
    };
    let run = |(concurrency, requests)| {
        let arrivals = Load::Closed { concurrency };
        (format!("c{concurrency}"), arrivals, requests)
    };
    Ok(pairs.into_iter().map(run).collect())
}

/// At a rate. Of an infinite one all requests are there at once, as in a closed loop that holds them all.
fn open(
    load: &LoadOptions,
    (rate, requests): (f64, usize),
) -> Result<(String, Load, usize), SessionError> {
    let cap = load.max_concurrency;
    let name = match cap {
        None => format!("rate{rate}-r{requests}"),
        Some(cap) => format!("rate{rate}-c{cap}-r{requests}"),
    };
    if rate == f64::INFINITY {
        let concurrency = cap.unwrap_or(requests);
        return Ok((name, Load::Closed { concurrency }, requests));
    }
    let arrivals = Arrivals::new(rate, load.burstiness).map_err(Wish::from)?;
    let arrivals = match cap {
        None => Load::Open(arrivals),
        Some(concurrency) => Load::Capped {
            arrivals,
            concurrency,
        },
    };
    Ok((name, arrivals, requests))
}

/// Pairs each concurrency or rate with its number of requests; a single value of either repeats.
fn with_requests<T: Copy>(
    loads: &[(T, usize)],
    requests: &[usize],
) -> Result<Vec<(T, usize)>, SessionError> {
    let pair = |i: usize| {
        let load = loads[if loads.len() == 1 { 0 } else { i }].0;
        let requests = requests[if requests.len() == 1 { 0 } else { i }];
        (load, requests)
    };
    match (loads.len(), requests.len()) {
        (_, 0) => Ok(loads.to_vec()),
        (a, b) if a == b || a == 1 || b == 1 => Ok((0..a.max(b)).map(pair).collect()),
        (loads, numbers) => Err(Wish::RequestNumbers { loads, numbers }.into()),
    }
}

fn scenario(
    load: &LoadOptions,
    name: &str,
    arrivals: Load,
    requests: usize,
    work: &Work,
    repeat: usize,
) -> Scenario {
    let (concurrency, rate) = match arrivals {
        Load::Closed { concurrency } => (Some(concurrency), None),
        Load::Open(arrivals) | Load::Capped { arrivals, .. } => (None, Some(arrivals.rate())),
        Load::Trace => (None, None),
    };
    let (input_len, output_len, drawn) = match work {
        Work::Synthetic(synthetic) => {
            let lengths = &synthetic.lengths;
            let input = lengths.input().fixed();
            let input = input.map(|own| synthetic.prefixes.len + own);
            (input, lengths.output().fixed(), Some(lengths))
        }
        Work::Conversations(talks) => {
            let lengths = &talks.turns_of.lengths;
            (None, lengths.output().fixed(), Some(lengths))
        }
        Work::Fixed { prompt, lengths } => {
            (Some(prompt.len()), lengths.output().fixed(), Some(lengths))
        }
        Work::Dataset(items) => (
            common(items.iter().map(|i| i.prompt.len())),
            common(items.iter().map(|i| i.output_len)),
            None,
        ),
    };
    Scenario {
        name: name.to_owned(),
        concurrency,
        requests,
        input_len,
        output_len,
        input_distribution: drawn
            .filter(|_| input_len.is_none())
            .map(|drawn| drawn.input().to_string()),
        output_distribution: drawn
            .filter(|_| output_len.is_none())
            .map(|drawn| drawn.output().to_string()),
        turns: (load.turns > 1).then_some(load.turns),
        think_time_s: (load.turns > 1).then(|| load.think_time.as_secs_f64()),
        prefix_len: load.prefix_len,
        prefix_groups: (load.prefix_len > 0).then_some(load.prefix_groups),
        request_rate: rate,
        max_concurrency: rate.and(load.max_concurrency),
        burstiness: rate.map(|_| load.burstiness),
        warmup: load.warmup,
        repeat,
        repeats: load.repeats,
        request_timeout_s: load.request_timeout.map(|t| t.as_secs_f64()),
        stop_at_eos: load.stop_at_eos,
        dataset: load.dataset.as_ref().map(|p| p.display().to_string()),
        time_scale: (load.time_scale != 1.0).then_some(load.time_scale),
        goodput: load.goodput,
        price_per_hour: load.price_per_hour,
    }
}

/// The value that all share.
fn common(mut values: impl Iterator<Item = usize>) -> Option<usize> {
    let first = values.next()?;
    values.all(|v| v == first).then_some(first)
}
