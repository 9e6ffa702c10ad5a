//! Flags of `bench`.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::super::common::CommonArgs;
use super::super::values;
use crate::bench::{LoadOptions, Preset, Shape, ShapeOptions};
use crate::exec::Server;
use crate::ground::results::{AtEnd, Cancel, Slo};
use crate::session::{Device, EngineOptions};
use crate::workload::{Lengths, Rate};

/// Repeats of a shape, as llama-bench has them.
const SHAPE_REPEATS: usize = 5;
/// What shapes have not.
const SHAPELESS: [&str; 25] = [
    "scenario",
    "concurrency",
    "max_concurrency",
    "requests",
    "request_rate",
    "duration",
    "at_end",
    "stop_when_saturated",
    "temperature",
    "top_k",
    "top_p",
    "cancel",
    "input_len",
    "output_len",
    "prefix_len",
    "prefix_groups",
    "turns",
    "think_time",
    "prompt",
    "dataset",
    "stop_at_eos",
    "request_timeout",
    "goodput",
    "trace",
    "out",
];

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower bench\n  \
    candlepower bench --scenario c50 --model DeepSeek-R1-Distill-Qwen-1.5B --layers 4\n  \
    candlepower bench --model ./my-model --concurrency 1,8 --requests 10,64 --output-len 64 --out results\n  \
    candlepower bench --request-rate 2 --requests 20 --goodput ttft:2000,tpot:200 --json\n  \
    candlepower bench --request-rate ramp:1-20 --duration 60 --stop-when-saturated\n  \
    candlepower bench --concurrency 8 --trace trace.json --trace-steps 20..40\n  \
    candlepower bench --shapes pp512,tg128,pp512+tg128 --depth 0,4096 --format markdown\n  \
    candlepower bench --device sim:rtx4090-48g --tp 2 --model QwQ-32B --scenario all --format markdown")]
pub struct BenchArgs {
    #[command(flatten)]
    pub common: CommonArgs,

    /// With --device sim: whose kernels and host time a step takes; none is raw capacity
    #[arg(long, value_enum, default_value_t = ServerFlag::None, value_name = "S", help_heading = "Device")]
    pub server: ServerFlag,

