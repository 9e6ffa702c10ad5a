//! Sums of the requests against sums of the steps, and both against what was asked.

use super::{Evidence, held, name_of};
use crate::ground::FinishReason;
use crate::ground::results::{AtEnd, Check};
use crate::metrics::timing::succeeded;

/// Of memory and arithmetic, part above the measured roof that a rate may reach: the roof is a loop's best.
const ABOVE_ROOF: f64 = 1.1;
/// Weights that no cache of a processor holds: smaller ones are not read from memory in each step.
const LARGE: u64 = 256 << 20;

#[derive(Debug, Default)]
struct Sums {
    requests: usize,
    prompt: u64,
    cached: u64,
    output: u64,
    decoded: u64,
    preempted: u64,
    all_succeeded: bool,
}

pub fn checks(evidence: &Evidence, run: usize) -> Vec<Check> {
    let name = |check: &str| name_of(evidence, run, check);
    let sums = sums(evidence, run);
    let mut checks = vec![
        held(
            name("requests are those asked for"),
            asked(evidence, run, &sums),
        ),
        held(
            name("steps add up to the requests"),
            steps(evidence, run, &sums),
        ),
        held(name("blocks of the KV cache"), blocks(evidence, run)),
    ];
    checks.push(held(name("prefix cache"), prefixes(evidence, run)));
    checks.push(held(
        name("rates stay below the roofs"),
        roofs(evidence, run),
    ));
    checks
}

fn sums(evidence: &Evidence, run: usize) -> Sums {
    let mut sums = Sums {
        all_succeeded: true,
        ..Sums::default()
    };
    for record in &evidence.raw[run].requests {
        sums.requests += 1;
        sums.prompt += record.prompt_tokens as u64;
        sums.cached += record.cached_tokens.unwrap_or(0) as u64;
        sums.output += record.output_tokens as u64;
        sums.decoded += record.output_tokens.saturating_sub(1) as u64;
        sums.preempted += u64::from(record.preemptions);
        sums.all_succeeded &= succeeded(&record);
    }
    sums
}

/// Number, lengths, order.
fn asked(evidence: &Evidence, run: usize, sums: &Sums) -> Result<String, String> {
    let results = &evidence.results;
    let scenario = &results.runs[run].scenario;
    let is_bounded = scenario.duration_s.is_some() || results.partial;
    if let Some(asked) = scenario.requests
        && (sums.requests > asked || sums.requests < asked && !is_bounded)
    {
        return Err(format!("{} requests, {asked} asked for", sums.requests));
    }
    let mut last = None;
    for record in &evidence.raw[run].requests {
        if last.is_some_and(|last| record.id != last + 1) {
            return Err(format!(
                "request {} does not follow the one before it",
                record.id
            ));
        }
        last = Some(record.id);
        let late = scenario.duration_s.filter(|end| record.arrival >= *end);
        if let Some(end) = late {
            return Err(format!(
                "request {} came at {} s, and requests came for {end} s",
                record.id, record.arrival
            ));
        }
        let asked_for = match record.finish {
            Some(FinishReason::Cancelled) => scenario.cancel.is_some(),
            Some(FinishReason::Cut) => scenario.at_end == Some(AtEnd::Cut) || results.partial,
            _ => true,
        };
        if !asked_for {
            return Err(format!(
                "request {} was given up, which nothing asked for",
                record.id
            ));
        }
        let input = scenario
            .input_len
            .filter(|len| *len != record.prompt_tokens);
        if let Some(len) = input {
            return Err(format!(
                "request {} has {} prompt tokens, {len} asked for",
                record.id, record.prompt_tokens
            ));
        }
        let output = scenario
            .output_len
            .filter(|_| !scenario.stop_at_eos && succeeded(&record));
        if let Some(len) = output.filter(|len| *len != record.output_tokens) {
            return Err(format!(
                "request {} has {} output tokens, {len} asked for",
                record.id, record.output_tokens
            ));
        }
    }
    Ok(format!("{} requests", sums.requests))
}

