//! The modern metric set, under vLLM's names and by its formulas, with what an engine sees from
//! inside beside it.

use super::experts::experts;
use super::prefixes;
use super::quantile::{Sample, fewest_for, is_trusted, ratio};
use super::requests::Requests;
use super::steps::{StepTotals, Steps};
use super::{MeasureInput, NotObserved, reason};
use crate::ground::results::metric_set::Latency;
use crate::ground::results::{Extended, Roofs, SampleCounts};
use crate::telemetry::peak_rss;

const MS: f64 = 1e3;
const PERCENT: f64 = 100.0;
const MEDIAN: u32 = 50;
const P90: u32 = 90;
const P95: u32 = 95;
const P99: u32 = 99;

pub(crate) fn extended(
    input: &MeasureInput,
    requests: &Requests,
    steps: &Steps,
    nulls: &mut NotObserved,
) -> Extended {
    let mut extended = Extended::default();
    counts(&mut extended, requests);
    rates(&mut extended, input, requests, nulls);
    prefixes::prefixes(&mut extended, requests, nulls);
    latencies(&mut extended, requests, nulls);
    let speed = extended.tpot.mean_tpot_ms.and_then(|ms| ratio(MS, ms));
    let why = match extended.tpot.mean_tpot_ms {
        Some(_) => reason::NO_TIME,
        None if requests.successful == 0 => reason::NO_SUCCESS,
        None => reason::NO_SECOND_TOKEN,
    };
    extended.decode_speed_per_user = nulls.note("decode_speed_per_user", speed, why);
    load(&mut extended, requests, nulls);
    steady(&mut extended, requests, steps, nulls);
    objective(&mut extended, requests, nulls);
    engine(&mut extended, input, &steps.totals, nulls);
    experts(&mut extended, input, nulls);
    harness(&mut extended, input, requests, nulls);
    extended
}

fn counts(extended: &mut Extended, requests: &Requests) {
    extended.completed = requests.successful as u64;
    extended.failed = requests.failed as u64;
    extended.cancelled = requests.cancelled as u64;
    extended.cut_off = requests.cut_off as u64;
    extended.total_input_tokens = requests.input_tokens;
    extended.total_output_tokens = requests.output_tokens;
    extended.failed_output_tokens = requests.failed_output_tokens;
    extended.cancelled_output_tokens = requests.cancelled_output_tokens;
    extended.preemptions = requests.preemptions;
}

fn rates(
    extended: &mut Extended,
    input: &MeasureInput,
    requests: &Requests,
    nulls: &mut NotObserved,
) {
    let window = requests.window;
    extended.duration = nulls.note("duration", window.map(|w| w.length()), reason::NO_TOKEN);
    let (tokens_in, tokens_out) = (extended.total_input_tokens, extended.total_output_tokens);
    let mut rate = |name, amount: u64| {
        let value = window.and_then(|w| ratio(amount as f64, w.length()));
        nulls.note(name, value, reason::no_rate(window))
    };
    extended.request_throughput = rate("request_throughput", requests.successful as u64);
    extended.input_throughput = rate("input_throughput", tokens_in);
    extended.output_throughput = rate("output_throughput", tokens_out);
    extended.total_token_throughput = rate("total_token_throughput", tokens_in + tokens_out);
    let others = requests.failed_output_tokens + requests.cancelled_output_tokens;
    extended.generated_throughput = rate("generated_throughput", tokens_out + others);
    let gpus = input.gpus.len();
    let per_gpu = extended
        .output_throughput
        .and_then(|total| ratio(total, gpus as f64));
    let why = if gpus == 0 {
        reason::NO_GPU
    } else {
        reason::no_rate(window)
    };
    extended.output_throughput_per_gpu = nulls.note("output_throughput_per_gpu", per_gpu, why);
}

fn latencies(extended: &mut Extended, requests: &Requests, nulls: &mut NotObserved) {
    let (no_stamp, no_gap) = match requests.successful {
        0 => (reason::NO_SUCCESS, reason::NO_SUCCESS),
        _ => (reason::NO_STAMP, reason::NO_SECOND_TOKEN),
    };
    let mut n = SampleCounts::default();
    let mut summary = Summary {
        nulls,
        low_confidence: super::source::low_confidence(requests),
        error: 0.0,
    };
    let samples = &requests.samples;
    (extended.ttft, n.ttft) = summary.of(&samples.ttft, no_stamp);
    (extended.tpot, n.tpot) = summary.of(&samples.tpot, no_gap);
    (extended.itl, n.itl) = summary.of(&samples.itl, no_gap);
    (extended.e2el, n.e2el) = summary.of(&samples.e2el, no_stamp);
    (extended.queue, n.queue) = summary.of(&samples.queue, no_stamp);
    (extended.ttft_service, n.ttft_service) = summary.of(&samples.ttft_service, no_stamp);
    (extended.normalized_latency, n.normalized_latency) =
        summary.of(&samples.normalized_latency, no_stamp);
    extended.low_confidence = summary.low_confidence;
    extended.percentile_error_percent = PERCENT * summary.error;
    extended.percentile_n = n;
}

