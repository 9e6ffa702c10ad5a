//! The verdict in a sentence, and what vLLM itself prints.

use super::ask::{Ask, Engine, GIB};
use super::ledger::Ledger;
use super::verdict::{Capacity, Judged, Verdict};

/// Why, with the numbers.
pub(super) fn reason(ask: &Ask, judged: &Judged) -> String {
    if let Some(broken) = &judged.broken {
        let rule = broken.rule.trim_end_matches('.');
        return match &broken.hint {
            None => rule.to_owned(),
            Some(hint) => format!("{rule}; {hint}"),
        };
    }
    let (Some(ledger), Some(capacity)) = (&judged.ledger, &judged.capacity) else {
        return String::new();
    };
    let longest = judged.settings.max_model_len;
    match judged.verdict {
        Verdict::Fits => fits(ask, ledger, *capacity),
        Verdict::RunsQueued => queued(ask, *capacity),
        Verdict::Len => format!(
            "a request of {} tokens needs {:.2} GiB of KV cache on each GPU, and {:.2} are left for it: {} tokens at most",
            counted(longest as u64),
            needed(ledger, longest),
            ledger.kv_bytes.max(0) as f64 / GIB,
            counted(ledger.longest)
        ),
        Verdict::GraphOom => format!(
            "the budget takes {:.2} of the card's {:.2} GiB, and CUDA graphs need about {:.2} on top of it{}",
            ledger.budget as f64 / GIB,
            ask.card.memory_gib,
            ledger.terms.on_top() as f64 / GIB,
            match ledger.terms.before_start {
                0 => String::new(),
                bytes => format!("; {:.2} are taken before it starts", bytes as f64 / GIB),
            }
        ),
        Verdict::NoKv => no_kv(ask, ledger, judged),
        Verdict::NoWeights => format!(
            "the weights take {:.2} GiB on each GPU{}, and of its {:.2} there are {:.2} for them",
            ledger
                .terms
                .weights
                .gib()
                .max(ledger.terms.while_loading as f64 / GIB),
            match ledger.terms.while_loading > ledger.terms.weights.bytes {
                true => " while they are loaded",
                false => "",
            },
            ask.card.memory_gib,
            ask.card.memory_gib - ledger.terms.overhead.gib()
        ),
        Verdict::Unsupported => String::new(),
    }
}

fn fits(ask: &Ask, ledger: &Ledger, capacity: Capacity) -> String {
    let held = counted(ledger.tokens);
    let each = match ask.replicas() {
        1 => String::new(),
        n => format!(" in each of {n} replicas"),
    };
    match ask.load {
        None => format!(
            "the KV cache holds {held} tokens{each}: {:.2} requests of {} tokens at once",
            capacity.kv,
            counted(capacity.tokens as u64)
        ),
        Some(load) => format!(
            "{} requests of {} tokens run at once: the KV cache holds {held} tokens{each}, {} such requests, and max_num_seqs lets {} in",
            counted(load.concurrency as u64),
            counted(capacity.tokens as u64),
            counted(capacity.kv as u64),
            counted(capacity.seqs as u64)
        ),
    }
}

fn queued(ask: &Ask, capacity: Capacity) -> String {
    let wanted = ask.load.map_or(0, |load| load.concurrency);
    let why = match binds(capacity) {
        Cap::MaxNumSeqs => format!(
            "max_num_seqs lets {} in (the KV cache would hold {})",
            counted(capacity.seqs as u64),
            counted(capacity.kv as u64)
        ),
        Cap::Kv => format!(
            "the KV cache holds {} of {} tokens (max_num_seqs would let {} in)",
            counted(capacity.kv as u64),
            counted(capacity.tokens as u64),
            counted(capacity.seqs as u64)
        ),
    };
    format!(
        "{} of {} requests run at once and the others wait: {why}; {} waves",
        counted(capacity.requests() as u64),
        counted(wanted as u64),
        waves(wanted, capacity).map_or("endless".to_owned(), |n| n.to_string())
    )
}

fn no_kv(ask: &Ask, ledger: &Ledger, judged: &Judged) -> String {
    let terms = &ledger.terms;
    let graphs = match terms.graphs_in_budget {
        true => format!(" + graphs {:.2}", terms.graphs.gib()),
        false => String::new(),
    };
    format!(
        "weights {:.2} + activations {:.2} + overhead {:.2}{graphs} GiB leave nothing of the budget of {:.2} ({} of {:.2}) for a KV cache",
        terms.weights.gib(),
        terms.activations.gib(),
        terms.overhead.gib(),
        ledger.budget as f64 / GIB,
        judged.settings.utilization,
        ask.card.memory_gib
    )
}

/// What vLLM prints when it gives up so.
pub(super) fn message(ask: &Ask, judged: &Judged) -> Option<String> {
    let Engine::Vllm(release) = ask.engine else {
        return None;
    };
    let ledger = judged.ledger.as_ref()?;
    let longest = judged.settings.max_model_len;
    let held = ledger.longest;
    match judged.verdict {
        Verdict::NoWeights => Some("torch.OutOfMemoryError: CUDA out of memory.".to_owned()),
        Verdict::NoKv => Some("No available memory for the cache blocks.".to_owned()),
        Verdict::Len if release.v1 => Some(format!(
            "To serve at least one request with the models's max seq len ({longest}), ({:.2} GiB KV cache is needed, which is larger than the available KV cache memory ({:.2} GiB). Based on the available memory, the estimated maximum model length is {held}.",
            needed(ledger, longest),
            ledger.kv_bytes as f64 / GIB
        )),
        Verdict::Len => Some(format!(
            "The model's max seq len ({longest}) is larger than the maximum number of tokens that can be stored in KV cache ({held})."
        )),
        Verdict::GraphOom => {
            Some("torch.OutOfMemoryError while CUDA graphs are captured.".to_owned())
        }
        Verdict::Fits | Verdict::RunsQueued | Verdict::Unsupported => None,
    }
}

/// What keeps more requests from running at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cap {
    MaxNumSeqs,
    Kv,
}

impl Cap {
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxNumSeqs => "max_num_seqs",
            Self::Kv => "kv_cache",
        }
    }
}

pub(super) fn binds(capacity: Capacity) -> Cap {
    match capacity.seqs as f64 <= capacity.kv {
        true => Cap::MaxNumSeqs,
        false => Cap::Kv,
    }
}

/// Turns in which `wanted` requests run; `None` if none ever does.
pub(super) fn waves(wanted: usize, capacity: Capacity) -> Option<usize> {
    let at_once = capacity.requests();
    (at_once > 0).then(|| wanted.div_ceil(at_once))
}

/// GiB of KV cache on each GPU for one request of `length` tokens.
fn needed(ledger: &Ledger, length: usize) -> f64 {
    ledger.pool.request(length) as f64 / GIB
}

/// With commas between thousands.
pub(super) fn counted(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups = groups.map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}
