//! Words of other tools: those that mean the same are taken, of the others the message says what to use.
//!
//! Flags whose meaning is the same under another name are hidden aliases of ours, beside each flag.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// Words in place of ours, with one dash and several letters, which are no flags to the parser.
const WORDS: [(&str, &str); 3] = [
    ("-tp", "--tp"),
    ("-ctk", "--kv-cache-dtype"),
    ("-pp", "--pp"),
];

const SERVERLESS: &str = "everything runs in one process here, without a server; leave it out";
const LENGTHS: &str = "--input-len and --output-len draw them, such as uniform:64-1024; --dataset FILE.jsonl has lengths of its own";
const ALWAYS: &str = "all metrics are always there: --format full, or --json";

/// Flags of vLLM, llama-bench and others that have no equal here.
const TIPS: [(&str, &str); 31] = [
    ("--host", SERVERLESS),
    ("--port", SERVERLESS),
    ("--base-url", SERVERLESS),
    ("--backend", SERVERLESS),
    ("--endpoint", SERVERLESS),
    ("--api-key", SERVERLESS),
    ("--served-model-name", SERVERLESS),
    ("--endpoint-type", SERVERLESS),
    ("--tokenizer", "the tokenizer is the one beside the model"),
    (
        "--trust-remote-code",
        "no code of a model is ever run; leave it out",
    ),
    (
        "--load-format",
        "--dummy-weights is random weights; files are safetensors",
    ),
    (
        "--dataset-name",
        "prompts are random ids; --dataset FILE.jsonl plays a file's",
    ),
    ("--random-range-ratio", LENGTHS),
    ("--sharegpt-output-len", LENGTHS),
    (
        "--batch-size",
        "--concurrency is how many requests run at a time",
    ),
    (
        "--num-iters",
        "--requests is how many are played, --repeats how often",
    ),
    (
        "--num-iters-warmup",
        "--warmup is how many requests come before",
    ),
    ("--metric-percentiles", ALWAYS),
    ("--percentile-metrics", ALWAYS),
    (
        "--save-result",
        "--out DIR writes everything, vllm.json among it",
    ),
    (
        "--save-detailed",
        "--out DIR writes every token's time to requests.jsonl",
    ),
    (
        "--result-dir",
        "--out DIR writes everything, vllm.json among it",
    ),
    (
        "--result-filename",
        "--out DIR writes everything, vllm.json among it",
    ),
    ("--disable-tqdm", "--quiet shows no progress"),
    (
        "--pipeline-parallel-size",
        "this engine splits by --tp alone; candlepower fit --pp answers for vLLM's stages",
    ),
    (
        "--pp",
        "this engine splits by --tp alone; candlepower fit --pp answers for vLLM's stages",
    ),
    (
        "--data-parallel-size",
        "replicas do not meet: run one, and count it as often as there are",
    ),
    (
        "--quantization",
        "weights are as the checkpoint stores them",
    ),
    (
        "--cpu-offload-gb",
        "weights lie on the device; --layers N plays a slice of a model that is too large",
    ),
    (
        "--n-gpu-layers",
        "--device cpu or cuda holds the whole model; --layers N plays a slice",
    ),
    (
        "--flash-attn",
        "attention has one way here, which never writes its scores; leave it out",
    ),
];

/// Flags of `bench` that another command has no use for.
const ELSEWHERE: [(&str, &str, &str); 3] = [
    (
        "capacity",
        "--concurrency",
        "it is what is looked for; --min and --max bound the search",
    ),
    (
        "capacity",
        "--request-rate",
        "--search rate looks for it; --min and --max bound the search",
    ),
    (
        "capacity",
        "--out",
        "the answer is printed; --json > FILE keeps it",
    ),
];