/// Summarises latencies and keeps what their sample sizes do not support.
struct Summary<'a> {
    nulls: &'a mut NotObserved,
    low_confidence: Vec<String>,
    /// Part of a percentile by which it may be off: the largest of all.
    error: f64,
}

impl Summary<'_> {
    /// From seconds; milliseconds out, with the number of values.
    fn of<L: Latency>(&mut self, seconds: &Option<Sample>, empty: &str) -> (L, usize) {
        let Some(sample) = seconds else {
            let values = L::NAMES.map(|name| self.nulls.note(name, None, empty));
            return (L::from_values(values), 0);
        };
        self.error = self.error.max(sample.percentile_error());
        let [_, _, _, p50, p90, p95, p99, _] = L::NAMES;
        let values = [
            Some(sample.mean() * MS),
            Some(sample.percentile(MEDIAN) * MS),
            Some(sample.std() * MS),
            self.percentile(sample, MEDIAN, p50),
            self.percentile(sample, P90, p90),
            self.percentile(sample, P95, p95),
            self.percentile(sample, P99, p99),
            Some(sample.max() * MS),
        ];
        (L::from_values(values), sample.count())
    }

    fn percentile(&mut self, sample: &Sample, percent: u32, name: &str) -> Option<f64> {
        let (n, fewest) = (sample.count(), fewest_for(percent));
        if n >= fewest && !is_trusted(n, percent) {
            self.low_confidence.push(name.to_owned());
        }
        let value = (n >= fewest).then(|| sample.percentile(percent) * MS);
        let why = format!("p{percent} needs {fewest} values or more, there are {n}");
        self.nulls.note(name, value, &why)
    }
}

fn load(extended: &mut Extended, requests: &Requests, nulls: &mut NotObserved) {
    let window = requests.window;
    let in_flight = &requests.in_flight;
    let mean = window.and_then(|w| in_flight.mean(w));
    extended.mean_in_flight = nulls.note("mean_in_flight", mean, reason::no_rate(window));
    extended.max_in_flight = in_flight.max() as u64;
    extended.max_output_tokens_per_s = nulls.note(
        "max_output_tokens_per_s",
        requests.busiest_second,
        reason::NO_SUCCESS,
    );
}

fn steady(extended: &mut Extended, requests: &Requests, steps: &Steps, nulls: &mut NotObserved) {
    let window = requests.window;
    let (steady, why) = match &steps.steady {
        Ok(steady) => (Some(*steady), ""),
        Err(why) => (None, why.as_str()),
    };
    let share = steady.zip(window).and_then(|(steady, whole)| {
        let inside = steady.end.min(whole.end) - steady.start.max(whole.start);
        ratio(PERCENT * inside.max(0.0), whole.length())
    });
    let throughput = steady.and_then(|w| ratio(requests.steady_tokens as f64, w.length()));
    extended.steady_start = nulls.note("steady_start", steady.map(|w| w.start), why);
    extended.steady_end = nulls.note("steady_end", steady.map(|w| w.end), why);
    extended.steady_output_throughput = nulls.note("steady_output_throughput", throughput, why);
    let why = if steady.is_some() {
        reason::no_rate(window)
    } else {
        why
    };
    extended.steady_share_percent = nulls.note("steady_share_percent", share, why);
}

fn objective(extended: &mut Extended, requests: &Requests, nulls: &mut NotObserved) {
    let (goodput, window) = (requests.goodput, requests.window);
    let good = goodput.map(|g| g.good as f64);
    let rate = good.and_then(|good| ratio(good, window?.length()));
    let attainment = good.and_then(|good| ratio(PERCENT * good, requests.judged() as f64));
    let why = |with_objective| match goodput {
        None => "no objective was given (--goodput)",
        Some(_) => with_objective,
    };
    extended.request_goodput = nulls.note("request_goodput", rate, why(reason::no_rate(window)));
    extended.goodput_attainment_percent = nulls.note(
        "goodput_attainment_percent",
        attainment,
        why(reason::NO_END),
    );
    extended.goodput_null_misses = nulls.note(
        "goodput_null_misses",
        goodput.map(|g| g.null_misses as u64),
        why(reason::NO_END),
    );
}

