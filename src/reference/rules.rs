//! What figures mean: the definitions of this program's own, and those of others that its figures are not divided by.

/// Of `ttft`.
pub const FIRST_TOKEN: &str = "first token less start of the request";
/// Of `tpot`.
pub const PER_TOKEN: &str = "(last token less first token) / (tokens - 1), each request alike";
pub const PER_TOKEN_WEIGHTED: &str =
    "(last token less first token) / (tokens - 1), each request as often as it has tokens";
pub const PER_TOKEN_ZEROS: &str =
    "(last token less first token) / (tokens - 1), an answer of one token counted as 0";
/// Of `itl`.
pub const TOKEN_GAP: &str = "time between two tokens, of all requests";
pub const CHUNK_GAP: &str = "time between two chunks of the stream, of all requests";
pub const CHUNK_GAP_SHARED: &str = "time between two chunks of the stream over the chunk's tokens";
pub const CHUNK_GAP_ZEROS: &str =
    "time between two tokens, 0 between those of one chunk of the stream";
/// Of `e2el`.
pub const WHOLE: &str = "last token less start of the request";
/// Of `normalized_latency`.
pub const WHOLE_PER_TOKEN: &str = "latency of the request / its tokens, the first one's time in it";
/// Of the whole run.
pub const DURATION: &str = "first request to last token";
pub const SUCCEEDED: &str = "requests that succeeded";
pub const FAILED: &str = "requests that failed";
pub const INPUT: &str = "prompt tokens of requests that succeeded";
pub const OUTPUT: &str = "output tokens of requests that succeeded";
pub const REQUEST_RATE: &str = "requests that succeeded / duration";
pub const REQUEST_RATE_ALL: &str = "all requests, failed ones too / duration";
pub const INPUT_RATE: &str = "prompt tokens / duration";
pub const OUTPUT_RATE: &str = "output tokens / duration";
pub const TOTAL_RATE: &str = "prompt and output tokens / duration";
pub const MOMENTARY: &str = "mean of the momentary rate, weighted by time";
pub const IN_FLIGHT: &str = "latencies of all requests, summed, / duration";
pub const GOODPUT: &str = "requests that met every objective / duration";

/// Behind the definition of a percentile that falls on a value of the sample.
pub const STEP: &str = "; percentiles are values of the sample, not between two";
/// What no definition of here says.
const OWN: &str = "as candlepower defines it";

/// Beginnings of the names of statistics over requests.
const STATISTICS: [&str; 5] = ["mean_", "median_", "std_", "min_", "max_"];

/// The latency that a figure such as `p99_tpot_ms` is a statistic of: `tpot`.
pub fn latency(metric: &str) -> Option<&str> {
    let name = metric.strip_suffix("_ms")?;
    let statistic = STATISTICS.iter().find_map(|s| name.strip_prefix(s));
    statistic.or_else(|| {
        let (percent, rest) = name.strip_prefix('p')?.split_once('_')?;
        is_percent(percent).then_some(rest)
    })
}

/// `99`, `99.9`.
pub fn is_percent(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Whether it is read off the order of the sample.
pub fn is_percentile(metric: &str) -> bool {
    latency(metric).is_some() && (metric.starts_with('p') || metric.starts_with("median_"))
}

/// The definition of a figure of `extended`.
pub fn ours(metric: &str) -> &'static str {
    match latency(metric).unwrap_or(metric) {
        "ttft" => FIRST_TOKEN,
        "tpot" => PER_TOKEN,
        "itl" => TOKEN_GAP,
        "e2el" => WHOLE,
        "normalized_latency" => WHOLE_PER_TOKEN,
        "duration" => DURATION,
        "completed" => SUCCEEDED,
        "failed" => FAILED,
        "total_input_tokens" => INPUT,
        "total_output_tokens" => OUTPUT,
        "request_throughput" => REQUEST_RATE,
        "request_goodput" => GOODPUT,
        "input_throughput" => INPUT_RATE,
        "output_throughput" => OUTPUT_RATE,
        "total_token_throughput" => TOTAL_RATE,
        "mean_in_flight" => IN_FLIGHT,
        _ => OWN,
    }
}

/// The definition of a figure of `extended`, within a sentence.
pub fn told(metric: &str) -> &'static str {
    match ours(metric) {
        OWN => "docs/metrics.md says",
        stated => stated,
    }
}

/// The figure of `extended` that a metric of the source report is, and what to divide that by.
pub fn twin(metric: &str) -> Option<(&'static str, f64)> {
    const MS: f64 = 1e3;
    Some(match metric {
        "successful_requests" => ("completed", 1.0),
        "failed_requests" => ("failed", 1.0),
        "requests_per_sec" => ("request_throughput", 1.0),
        "avg_latency" => ("mean_e2el_ms", MS),
        "min_latency" => ("min_e2el_ms", MS),
        "max_latency" => ("max_e2el_ms", MS),
        "p90_latency" => ("p90_e2el_ms", MS),
        "p95_latency" => ("p95_e2el_ms", MS),
        "p99_latency" => ("p99_e2el_ms", MS),
        "avg_first_token_latency" => ("mean_ttft_ms", MS),
        "avg_tpot" => ("mean_tpot_ms", MS),
        "p95_tpot" => ("p95_tpot_ms", MS),
        "min_tpot" => ("min_tpot_ms", MS),
        "max_tpot" => ("max_tpot_ms", MS),
        "total_tokens_generated" => ("total_output_tokens", 1.0),
        "input_tokens_per_sec" => ("input_throughput", 1.0),
        "output_tokens_per_sec" | "overall_total_throughput" => ("output_throughput", 1.0),
        "total_duration" => ("duration", 1.0),
        _ => return None,
    })
}