    /// quick, or one of the report's loads: c1, c50, c300, c1000, all
    #[arg(long, value_name = "NAME", conflicts_with_all = ["concurrency", "request_rate"], help_heading = "Load")]
    pub scenario: Option<Preset>,
    /// Requests in flight, one number for each run
    #[arg(long, value_name = "A[,B...]", value_delimiter = ',', value_parser = values::positive, conflicts_with = "request_rate", help_heading = "Load")]
    pub concurrency: Vec<usize>,
    /// Requests of each run; a single value repeats
    #[arg(long, aliases = ["num-prompts", "num-requests"], value_name = "A[,B...]", value_delimiter = ',', value_parser = values::positive, help_heading = "Load")]
    pub requests: Vec<usize>,
    /// Requests are sent for S seconds: without --requests as many as come
    #[arg(long, alias = "max-seconds", value_name = "S", value_parser = values::seconds, help_heading = "Load")]
    pub duration: Option<Duration>,
    /// What becomes of requests in flight when --duration is over [default: drain]
    #[arg(
        long,
        value_enum,
        value_name = "E",
        requires = "duration",
        help_heading = "Load"
    )]
    pub at_end: Option<AtEndFlag>,
    /// Open loop: requests a second, one rate for each run; inf sends all at once; over --duration a rate may change:
    /// ramp:1-20 (in straight lines), stairs:1-5-20 (in equal parts)
    #[arg(
        long,
        value_name = "R[,R...]",
        value_delimiter = ',',
        help_heading = "Load"
    )]
    pub request_rate: Vec<Rate>,
    /// End an open loop when its queue keeps growing; the results are partial, and say so
    #[arg(long, help_heading = "Load")]
    pub stop_when_saturated: bool,
    /// With --request-rate: requests in flight at most, the others are sent as these end; without it, as --concurrency
    #[arg(long, value_name = "C[,C...]", value_delimiter = ',', value_parser = values::positive, conflicts_with_all = ["concurrency", "scenario"], help_heading = "Load")]
    pub max_concurrency: Vec<usize>,
    /// Shape of the gaps between arrivals: 1 is Poisson, below 1 bursts
    #[arg(long, value_name = "B", default_value_t = 1.0, value_parser = values::positive_number, requires = "request_rate", help_heading = "Load")]
    pub burstiness: f64,

    /// Prompt tokens, or what they are drawn from: uniform:LEAST-MOST, normal:MEAN,DEVIATION, lognormal:MEAN,DEVIATION,
    /// or a published trace: sharegpt, azure-conv, azure-code, mooncake [default: 100]
    #[arg(long, alias = "random-input-len", value_name = "N|LENGTHS", conflicts_with_all = ["prompt", "dataset"], help_heading = "Work")]
    pub input_len: Option<Lengths>,
    /// Output tokens, exact unless --stop-at-eos, or what they are drawn from [default: 32, the report's scenarios 601]
    #[arg(
        long,
        alias = "random-output-len",
        value_name = "N|LENGTHS",
        help_heading = "Work"
    )]
    pub output_len: Option<Lengths>,
    /// Tokens that prompts of a group begin with, before those of --input-len [default: 0]
    #[arg(long, alias = "random-prefix-len", value_name = "N", value_parser = values::whole, conflicts_with_all = ["prompt", "dataset"], help_heading = "Work")]
    pub prefix_len: Option<usize>,
    /// Groups of prompts that begin alike; requests are of the groups in turn [default: 1]
    #[arg(long, value_name = "G", value_parser = values::positive, requires = "prefix_len", help_heading = "Work")]
    pub prefix_groups: Option<usize>,
    /// Requests are turns of conversations of so many, which grow: each prompt is all that was said before and
    /// --input-len new tokens, or of a --dataset of conversations its next question, N of each at most; --concurrency and
    /// --request-rate are of conversations then [default: 1]
    #[arg(long, value_name = "N", value_parser = values::positive, conflicts_with_all = ["prompt"], help_heading = "Work")]
    pub turns: Option<usize>,
    /// Seconds from the end of an answer to the next turn [default: 0]
    #[arg(long, value_name = "S", value_parser = values::seconds, requires = "turns", help_heading = "Work")]
    pub think_time: Option<Duration>,
    /// The same text for every request
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "dataset",
        help_heading = "Work"
    )]
    pub prompt: Option<String>,
    /// JSON objects, one a line or in an array: {prompt | prompt_ids | messages | input_len, output_len?, arrival?}, or a
    /// table in CSV; ShareGPT, vLLM's, GuideLLM's, AIPerf's and TensorRT-LLM's forms; traces of Mooncake, Azure and
    /// BurstGPT, which are played at their times
    #[arg(
        long,
        alias = "dataset-path",
        value_name = "FILE",
        help_heading = "Work"
    )]
    pub dataset: Option<PathBuf>,
    /// Multiplies the dataset's arrival times: 0.5 plays it in half of the time
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = values::positive_number, requires = "dataset", help_heading = "Load")]
    pub time_scale: f64,
    /// End an output at the model's end token
    #[arg(long, help_heading = "Work")]
    pub stop_at_eos: bool,
    /// What is done in any case; as vLLM writes it.
    #[arg(long, hide = true, conflicts_with = "stop_at_eos")]
    pub ignore_eos: bool,

    /// llama-bench's question in place of a load: one prompt read (pp), one answer drawn token by token (tg), or both
    #[arg(long, value_name = "pp512,tg128,...", value_delimiter = ',', conflicts_with_all = SHAPELESS, help_heading = "Work")]
    pub shapes: Vec<Shape>,
    /// Tokens in the KV cache before each of the shapes [default: 0]
    #[arg(long, alias = "n-depth", value_name = "D[,D...]", value_delimiter = ',', value_parser = values::whole, requires = "shapes", help_heading = "Work")]
    pub depth: Vec<usize>,

    /// Short requests before the window opens, or plays of a shape; they are not counted
    #[arg(long, alias = "num-warmups", value_name = "N", default_value_t = 1, value_parser = values::whole, help_heading = "Method")]
    pub warmup: usize,
    /// Play every run or shape N times [default: 1, of shapes 5]
    #[arg(long, alias = "repetitions", short_alias = 'r', value_name = "N", value_parser = values::positive, help_heading = "Method")]
    pub repeats: Option<usize>,
    /// Draw tokens at this temperature, with --seed; 0 takes the most likely token [default: 0]
    #[arg(long, value_name = "T", value_parser = values::temperature, help_heading = "Work")]
    pub temperature: Option<f32>,
    /// With --temperature: only the K most likely tokens; 0 is all
    #[arg(long, value_name = "K", value_parser = values::whole, requires = "temperature", help_heading = "Work")]
    pub top_k: Option<usize>,
    /// With --temperature: only the most likely tokens that make up P
    #[arg(long, value_name = "P", value_parser = values::probability, requires = "temperature", help_heading = "Work")]
    pub top_p: Option<f32>,

    /// Seconds after its arrival at which a request fails
    #[arg(long, value_name = "S", value_parser = values::seconds, help_heading = "Method")]
    pub request_timeout: Option<Duration>,
    /// Requests that are given up, drawn at random: a share of them, S seconds after arrival, or somewhere in the answer
    #[arg(long, value_name = "SHARE[:S]", help_heading = "Method")]
    pub cancel: Option<Cancel>,
    /// Limits that a good request keeps: ttft:MS,tpot:MS,e2el:MS
    #[arg(long, value_name = "SLO", value_parser = slo, help_heading = "Method")]
    pub goodput: Option<Slo>,
    /// US dollars that the machine costs an hour: gives the price of a million tokens
    #[arg(long, value_name = "P", value_parser = values::positive_number, help_heading = "Method")]
    pub price_per_hour: Option<f64>,
    /// Reference runs beside this one: a name, a file of any benchmark tool, published (others' figures of the model
    /// and card), or none [default: all that match]
    #[arg(long, value_name = "NAME|FILE|published|none", help_heading = "Output")]
    pub reference: Option<String>,
    /// What stdout shows
    #[arg(long, value_enum, default_value_t = Format::Headline, conflicts_with = "json", help_heading = "Output")]
    pub format: Format,
    /// Write report.html, results.json, requests.jsonl, steps.jsonl, telemetry.csv, summary.csv, summary.md, vllm.json;
    /// with --device sim: also server.md, what the reference runs' server cost
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Write schedule.jsonl too: every call of the scheduler and its answer, which `verify` replays. It grows with each
    /// step, in memory until the end
    #[arg(long, requires = "out", help_heading = "Output")]
    pub log_schedule: bool,
    /// Let --out replace the result that its directory holds
    #[arg(long, requires = "out", help_heading = "Output")]
    pub overwrite: bool,
    /// Time the operations of some steps of the first run, as a Chrome trace, which Perfetto opens
    #[arg(long, value_name = "FILE.json", help_heading = "Output")]
    pub trace: Option<PathBuf>,
    /// Which steps: from N, counted from 0 behind the warm-up, up to and without M
    #[arg(long, value_name = "N..M", default_value = "0..64", value_parser = values::range, requires = "trace", help_heading = "Output")]
    pub trace_steps: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServerFlag {
    /// Raw capacity: this engine's kernels, no host
    None,
    /// An engine's own loop and kernels, offline: vLLM, SGLang or TensorRT-LLM without a server
    Engine,
    /// vLLM behind its server, and a client
    Vllm,
}

