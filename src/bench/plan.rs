//! From a load as it is asked for to the runs that are played, checked before anything is loaded.

use super::content::Content;
use super::named::scenario;
use super::options::LoadOptions;
use super::scenario::{Load, Preset};
use super::script::{Limits, Script};
use crate::ground::results::{Drawing, Scenario};
use crate::ground::{Progress, Sampling};
use crate::session::{ModelFiles, SessionError, Wish};
use crate::telemetry;
use crate::workload::{Arrivals, Rate};

/// Requests of a load by hand that says nothing: so many for each in flight.
const DEFAULT_WAVES: usize = 4;
/// Requests of an open loop that says nothing.
const DEFAULT_OPEN_REQUESTS: usize = 32;

/// Requests of a run that only its time bounds.
const UNBOUNDED: usize = usize::MAX;

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
        let drawing = drawing(load, files);
        let mut remarks = content.remarks.clone();
        if drawing.is_some() && files.device.is_simulated() {
            remarks.push(DRAWN_ON_SIMULATED.to_owned());
        }
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
            let count = Some(requests).filter(|requests| *requests != UNBOUNDED);
            for repeat in 0..load.repeats {
                runs.push(RunPlan {
                    scenario: Scenario {
                        sampling: drawing,
                        ..scenario(load, &name, &arrivals, count, work, repeat)
                    },
                    script: Script {
                        work: work.clone(),
                        load: arrivals.clone(),
                        requests,
                        warmup: load.warmup,
                        limits: Limits {
                            request_timeout: load.request_timeout,
                            duration: load.duration,
                            at_end: load.at_end,
                            cancel: load.cancel,
                            stop_when_saturated: load.stop_when_saturated,
                        },
                        sampling: sampling(drawing, seed),
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
            remarks,
        })
    }
}

/// `None`: the most likely token.
fn drawing(load: &LoadOptions, files: &ModelFiles) -> Option<Drawing> {
    let temperature = load.temperature.filter(|temperature| *temperature > 0.0)?;
    Some(Drawing {
        temperature,
        top_k: load.top_k.unwrap_or(Sampling::GREEDY.top_k),
        top_p: load.top_p.unwrap_or(Sampling::GREEDY.top_p),
        seed: files.options.seed,
    })
}

/// What is to be said of it.
const DRAWN_ON_SIMULATED: &str = "simulated tokens have no meaning, however they are drawn: what --temperature, --top-k and --top-p cost is passes over the logits, which were not compared with a card";

fn sampling(drawing: Option<Drawing>, seed: u64) -> Sampling {
    match drawing {
        None => Sampling {
            seed,
            ..Sampling::GREEDY
        },
        Some(drawing) => Sampling {
            temperature: drawing.temperature,
            top_k: drawing.top_k,
            top_p: drawing.top_p,
            seed: drawing.seed,
            logprobs: None,
        },
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
    // As many as come, where the time is bounded.
    let count = |otherwise: usize| match load.duration {
        Some(_) => UNBOUNDED,
        None => content
            .items()
            .unwrap_or(otherwise.saturating_mul(load.turns)),
    };
    if !load.request_rate.is_empty() {
        let default = count(DEFAULT_OPEN_REQUESTS);
        let rates = load.request_rate.iter();
        let rates: Vec<_> = rates.map(|rate| (rate.clone(), default)).collect();
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
        (Some(preset), _) => {
            let timed = |&(concurrency, requests): &(usize, usize)| match load.duration {
                Some(_) => (concurrency, UNBOUNDED),
                None => (concurrency, requests),
            };
            let loads: Vec<_> = preset.loads().iter().map(timed).collect();
            with_requests(&loads, &load.requests)?
        }
        (None, []) if says_nothing(load, content) => Preset::Quick.loads().to_vec(),
        (None, []) => with_requests(&[(1, count(DEFAULT_WAVES))], &load.requests)?,
        (None, given) => {
            let default = |c: &usize| (*c, count(c * DEFAULT_WAVES));
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

fn says_nothing(load: &LoadOptions, content: &Content) -> bool {
    let bounded = !load.requests.is_empty() || load.duration.is_some();
    !bounded && content.items().is_none() && load.turns == 1
}

/// At a rate. Of an infinite one all requests are there at once, as in a closed loop that holds them all.
fn open(
    load: &LoadOptions,
    (rate, requests): (Rate, usize),
) -> Result<(String, Load, usize), SessionError> {
    let cap = load.max_concurrency;
    let bound = match requests {
        UNBOUNDED => String::new(),
        requests => format!("-r{requests}"),
    };
    let cap_name = cap.map_or(String::new(), |cap| format!("-c{cap}"));
    let name = format!("rate{rate}{cap_name}{bound}");
    if rate == Rate::Constant(f64::INFINITY) {
        let concurrency = cap.unwrap_or(requests);
        if concurrency == UNBOUNDED {
            return Err(Wish::Load(
                "--request-rate inf sends all at once, and --duration alone does not say how many that is; add --requests"
                    .to_owned(),
            )
            .into());
        }
        return Ok((name, Load::Closed { concurrency }, requests));
    }
    let arrivals = match (&rate, load.duration) {
        (Rate::Ramp(_) | Rate::Stairs(_), Some(duration)) => {
            Arrivals::changing(&rate, duration.as_secs_f64(), load.burstiness)
        }
        (rate, _) => Arrivals::new(rate.mean(), load.burstiness),
    };
    let arrivals = arrivals.map_err(Wish::from)?;
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
fn with_requests<T: Clone>(
    loads: &[(T, usize)],
    requests: &[usize],
) -> Result<Vec<(T, usize)>, SessionError> {
    let pair = |i: usize| {
        let load = loads[if loads.len() == 1 { 0 } else { i }].0.clone();
        let requests = requests[if requests.len() == 1 { 0 } else { i }];
        (load, requests)
    };
    match (loads.len(), requests.len()) {
        (_, 0) => Ok(loads.to_vec()),
        (a, b) if a == b || a == 1 || b == 1 => Ok((0..a.max(b)).map(pair).collect()),
        (loads, numbers) => Err(Wish::RequestNumbers { loads, numbers }.into()),
    }
}
