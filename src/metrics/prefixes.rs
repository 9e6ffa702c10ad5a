//! What of the prompts was found in the prefix cache, and what was computed.

use super::quantile::ratio;
use super::requests::Requests;
use super::{NotObserved, reason};
use crate::ground::results::Extended;

const PERCENT: f64 = 100.0;

pub(crate) fn prefixes(extended: &mut Extended, requests: &Requests, nulls: &mut NotObserved) {
    let cached = requests.cached_tokens;
    let unseen = match requests.successful {
        0 => reason::NO_SUCCESS,
        _ => reason::NO_PREFIX_CACHE,
    };
    let why = |observed| if cached.is_some() { observed } else { unseen };
    extended.total_cached_tokens = nulls.note("total_cached_tokens", cached, unseen);
    let input = requests.input_tokens;
    let hits = cached.and_then(|cached| ratio(PERCENT * cached as f64, input as f64));
    extended.prefix_cache_hit_percent =
        nulls.note("prefix_cache_hit_percent", hits, why(reason::NO_SUCCESS));
    let no_rate = reason::no_rate(requests.window);
    let rate = |tokens: u64| ratio(tokens as f64, requests.window?.length());
    extended.cached_input_throughput = nulls.note(
        "cached_input_throughput",
        cached.and_then(rate),
        why(no_rate),
    );
    // Without a cache every prompt is computed.
    let computed = input.saturating_sub(cached.unwrap_or(0));
    extended.computed_input_throughput =
        nulls.note("computed_input_throughput", rate(computed), no_rate);
}