impl ServerFlag {
    pub fn server(self) -> Option<Server> {
        match self {
            Self::None => None,
            Self::Engine => Some(Server::ENGINE),
            Self::Vllm => Some(Server::VLLM),
        }
    }

    /// It has its place on simulated devices alone.
    pub fn check(self, device: &Device) -> anyhow::Result<()> {
        match self.server() {
            Some(Server { name, .. }) if !device.is_simulated() => {
                bail!("--server {name} is added to a simulated device; add --device sim:<gpu>")
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AtEndFlag {
    /// They are played to their end
    Drain,
    /// They end there and then, and count in no latency
    Cut,
}

impl AtEndFlag {
    fn at_end(self) -> AtEnd {
        match self {
            Self::Drain => AtEnd::Drain,
            Self::Cut => AtEnd::Cut,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The answer in a few lines
    Headline,
    /// Every metric beside the references' (alias: table)
    #[value(alias = "table")]
    Full,
    /// What summary.md holds; with --device sim: what server.md holds too
    Markdown,
    /// What summary.csv holds
    Csv,
    /// What results.json holds, as --json does
    Json,
    /// Of shapes: one JSON object a line
    Jsonl,
}

impl BenchArgs {
    pub fn options(&self) -> EngineOptions {
        let mut options = self.common.options();
        options.server = self.server.server();
        options
    }

    pub fn load(&self) -> Result<LoadOptions, String> {
        // Without a rate the cap is what is in flight.
        let (closed, cap) = match (
            self.request_rate.as_slice(),
            self.max_concurrency.as_slice(),
        ) {
            (_, []) => (self.concurrency.clone(), None),
            ([], caps) => (caps.to_vec(), None),
            (_, [cap]) => (Vec::new(), Some(*cap)),
            _ => {
                return Err(
                    "--max-concurrency has several numbers, and with --request-rate it takes one: the cap of every rate; give one".to_owned(),
                );
            }
        };
        Ok(LoadOptions {
            scenario: self.scenario,
            concurrency: closed,
            max_concurrency: cap,
            requests: self.requests.clone(),
            duration: self.duration,
            at_end: self.at_end.map(AtEndFlag::at_end).unwrap_or_default(),
            request_rate: self.request_rate.clone(),
            stop_when_saturated: self.stop_when_saturated,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            burstiness: self.burstiness,
            input_len: self.input_len,
            output_len: self.output_len,
            prefix_len: self.prefix_len.unwrap_or(0),
            prefix_groups: self.prefix_groups.unwrap_or(1),
            turns: self.turns.unwrap_or(1),
            think_time: self.think_time.unwrap_or_default(),
            prompt: self.prompt.clone(),
            dataset: self.dataset.clone(),
            time_scale: self.time_scale,
            stop_at_eos: self.stop_at_eos,
            warmup: self.warmup,
            repeats: self.repeats.unwrap_or(1),
            request_timeout: self.request_timeout,
            cancel: self.cancel,
            goodput: self.goodput,
            price_per_hour: self.price_per_hour,
        })
    }
}

impl BenchArgs {
    /// `None`: a load is played.
    pub fn shapes(&self) -> Option<ShapeOptions> {
        (!self.shapes.is_empty()).then(|| ShapeOptions {
            shapes: self.shapes.clone(),
            depths: self.depth.clone(),
            repeats: self.repeats.unwrap_or(SHAPE_REPEATS),
            warmup: self.warmup,
        })
    }
}

fn slo(text: &str) -> Result<Slo, String> {
    let mut slo = Slo::default();
    for part in text.split(',') {
        let (name, value) = part
            .split_once(':')
            .ok_or_else(|| format!("{part:?} is not NAME:MS; write ttft:200,tpot:50"))?;
        let value = values::positive_number(value).map_err(|e| format!("{part:?}: {e}"))?;
        match name.trim() {
            "ttft" => slo.ttft_ms = Some(value),
            "tpot" => slo.tpot_ms = Some(value),
            "e2el" => slo.e2el_ms = Some(value),
            other => return Err(format!("{other:?} is not one of ttft, tpot and e2el")),
        }
    }
    Ok(slo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_limits_are_read_by_name() {
        let limits = slo("ttft:200,e2el:5000").unwrap();
        assert_eq!(limits.ttft_ms, Some(200.0));
        assert_eq!(limits.tpot_ms, None);
        assert_eq!(limits.e2el_ms, Some(5000.0));
        for bad in ["", "ttft", "ttft:0", "itl:3", "tpot:-1"] {
            assert!(slo(bad).is_err(), "{bad}");
        }
    }
}