fn engine(
    extended: &mut Extended,
    input: &MeasureInput,
    totals: &StepTotals,
    nulls: &mut NotObserved,
) {
    let no_step = |why| {
        if totals.steps == 0 {
            reason::NO_STEP
        } else {
            why
        }
    };
    extended.steps = totals.steps as u64;
    let most = (totals.steps > 0).then_some(totals.max_scheduled as u64);
    extended.max_batch_size = nulls.note("max_batch_size", most, reason::NO_STEP);
    let mut note = |name, value, why| nulls.note(name, value, no_step(why));
    extended.mean_batch_size = note(
        "mean_batch_size",
        totals.per_step(totals.scheduled as f64),
        reason::NO_STEP,
    );
    extended.mean_tokens_per_step = note(
        "mean_tokens_per_step",
        totals.per_step(totals.tokens as f64),
        reason::NO_STEP,
    );
    let percent = |share: f64| share * PERCENT;
    extended.mean_kv_occupancy_percent = note(
        "mean_kv_occupancy_percent",
        totals.mean_kv().map(percent),
        reason::NO_KV,
    );
    extended.max_kv_occupancy_percent = note(
        "max_kv_occupancy_percent",
        totals.max_kv().map(percent),
        reason::NO_KV,
    );
    extended.mean_host_ms_per_step = note(
        "mean_host_ms_per_step",
        totals.per_step(totals.host_seconds() * MS),
        reason::NO_STEP,
    );
    extended.host_share_percent = note(
        "host_share_percent",
        ratio(PERCENT * totals.host_seconds(), totals.seconds),
        reason::NO_STEP_TIME,
    );
    let exchanged = totals.communication_bytes > 0.0;
    extended.communication_share_percent = note(
        "communication_share_percent",
        totals.communication_share().map(percent),
        match exchanged {
            true => reason::EXCHANGE_NOT_TIMED,
            false => reason::NO_EXCHANGE,
        },
    );
    extended.wait_share_percent = note(
        "wait_share_percent",
        totals.wait_share().map(percent),
        match (exchanged, totals.communication_share()) {
            (false, _) => reason::NO_EXCHANGE,
            (true, None) => reason::EXCHANGE_NOT_TIMED,
            (true, Some(_)) => reason::WAIT_NOT_TIMED,
        },
    );
    extended.timed_steps = totals.timed_steps as u64;
    extended.mean_communication_bytes_per_step = note(
        "mean_communication_bytes_per_step",
        exchanged
            .then(|| totals.per_step(totals.communication_bytes))
            .flatten(),
        reason::NO_EXCHANGE,
    );
    // Steps of a device that does not count its work carry zeros.
    let counted = |amount: f64| ratio(amount, totals.exec_seconds).filter(|&rate| rate > 0.0);
    extended.achieved_bytes_per_s = note(
        "achieved_bytes_per_s",
        counted(totals.bytes),
        reason::NOT_COUNTED,
    );
    extended.achieved_flop_per_s = note(
        "achieved_flop_per_s",
        counted(totals.flops),
        reason::NOT_COUNTED,
    );
    let (bytes, flops) = (extended.achieved_bytes_per_s, extended.achieved_flop_per_s);
    let gpus = input.gpus.len() as f64;
    let no_gpu = match input.gpus {
        [] => reason::NO_GPU,
        _ => no_step(reason::NOT_COUNTED),
    };
    let mut per_gpu = |name, rate: Option<f64>| {
        let each = rate.and_then(|rate| ratio(rate, gpus));
        nulls.note(name, each, no_gpu)
    };
    extended.achieved_bytes_per_s_per_gpu = per_gpu("achieved_bytes_per_s_per_gpu", bytes);
    extended.achieved_flop_per_s_per_gpu = per_gpu("achieved_flop_per_s_per_gpu", flops);
    let of_roof = |achieved: Option<f64>, roof: fn(&Roofs) -> f64| {
        ratio(PERCENT * achieved?, roof(input.roofs.as_ref()?))
    };
    let no_roof = match input.roofs {
        None => reason::NO_ROOF,
        Some(_) => reason::NOT_COUNTED,
    };
    extended.bandwidth_utilization_percent = nulls.note(
        "bandwidth_utilization_percent",
        of_roof(bytes, |roofs| roofs.read_bytes_per_s),
        no_roof,
    );
    extended.flop_utilization_percent = nulls.note(
        "flop_utilization_percent",
        of_roof(flops, |roofs| roofs.flop_per_s),
        no_roof,
    );
}

fn harness(
    extended: &mut Extended,
    input: &MeasureInput,
    requests: &Requests,
    nulls: &mut NotObserved,
) {
    let delay = requests.samples.submit_delay.as_ref();
    let mut note = |name, statistic: fn(&Sample) -> f64| {
        let value = delay.map(|sample| statistic(sample) * MS);
        nulls.note(name, value, reason::NOT_SUBMITTED)
    };
    extended.mean_submit_delay_ms = note("mean_submit_delay_ms", Sample::mean);
    extended.max_submit_delay_ms = note("max_submit_delay_ms", Sample::max);
    extended.peak_rss_bytes = nulls.note(
        "peak_rss_bytes",
        peak_rss(input.telemetry),
        reason::NO_TELEMETRY,
    );
}
