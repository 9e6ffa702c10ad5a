//! The metric set: the 35 figures of the source report, and the modern set under vLLM's names.
//! A figure that was not observed is null, never 0; the run's `not_observed` says why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The source report's metrics by its names. Latencies in seconds from arrival, over successful
/// requests; throughputs in tokens a second; percent 0 to 100. Percentiles are numpy-linear and
/// given for any number of requests, as the report does; `Extended::low_confidence` names those of few.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    pub total_requests: Option<u64>,
    pub successful_requests: Option<u64>,
    pub failed_requests: Option<u64>,
    pub success_rate: Option<f64>,
    /// Successful requests over `total_duration`.
    pub requests_per_sec: Option<f64>,
    pub avg_latency: Option<f64>,
    pub min_latency: Option<f64>,
    pub max_latency: Option<f64>,
    pub p90_latency: Option<f64>,
    pub p95_latency: Option<f64>,
    pub p99_latency: Option<f64>,
    pub avg_first_token_latency: Option<f64>,
    /// Mean over requests of (latency - first token latency) / (tokens - 1), two tokens or more.
    pub avg_tpot: Option<f64>,
    pub p95_tpot: Option<f64>,
    pub min_tpot: Option<f64>,
    pub max_tpot: Option<f64>,
    /// Output tokens of successful requests.
    pub total_tokens_generated: Option<u64>,
    /// Largest of the requests' own output tokens over latency.
    pub max_throughput: Option<f64>,
    pub min_throughput: Option<f64>,
    pub avg_throughput: Option<f64>,
    /// Output tokens over `total_duration`: the same as `output_tokens_per_sec`, as in the report.
    pub overall_total_throughput: Option<f64>,
    pub input_tokens_per_sec: Option<f64>,
    pub output_tokens_per_sec: Option<f64>,
    /// First arrival to last token, seconds.
    pub total_duration: Option<f64>,
    pub model: Option<String>,
    /// The prompt's text, or how it was made.
    pub prompt: Option<String>,
    /// Start of the run, UTC, RFC 3339.
    pub timestamp: Option<String>,
    /// This and the next four: the mean over the GPUs of each one's mean.
    pub avg_gpu_mem_percent: Option<f64>,
    pub avg_gpu_power_watts: Option<f64>,
    #[serde(rename = "avg_gpu_temp_C")]
    pub avg_gpu_temp_c: Option<f64>,
    pub avg_gpu_clock_gr_mhz: Option<f64>,
    pub avg_gpu_clock_mem_mhz: Option<f64>,
    /// Of this process; 100 is one core.
    pub cpu_percent: Option<f64>,
    /// Memory in use on the machine.
    pub ram_percent: Option<f64>,
    /// GPUs that took part.
    pub gpu_index: Option<Vec<usize>>,
}

impl Metrics {
    /// Name and value in the report's order.
    pub fn entries(&self) -> Map<String, Value> {
        entries(self)
    }
}

/// Statistics that summarise one latency.
pub const STATISTICS: usize = 8;