/// Tokens and preemptions.
fn steps(evidence: &Evidence, run: usize, sums: &Sums) -> Result<String, String> {
    let (mut output, mut prefill, mut decode, mut preempted) = (0_u64, 0_u64, 0_u64, 0_u64);
    for step in &evidence.raw[run].steps {
        output += step.output_tokens as u64;
        prefill += step.prefill_tokens as u64;
        decode += step.decode_tokens as u64;
        preempted += step.preempted as u64;
    }
    let mut equal = vec![
        ("output tokens", sums.output, output),
        ("preemptions", sums.preempted, preempted),
    ];
    // After a preemption a prompt is computed again.
    let once = sums.preempted == 0 && sums.all_succeeded && !evidence.results.partial;
    // A step that is planned before the last token is known may have an entry of a request that ended.
    let stops = evidence.results.runs[run].scenario.stop_at_eos;
    if once && !stops {
        let computed = sums.prompt.saturating_sub(sums.cached);
        equal.push(("computed prompt tokens", computed, prefill));
        equal.push(("decoded tokens", sums.decoded, decode));
    }
    for (what, requests, steps) in equal {
        if requests != steps {
            return Err(format!(
                "{what}: {requests} by the requests, {steps} by the steps"
            ));
        }
    }
    Ok(format!(
        "{output} output tokens, {prefill} prompt tokens by both"
    ))
}

/// What was found is whole blocks, and never the last token: something must be left to sample from.
fn prefixes(evidence: &Evidence, run: usize) -> Result<String, String> {
    let engine = &evidence.results.engine;
    let mut found = 0;
    for record in &evidence.raw[run].requests {
        let Some(cached) = record.cached_tokens else {
            continue;
        };
        let id = record.id;
        if !engine.prefix_cache {
            return Err(format!(
                "request {id} has {cached} cached tokens, and the cache was off"
            ));
        }
        let whole = cached.is_multiple_of(engine.block_size.max(1));
        if !whole || cached >= record.prompt_tokens {
            return Err(format!(
                "request {id} has {cached} cached tokens of {} in blocks of {}",
                record.prompt_tokens, engine.block_size
            ));
        }
        found += cached;
    }
    Ok(format!("{found} prompt tokens found"))
}

fn blocks(evidence: &Evidence, run: usize) -> Result<String, String> {
    let engine = &evidence.results.engine;
    let mut most = 0;
    for step in &evidence.raw[run].steps {
        let number = step.step;
        if step.kv_blocks_used > step.kv_blocks_total {
            return Err(format!(
                "step {number} uses {} blocks of {}",
                step.kv_blocks_used, step.kv_blocks_total
            ));
        }
        if step.kv_blocks_total != 0 && step.kv_blocks_total != engine.num_kv_blocks {
            return Err(format!(
                "step {number} has {} blocks, the engine {}",
                step.kv_blocks_total, engine.num_kv_blocks
            ));
        }
        if step.running > engine.max_num_seqs {
            return Err(format!(
                "step {number} has {} requests running, {} may",
                step.running, engine.max_num_seqs
            ));
        }
        let tokens = step.prefill_tokens + step.decode_tokens;
        if tokens > engine.max_num_batched_tokens {
            return Err(format!(
                "step {number} has {tokens} tokens, {} may be in one",
                engine.max_num_batched_tokens
            ));
        }
        most = most.max(step.kv_blocks_used);
    }
    Ok(format!("at most {most} of {} in use", engine.num_kv_blocks))
}

fn roofs(evidence: &Evidence, run: usize) -> Result<String, String> {
    let Some(roofs) = evidence.results.hardware.roofs else {
        return Ok("no roof was measured".to_owned());
    };
    let extended = &evidence.results.runs[run].extended;
    let weights = evidence
        .results
        .engine
        .ranks
        .iter()
        .map(|rank| rank.weights_bytes);
    let is_large = weights.max().unwrap_or(0) > LARGE;
    let bytes = extended.achieved_bytes_per_s.filter(|_| is_large);
    for (what, rate, roof) in [
        ("bytes", bytes, roofs.read_bytes_per_s),
        ("operations", extended.achieved_flop_per_s, roofs.flop_per_s),
    ] {
        if let Some(rate) = rate.filter(|rate| *rate > ABOVE_ROOF * roof) {
            return Err(format!(
                "{rate:.3e} {what} a second, above the roof of {roof:.3e}"
            ));
        }
    }
    Ok("as formulas count them, on the roofs of this run".to_owned())
}