/// `words` in ours.
pub fn rewritten(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let takes_limits = |word: &str| ["--goodput", "--slo"].contains(&word);
    let mut in_limits = false;
    for word in words {
        let text = word.to_str().unwrap_or_default();
        // `--goodput ttft:1 tpot:2`: further limits are words of their own.
        let is_limit = in_limits && !text.starts_with('-') && text.contains(':');
        let is_flag = |last: &OsString| last.to_str().is_some_and(takes_limits);
        if is_limit && let Some(limits) = out.last_mut().filter(|last| !is_flag(last)) {
            limits.push(",");
            limits.push(text);
            continue;
        }
        in_limits = takes_limits(text) || is_limit;
        let ours = WORDS.iter().find(|(theirs, _)| *theirs == text);
        out.push(ours.map_or(word.clone(), |(_, ours)| (*ours).into()));
    }
    out
}

/// `--max-concurrency` bounds a rate; without one it is how many are in flight.
pub fn capped(words: Vec<OsString>) -> Vec<OsString> {
    const CAP: &str = "--max-concurrency";
    let is = |word: &OsString, flag: &str| {
        let rest = word.to_str().and_then(|word| word.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if words.iter().any(|word| is(word, "--request-rate")) {
        return words;
    }
    let ours = |word: OsString| match word.to_str() {
        Some(text) if is(&word, CAP) => text.replacen(CAP, "--concurrency", 1).into(),
        _ => word,
    };
    words.into_iter().map(ours).collect()
}

/// An error about another tool's flag, or one of another command, says what to use.
pub fn explained(mut error: Error, command: &str) -> Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let name = flag.split('=').next().unwrap_or(flag);
    let elsewhere = ELSEWHERE.iter();
    let mut elsewhere = elsewhere.filter(|(of, flag, _)| *of == command && *flag == name);
    let elsewhere = elsewhere.next().map(|(_, _, tip)| *tip);
    let tip = || TIPS.iter().find(|(theirs, _)| *theirs == name);
    match elsewhere.or_else(|| Some(tip()?.1)) {
        Some(tip) => {
            error.remove(ContextKind::SuggestedArg);
            with_tip(error, tip)
        }
        None => error,
    }
}

pub fn with_tip(mut error: Error, tip: &str) -> Error {
    let tips = ContextValue::StyledStrs(vec![tip.to_owned().into()]);
    error.insert(ContextKind::Suggested, tips);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let words = rewritten(text.split(' ').map(OsString::from));
        let words = words.iter().map(|word| word.to_str().unwrap());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_flag_without_an_equal_says_what_to_use() {
        for (flag, tip) in TIPS {
            let line = ["candlepower", "bench", flag].map(OsString::from);
            let said = super::super::parse(line).err().map(|e| e.to_string());
            let said = said.unwrap_or_default();
            assert!(said.contains("unexpected argument"), "{flag}: {said}");
            assert!(said.contains(tip), "{flag}: {said}");
        }
    }

    #[test]
    fn a_flag_of_bench_says_what_another_command_has_in_its_place() {
        for (command, flag, tip) in ELSEWHERE {
            let line = ["candlepower", command, "--slo", "tpot:50", flag, "8"];
            let said = super::super::parse(line.map(OsString::from)).err();
            let said = said.map(|e| e.to_string()).unwrap_or_default();
            assert!(said.contains(tip), "{command} {flag}: {said}");
        }
    }

    #[test]
    fn limits_may_be_words_of_their_own() {
        let ours = "bench --goodput ttft:1,tpot:2 --tp 2";
        assert_eq!(words("bench --goodput ttft:1 tpot:2 -tp 2"), ours);
        assert_eq!(words(ours), ours);
        assert_eq!(
            words("capacity --slo ttft:1 tpot:2 --json"),
            "capacity --slo ttft:1,tpot:2 --json"
        );
        assert_eq!(
            words("bench --goodput --json a:b"),
            "bench --goodput --json a:b"
        );
        assert_eq!(words("models a:b c:d"), "models a:b c:d");
    }
}