/// The summary of one latency: the same statistics, under the latency's own field names.
pub trait Latency {
    /// Names of the fields, in the order of `from_values`.
    const NAMES: [&'static str; STATISTICS];

    /// Mean, median, standard deviation, p50, p90, p95, p99, maximum.
    fn from_values(values: [Option<f64>; STATISTICS]) -> Self;
}

/// Declares the summary of one latency: the same eight statistics under its own field names, so
/// that files read like vLLM's and the JSON Schema names each field.
macro_rules! latency {
    ($(#[$doc:meta])* $name:ident {
        $mean:ident $median:ident $std:ident $p50:ident $p90:ident $p95:ident $p99:ident $max:ident
    }) => {
        $(#[$doc])*
        /// Milliseconds, over successful requests.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            pub $mean: Option<f64>,
            pub $median: Option<f64>,
            /// Population standard deviation.
            pub $std: Option<f64>,
            pub $p50: Option<f64>,
            pub $p90: Option<f64>,
            pub $p95: Option<f64>,
            pub $p99: Option<f64>,
            pub $max: Option<f64>,
        }

        impl Latency for $name {
            const NAMES: [&'static str; STATISTICS] = [
                stringify!($mean), stringify!($median), stringify!($std), stringify!($p50),
                stringify!($p90), stringify!($p95), stringify!($p99), stringify!($max),
            ];

            fn from_values(values: [Option<f64>; STATISTICS]) -> Self {
                let [$mean, $median, $std, $p50, $p90, $p95, $p99, $max] = values;
                Self { $mean, $median, $std, $p50, $p90, $p95, $p99, $max }
            }
        }
    };
}

latency! {
    /// Time to first token: first token less arrival.
    Ttft {
        mean_ttft_ms median_ttft_ms std_ttft_ms p50_ttft_ms
        p90_ttft_ms p95_ttft_ms p99_ttft_ms max_ttft_ms
    }
}

latency! {
    /// Time per output token of a request: (last token - first token) / (n - 1), for n of 2 or more.
    Tpot {
        mean_tpot_ms median_tpot_ms std_tpot_ms p50_tpot_ms
        p90_tpot_ms p95_tpot_ms p99_tpot_ms max_tpot_ms
    }
}

latency! {
    /// Inter-token latency: every gap between consecutive tokens of every request, pooled.
    Itl {
        mean_itl_ms median_itl_ms std_itl_ms p50_itl_ms
        p90_itl_ms p95_itl_ms p99_itl_ms max_itl_ms
    }
}

latency! {
    /// End-to-end latency: last token less arrival.
    E2el {
        mean_e2el_ms median_e2el_ms std_e2el_ms p50_e2el_ms
        p90_e2el_ms p95_e2el_ms p99_e2el_ms max_e2el_ms
    }
}

latency! {
    /// Waiting: first scheduled less arrival.
    Queue {
        mean_queue_ms median_queue_ms std_queue_ms p50_queue_ms
        p90_queue_ms p95_queue_ms p99_queue_ms max_queue_ms
    }
}

latency! {
    /// First token less first scheduled: time to first token without the queue.
    TtftService {
        mean_ttft_service_ms median_ttft_service_ms std_ttft_service_ms p50_ttft_service_ms
        p90_ttft_service_ms p95_ttft_service_ms p99_ttft_service_ms max_ttft_service_ms
    }
}

latency! {
    /// End-to-end latency over output tokens.
    NormalizedLatency {
        mean_normalized_latency_ms median_normalized_latency_ms std_normalized_latency_ms p50_normalized_latency_ms
        p90_normalized_latency_ms p95_normalized_latency_ms p99_normalized_latency_ms max_normalized_latency_ms
    }
}

/// How many values each latency's percentiles were taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SampleCounts {
    pub ttft: usize,
    pub tpot: usize,
    pub itl: usize,
    pub e2el: usize,
    pub queue: usize,
    pub ttft_service: usize,
    pub normalized_latency: usize,
}

