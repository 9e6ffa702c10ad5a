//! Which metrics a reader is shown, in what order and unit.

/// One metric. Its value is divided by `scale` to be in `unit`.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub unit: &'static str,
    pub scale: f64,
}

const fn row(name: &'static str, unit: &'static str) -> Row {
    Row {
        name,
        unit,
        scale: 1.0,
    }
}

const GIGA: f64 = 1e9;
const MIB: f64 = (1_u64 << 20) as f64;

/// The source report's metrics, its texts left out (they head the table).
pub const SOURCE: [Row; 31] = [
    row("total_requests", ""),
    row("successful_requests", ""),
    row("failed_requests", ""),
    row("success_rate", "%"),
    row("requests_per_sec", "req/s"),
    row("avg_latency", "s"),
    row("min_latency", "s"),
    row("max_latency", "s"),
    row("p90_latency", "s"),
    row("p95_latency", "s"),
    row("p99_latency", "s"),
    row("avg_first_token_latency", "s"),
    row("avg_tpot", "s"),
    row("p95_tpot", "s"),
    row("min_tpot", "s"),
    row("max_tpot", "s"),
    row("total_tokens_generated", "tok"),
    row("max_throughput", "tok/s"),
    row("min_throughput", "tok/s"),
    row("avg_throughput", "tok/s"),
    row("overall_total_throughput", "tok/s"),
    row("input_tokens_per_sec", "tok/s"),
    row("output_tokens_per_sec", "tok/s"),
    row("total_duration", "s"),
    row("avg_gpu_mem_percent", "%"),
    row("avg_gpu_power_watts", "W"),
    row("avg_gpu_temp_C", "C"),
    row("avg_gpu_clock_gr_mhz", "MHz"),
    row("avg_gpu_clock_mem_mhz", "MHz"),
    row("cpu_percent", "% core"),
    row("ram_percent", "%"),
];

/// Of the extended set, what answers a first question; the rest is in the files.
pub const EXTENDED: [Row; 45] = [
    row("mean_ttft_ms", "ms"),
    row("median_ttft_ms", "ms"),
    row("p99_ttft_ms", "ms"),
    row("mean_tpot_ms", "ms"),
    row("median_tpot_ms", "ms"),
    row("p99_tpot_ms", "ms"),
    row("mean_itl_ms", "ms"),
    row("p99_itl_ms", "ms"),
    row("mean_e2el_ms", "ms"),
    row("p99_e2el_ms", "ms"),
    row("mean_queue_ms", "ms"),
    row("max_queue_ms", "ms"),
    row("decode_speed_per_user", "tok/s"),
    row("total_token_throughput", "tok/s"),
    row("computed_input_throughput", "tok/s"),
    row("cached_input_throughput", "tok/s"),
    row("prefix_cache_hit_percent", "%"),
    row("output_throughput_per_gpu", "tok/s"),
    row("steady_output_throughput", "tok/s"),
    row("steady_share_percent", "%"),
    row("max_output_tokens_per_s", "tok/s"),
    row("request_goodput", "req/s"),
    row("goodput_attainment_percent", "%"),
    row("mean_in_flight", ""),
    row("preemptions", ""),
    row("failed_output_tokens", "tok"),
    row("steps", ""),
    row("mean_batch_size", ""),
    row("max_batch_size", ""),
    row("mean_tokens_per_step", "tok"),
    row("mean_kv_occupancy_percent", "%"),
    row("max_kv_occupancy_percent", "%"),
    Row {
        name: "achieved_bytes_per_s",
        unit: "GB/s",
        scale: GIGA,
    },
    Row {
        name: "achieved_flop_per_s",
        unit: "GFLOP/s",
        scale: GIGA,
    },
    Row {
        name: "achieved_bytes_per_s_per_gpu",
        unit: "GB/s",
        scale: GIGA,
    },
    Row {
        name: "achieved_flop_per_s_per_gpu",
        unit: "GFLOP/s",
        scale: GIGA,
    },
    row("bandwidth_utilization_percent", "%"),
    row("flop_utilization_percent", "%"),
    row("energy_per_output_token_j", "J"),
    row("communication_share_percent", "%"),
    row("wait_share_percent", "%"),
    row("host_share_percent", "%"),
    row("mean_submit_delay_ms", "ms"),
    row("max_submit_delay_ms", "ms"),
    Row {
        name: "peak_rss_bytes",
        unit: "MiB",
        scale: MIB,
    },
];

/// The unit in which the files hold a metric.
pub fn unit(name: &str) -> &'static str {
    let known = SOURCE.iter().chain(EXTENDED.iter());
    let known = known.filter(|row| row.scale == 1.0);
    if let Some(row) = known.into_iter().find(|row| row.name == name) {
        return row.unit;
    }
    let endings = [
        ("_ms", "ms"),
        ("_percent", "%"),
        ("_j", "J"),
        ("idle_power_watts", "W"),
        ("_per_watt", "tok/s/W"),
        ("kwh_per_million_output_tokens", "kWh"),
        ("usd_per_million_input_tokens", "$"),
        ("usd_per_million_output_tokens", "$"),
        ("usd_per_million_tokens", "$"),
        ("_bytes_per_s", "B/s"),
        ("_flop_per_s", "FLOP/s"),
        ("_bytes_per_s_per_gpu", "B/s"),
        ("_flop_per_s_per_gpu", "FLOP/s"),
        ("_bytes", "B"),
        ("_bytes_per_step", "B"),
        ("request_throughput", "req/s"),
        ("_throughput", "tok/s"),
        ("_throughput_per_gpu", "tok/s"),
        ("duration", "s"),
        ("steady_start", "s"),
        ("steady_end", "s"),
        ("_tokens", "tok"),
    ];
    let ending = endings.iter().find(|(ending, _)| name.ends_with(ending));
    ending.map_or("", |(_, unit)| unit)
}