/// The modern set, under vLLM's names where it has one. Latencies in milliseconds, throughputs a
/// second, over successful requests unless said otherwise. A percentile p is null below
/// 1 / (1 - p) values and listed in `low_confidence` below ten times as many.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Extended {
    /// First arrival to last token of any request, seconds.
    pub duration: Option<f64>,
    pub completed: u64,
    pub failed: u64,
    /// Requests that were given up, as the load asked; neither completed nor failed.
    #[serde(default)]
    pub cancelled: u64,
    /// Requests that the end of the run cut off; neither completed nor failed.
    #[serde(default)]
    pub cut_off: u64,
    /// Prompt tokens of successful requests.
    pub total_input_tokens: u64,
    pub total_output_tokens: u64,
    /// Output tokens of requests that failed later: work done, in no throughput.
    pub failed_output_tokens: u64,
    /// Output tokens of requests that were cancelled or cut off: in `generated_throughput` alone.
    #[serde(default)]
    pub cancelled_output_tokens: u64,
    /// Successful requests a second.
    pub request_throughput: Option<f64>,
    pub input_throughput: Option<f64>,
    /// Of the input tokens, those found in the prefix cache, and those that were computed.
    #[serde(default)]
    pub total_cached_tokens: Option<u64>,
    /// Of the input tokens, percent.
    #[serde(default)]
    pub prefix_cache_hit_percent: Option<f64>,
    #[serde(default)]
    pub cached_input_throughput: Option<f64>,
    #[serde(default)]
    pub computed_input_throughput: Option<f64>,
    pub output_throughput: Option<f64>,
    pub total_token_throughput: Option<f64>,
    /// Output tokens a second, whatever became of their requests.
    #[serde(default)]
    pub generated_throughput: Option<f64>,
    pub output_throughput_per_gpu: Option<f64>,
    /// 1 / mean TPOT: tokens a second that one user sees.
    pub decode_speed_per_user: Option<f64>,
    #[serde(flatten)]
    pub ttft: Ttft,
    #[serde(flatten)]
    pub tpot: Tpot,
    #[serde(flatten)]
    pub itl: Itl,
    #[serde(flatten)]
    pub e2el: E2el,
    #[serde(flatten)]
    pub queue: Queue,
    #[serde(flatten)]
    pub ttft_service: TtftService,
    #[serde(flatten)]
    pub normalized_latency: NormalizedLatency,
    pub percentile_n: SampleCounts,
    /// Names of percentiles taken from too few values to be trusted, those of `metrics` among them, which keep
    /// their value however few there are.
    pub low_confidence: Vec<String>,
    /// Percentiles of more than 10,000,000 gaps between tokens, or 1,000,000 requests, are read from a
    /// histogram and may be off by so much of their value; 0 where all are exact.
    #[serde(default)]
    pub percentile_error_percent: f64,
    /// Steady state: from the first to the last step in which the running requests reached 95 % of
    /// the lesser of target and capacity. Seconds from the run's start.
    pub steady_start: Option<f64>,
    pub steady_end: Option<f64>,
    /// Steady window over `duration`, percent.
    pub steady_share_percent: Option<f64>,
    /// Tokens that came inside the steady window, over its length.
    pub steady_output_throughput: Option<f64>,
    /// Most output tokens in one second, in buckets from the first arrival.
    pub max_output_tokens_per_s: Option<u64>,
    /// Successful requests between arrival and last token, mean over `duration`.
    pub mean_in_flight: Option<f64>,
    pub max_in_flight: u64,
    /// Requests a second that met every objective.
    pub request_goodput: Option<f64>,
    /// Of the requests that completed or failed, percent.
    pub goodput_attainment_percent: Option<f64>,
    /// Successful requests that missed because a bounded metric does not exist for them.
    pub goodput_null_misses: Option<u64>,
    /// All requests.
    pub preemptions: u64,
    pub steps: u64,
    /// Requests that got tokens in a step.
    pub mean_batch_size: Option<f64>,
    pub max_batch_size: Option<u64>,
    /// Prompt and decode tokens processed in a step.
    pub mean_tokens_per_step: Option<f64>,
    /// KV blocks in use, of all; mean weighted by the steps' time.
    pub mean_kv_occupancy_percent: Option<f64>,
    pub max_kv_occupancy_percent: Option<f64>,
    /// Of all GPUs together, between first arrival and last token.
    pub energy_j: Option<f64>,
    pub energy_per_output_token_j: Option<f64>,
    /// `counter`: by the GPUs' own counters; `power`: of one GPU or more by the integral of its power samples.
    #[serde(default)]
    pub energy_by: Option<String>,
    /// Over input and output tokens.
    #[serde(default)]
    pub energy_per_token_j: Option<f64>,
    /// Output tokens a second for each watt, which is output tokens for each joule.
    #[serde(default)]
    pub output_tokens_per_s_per_watt: Option<f64>,
    #[serde(default)]
    pub kwh_per_million_output_tokens: Option<f64>,
    /// What all GPUs draw with the model loaded and nothing to do.
    #[serde(default)]
    pub idle_power_watts: Option<f64>,
    /// `energy_j` without what idle GPUs had drawn in the same time.
    #[serde(default)]
    pub energy_above_idle_j: Option<f64>,
    #[serde(default)]
    pub energy_above_idle_per_output_token_j: Option<f64>,
    /// The price of the window, all of it put on the tokens named, US dollars.
    #[serde(default)]
    pub usd_per_million_input_tokens: Option<f64>,
    #[serde(default)]
    pub usd_per_million_output_tokens: Option<f64>,
    #[serde(default)]
    pub usd_per_million_tokens: Option<f64>,
    /// Bytes the steps must move by formula, over the executor's time.
    pub achieved_bytes_per_s: Option<f64>,
    /// Floating-point operations by formula, over the executor's time.
    pub achieved_flop_per_s: Option<f64>,
    /// The two rates over the GPUs that took part.
    pub achieved_bytes_per_s_per_gpu: Option<f64>,
    pub achieved_flop_per_s_per_gpu: Option<f64>,
    /// Shares of the measured roofs, percent: MBU and MFU, of all devices together as of each.
    pub bandwidth_utilization_percent: Option<f64>,
    pub flop_utilization_percent: Option<f64>,
    /// Part of the ranks' time in exchanges between them, waits included, percent; over `timed_steps`.
    pub communication_share_percent: Option<f64>,
    /// Part of the ranks' time in which they waited in exchanges for the slowest of them, percent.
    pub wait_share_percent: Option<f64>,
    /// Steps of which it is known how their time divides: all that a host ran, one in eight that devices ran.
    #[serde(default)]
    pub timed_steps: u64,
    /// What each rank brought to the exchanges of a step.
    pub mean_communication_bytes_per_step: Option<f64>,
    /// Tokens of a layer's fullest expert over the mean of its experts: mean over the sparse layers, and the worst.
    pub mean_expert_imbalance: Option<f64>,
    pub max_expert_imbalance: Option<f64>,
    /// Arrival to hand-over to the engine: the harness's own delay. All requests.
    pub mean_submit_delay_ms: Option<f64>,
    pub max_submit_delay_ms: Option<f64>,
    /// Time of a step outside the executor: scheduling, packing, events.
    pub mean_host_ms_per_step: Option<f64>,
    /// The same, of all step time, percent.
    pub host_share_percent: Option<f64>,
    pub peak_rss_bytes: Option<u64>,
}

impl Extended {
    /// Name and value, latencies flat among the others.
    pub fn entries(&self) -> Map<String, Value> {
        entries(self)
    }
}

fn entries(metrics: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(metrics) {
        Ok(Value::Object(map)) => map,
        // A struct of numbers and strings always becomes an object.
        _ => Map::new(),
    }
}
