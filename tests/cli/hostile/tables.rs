//! What is refused is refused within 200 MiB; what is stopped stops.

use std::time::Duration;

use serde_json::json;

use super::child::{End, run};
use super::inputs::{Inputs, growing};
use crate::cli_support::fixture;

const MOST_MIB: i64 = 200;
/// Of a run for a few seconds: records are kept in memory up to a bound, then in a file.
const MOST_RUNNING_MIB: i64 = 300;
/// On a machine that does other things beside.
const LIMIT: Duration = Duration::from_secs(60);
const A_WHILE: Duration = Duration::from_secs(3);
/// From the signal to the end: two seconds of an idle machine.
const LONGEST_STOP: Duration = Duration::from_secs(10);
/// The documented maximum of a count.
const MOST: &str = "2147483648";

struct Case {
    what: &'static str,
    args: Vec<String>,
    says: &'static str,
}

fn case(what: &'static str, args: &[&str], says: &'static str) -> Case {
    Case {
        what,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        says,
    }
}

/// No signal, no panic, and no more memory than any refusal may take.
fn ended_well(case: &Case, end: &End, code: i32, most_mib: i64) {
    let Case { what, says, .. } = case;
    println!(
        "{what:<44} exit {:?}, {:>4} MiB, {:.2} s",
        end.status.code(),
        end.peak_mib,
        end.took.as_secs_f64()
    );
    assert_eq!(end.status.code(), Some(code), "{what}: {end:?}");
    assert!(
        end.stderr.contains(says),
        "{what}: {says:?} is not in {end:?}"
    );
    assert!(!end.stderr.contains("panicked"), "{what}: {end:?}");
    assert!(end.peak_mib < most_mib, "{what}: {} MiB", end.peak_mib);
}

fn refused(cases: &[Case]) {
    for case in cases {
        let end = run(&case.args, None, LIMIT);
        ended_well(case, &end, 2, MOST_MIB);
        assert_eq!(end.stdout, "", "{}", case.what);
        assert!(
            end.stderr.len() < 6000,
            "{}: {}",
            case.what,
            end.stderr.len()
        );
    }
}

#[test]
fn datasets() {
    let inputs = Inputs::new();
    let model = fixture("llama-tiny");
    let bench = |what, file: String, says| {
        case(
            what,
            &[
                "bench",
                "--model",
                &model,
                "--concurrency",
                "1",
                "--dataset",
                &file,
            ],
            says,
        )
    };
    let line = "{\"prompt_ids\":[1,2,3],\"output_len\":1}\n";
    refused(&[
        bench(
            "a prompt of 50 MB",
            inputs.file("a", "{\"prompt\":\"", "word ", 10_000_000, "\"}\n"),
            "line 1: the line has more than",
        ),
        bench(
            "8 million ids in a line of 16 MB",
            inputs.file("b", "{\"prompt_ids\":[", "1,", 8_000_000, "1]}"),
            "line 1",
        ),
        bench(
            "60 MB without a line break",
            inputs.file("c", "", "x", 60_000_000, ""),
            "line 1: the line has more than",
        ),
        bench(
            "a million lines, the last one spoiled",
            inputs.file("d", "", line, 1_000_000, "{oops\n"),
            "line 1000001",
        ),
        bench(
            "ten million brackets",
            inputs.file("e", "{\"messages\":", "[", 10_000_000, "\n"),
            "levels of nesting",
        ),
        bench(
            "an array of a million objects, cut short",
            inputs.file(
                "f",
                "[",
                "{\"prompt_ids\":[1],\"output_len\":1},\n",
                1_000_000,
                "",
            ),
            "cut short",
        ),
        bench("/dev/zero", "/dev/zero".to_owned(), "line 1"),
    ]);
}

#[test]
fn configurations() {
    let inputs = Inputs::new();
    let fit = |what, model: String, says| {
        case(what, &["fit", "--gpu", "h100-sxm", "--model", &model], says)
    };
    let config = |name| inputs.model(name);
    let file = "config.json";
    let pair = "\"k\":{\"v\":[0]},";
    refused(&[
        fit(
            "config.json with an array of 50 million",
            config("a").repeated(file, "{\"a\":[", "1,", 50_000_000, "1]}"),
            "where such a file has",
        ),
        fit(
            "config.json of 10 GB",
            config("b").sparse(file, 10 << 30),
            "10737418240 bytes",
        ),
        fit(
            "config.json with an array of 8 million",
            config("c").repeated(file, "{\"a\":[", "1,", 8_000_000, "1]}"),
            "more values than such a file has",
        ),
        fit(
            "config.json with the same key a million times",
            config("d").repeated(file, "{", pair, 1_000_000, "\"k\":0}"),
            "more values than such a file has",
        ),
        fit(
            "config.json of ten million brackets",
            config("e").repeated(file, "", "[", 10_000_000, ""),
            "levels of nesting",
        ),
        fit(
            "positions stretched by 1e308",
            config("f").config("rope_scaling", json!({"type": "yarn", "factor": 1e308})),
            "factor is 1e308",
        ),
        fit(
            "two thousand million layers",
            config("g").config("num_hidden_layers", json!(1_u64 << 31)),
            "num_hidden_layers is 2147483648",
        ),
        fit(
            "hf_quant_config.json of three million braces",
            config("h").repeated("hf_quant_config.json", "", "{\"a\":", 3_000_000, ""),
            "levels of nesting",
        ),
    ]);
}

#[test]
fn weights() {
    let inputs = Inputs::new();
    let generate = |what, model: String, says| {
        let args = [
            "generate",
            "--prompt-ids",
            "1",
            "--max-tokens",
            "1",
            "--model",
            &model,
        ];
        case(what, &args, says)
    };
    let index = "model.safetensors.index.json";
    let header = |name| inputs.model(name);
    let empty = |i| format!("\"t{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}},");
    let most = 32 << 20;
    let last = "\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
    refused(&[
        generate(
            "an index of 900,000 names in 47 MB",
            header("a").repeated(index, "{\"weight_map\":{", "\"model.layers.0.self_attn.q_proj.weight\":\"a-b.c\",", 900_000, "\"x\":\"y\"}}"),
            "more values than such a file has",
        ),
        generate(
            "an index of 60 MB",
            header("b").repeated(index, "{\"weight_map\":{", "\"model.layers.0.self_attn.q_proj.weight\":\"a-b.c\",", 1_200_000, "\"x\":\"y\"}}"),
            "where such a file has",
        ),
        generate(
            "a header of 32 MB with 500,000 tensors",
            header("c").header(most, "{", &empty, 500_000),
            "more than 300000 tensors",
        ),
        generate(
            "a header of 32 MB with 290,000 tensors",
            header("d").header(most, &format!("{{{last}"), &|i| format!(",{}", empty(i).trim_end_matches(',')), 290_000),
            "do not match config.json",
        ),
        generate(
            "a header of 32 MB of spaces",
            header("e").header(most, "{", &|_| String::new(), 0),
            "do not match config.json",
        ),
        generate(
            "a header with two million notes",
            header("f").header(most, "{\"__metadata__\":{\"a\":\"b\"", &|i| format!(",\"{i}\":\"\""), 2_000_000),
            "model.safetensors",
        ),
        generate(
            "a header of 40 MB",
            header("g").header(40 << 20, "{", &|_| String::new(), 0),
            "33554432 are the most",
        ),
        generate(
            "a header of 2^63 bytes",
            header("h").header(1 << 63, "{", &|_| String::new(), 0),
            "its header has 9223372036854775808",
        ),
        generate(
            "a tensor of 2^68 bytes",
            header("i").header(100, "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,0]}", &|_| String::new(), 0),
            "has other bytes",
        ),
    ]);
}

#[test]
fn tokenizers() {
    let inputs = Inputs::new();
    let text = "a".repeat(1000);
    let generate = |what, model: String, says| {
        let args = [
            "generate",
            "--prompt",
            &text,
            "--max-tokens",
            "1",
            "--model",
            &model,
        ];
        case(what, &args, says)
    };
    let model = |name| inputs.model(name);
    let file = "tokenizer.json";
    refused(&[
        generate(
            "tokenizer.json of 100 MB",
            model("a").repeated(file, "{\"model\":[", "1,", 50_000_000, "1]}"),
            "where such a file has",
        ),
        generate(
            "tokenizer.json of 60 MB in one part",
            model("b").repeated(file, "{\"normalizer\":[", "1,", 30_000_000, "1]}"),
            "its normalizer has",
        ),
        generate(
            "a vocabulary of three million tokens",
            model("c").repeated(file, "{\"model\":{\"vocab\":{", "\"token\":1,", 3_000_000, "\"a\":2}}}"),
            "more than 1048576 tokens",
        ),
        generate(
            "two replacements by 200 letters",
            model("d").tokenizer("normalizer", growing(200, 2)),
            "may grow 80000-fold",
        ),
        generate(
            "ten replacements by 100 letters",
            model("e").tokenizer("normalizer", growing(100, 10)),
            "may grow",
        ),
        generate(
            "the place between any two letters replaced",
            model("f").tokenizer("normalizer", json!({"type": "Replace", "pattern": {"String": ""}, "content": "b"})),
            "one of its patterns is empty",
        ),
        generate(
            "a template that repeats the prompt 1000 times",
            model("g").tokenizer("post_processor", json!({"type": "TemplateProcessing", "single": vec![json!({"Sequence": {"id": "A", "type_id": 0}}); 1000], "pair": [], "special_tokens": {}})),
            "repeats the prompt 1000 times",
        ),
        generate(
            "450,000 objects in a part",
            model("i").repeated(file, "{\"post_processor\":[", "{\"a\":{}},", 450_000, "0]}"),
            "more values than such a file has",
        ),
        generate(
            "a pattern of 10^9 states",
            model("h").tokenizer("pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "((a{1,1000}){1,1000}){1,1000}"}, "behavior": "Isolated", "invert": false})),
            "one of its patterns cannot be used",
        ),
    ]);
}

#[test]
fn templates() {
    let inputs = Inputs::new();
    let long = "it does not end within";
    let cases = [
        (
            "a loop of 10^11",
            "{% for i in range(100000000000) %}x{% endfor %}",
            "too many",
        ),
        (
            "10,000 times 10,000",
            "{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}",
            long,
        ),
        (
            "a string doubled 60 times",
            "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}{{ n.a }}",
            long,
        ),
        ("indent by 10^10", "{{ 'a\nb'|indent(10000000000) }}", long),
        ("a list times 10^8", "{{ ['a'] * 100000000 }}", "16777216"),
        (
            "format with 10^9 places",
            "{{ '%1000000000d'|format(5) }}",
            long,
        ),
        ("a string times 10^10", "{{ 'a' * 10000000000 }}", long),
        ("ljust to 10^10", "{{ 'a'.ljust(10000000000) }}", long),
        ("center in 10^9", "{{ 'a'|center(1000000000) }}", long),
        ("zfill to 10^10", "{{ 'a'.zfill(9999999999) }}", long),
        (
            "join by a megabyte",
            "{{ (['a' * 1000] * 1000)|join('x' * 1000000) }}",
            long,
        ),
        (
            "replace by 100,000 letters",
            "{{ ('a' * 10000).replace('a', 'b' * 100000) }}",
            long,
        ),
        (
            "tojson of a tree of 2^50",
            "{% set n = namespace(a=[1]) %}{% for i in range(50) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a|tojson }}",
            "16777216",
        ),
        (
            "tojson indented by 10^9",
            "{{ [[1]]|tojson(indent=1000000000) }}",
            "64 spaces",
        ),
        (
            "a macro that calls itself",
            "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
            "recursion",
        ),
        ("10 to the power of 10^8", "{{ 10 ** 100000000 }}", "unable"),
        (
            "urlencode of 16 MB",
            "{{ ('%' * 16000000)|urlencode }}",
            long,
        ),
        (
            "a batch filled up to 10^9",
            "{{ range(100000)|batch(1000000000, 'x')|list }}",
            long,
        ),
        (
            "an exception of 100 MB",
            "{{ raise_exception('x' * 100000000) }}",
            long,
        ),
    ];
    let cases = cases
        .into_iter()
        .enumerate()
        .map(|(i, (what, template, says))| {
            let model = inputs
                .model(&i.to_string())
                .written("chat_template.jinja", template);
            let args = [
                "generate",
                "--chat",
                "--prompt",
                "Hi",
                "--max-tokens",
                "1",
                "--model",
                &model,
            ];
            case(what, &args, says)
        });
    let file = "chat_template.jinja";
    let model = inputs.model("long").repeated(file, "", "x", 60_000_000, "");
    let chat = ["generate", "--chat", "--prompt", "Hi", "--model"];
    let long = case(
        "a template of 60 MB",
        &[&chat[..], &[&model]].concat(),
        "where such a file has",
    );
    let model = inputs.model("deep").repeated(file, "{{ ", "(", 900_000, "");
    let deep = case(
        "900,000 brackets in a tag",
        &[&chat[..], &[&model]].concat(),
        "2048 characters",
    );
    refused(&cases.chain([long, deep]).collect::<Vec<_>>());
}

#[test]
fn cards_and_references() {
    let inputs = Inputs::new();
    let model = fixture("llama-tied-tiny");
    let gpus = |what, file: String, says| case(what, &["gpus", &file], says);
    let bench = |what, file: String, says| {
        case(
            what,
            &["bench", "--model", &model, "--reference", &file],
            says,
        )
    };
    refused(&[
        gpus(
            "a card of 50 MB",
            inputs.file("a.toml", "name = \"", "x", 50_000_000, "\""),
            "1048576 at most",
        ),
        gpus(
            "a card of a million brackets",
            inputs.file("b.toml", "name = ", "[", 1_000_000, ""),
            "b.toml",
        ),
        bench(
            "a reference of 100 MB",
            inputs.file("c.json", "[", "1,", 50_000_000, "1]"),
            "where such a file has",
        ),
        bench(
            "a reference of 30 MB",
            inputs.file("d.json", "{\"runs\":[", "1,", 15_000_000, "1]}"),
            "d.json",
        ),
        bench(
            "a reference of a million brackets",
            inputs.file("e.json", "", "[", 1_000_000, ""),
            "levels of nesting",
        ),
    ]);
}

#[test]
fn counts_that_no_machine_holds() {
    let model = fixture("llama-tied-tiny");
    let bench = |what, flags: &[&str], says| {
        let args = [
            "bench",
            "--model",
            &model,
            "--input-len",
            "4",
            "--output-len",
            "2",
        ];
        case(what, &[&args[..], flags].concat(), says)
    };
    let one = ["--concurrency", "1", "--requests", "1"];
    let profile = |what, flags: &[&str], says| {
        case(
            what,
            &[&["profile", "--model", &model, "--context", "8"][..], flags].concat(),
            says,
        )
    };
    let ids = vec!["1"; 60_000].join(",");
    let generate = ["generate", "--model", &model, "--prompt-ids"];
    refused(&[
        bench(
            "--repeats at its maximum",
            &[&one[..], &["--repeats", MOST]].concat(),
            "ask for",
        ),
        bench(
            "--concurrency at its maximum",
            &["--concurrency", MOST],
            "ask for",
        ),
        bench("--tp at its maximum", &["--tp", MOST], "--tp"),
        bench(
            "--block-size at its maximum",
            &["--block-size", MOST],
            "--block-size",
        ),
        bench(
            "--max-num-batched-tokens at its maximum",
            &["--max-num-batched-tokens", MOST],
            "--max-num-batched-tokens",
        ),
        bench(
            "--max-model-len at its maximum",
            &["--max-model-len", MOST],
            "--max-model-len",
        ),
        bench(
            "--kv-cache-memory of 1000 TiB",
            &["--kv-cache-memory", "1000T"],
            "--kv-cache-memory",
        ),
        bench(
            "--trace-steps at its maximum",
            &["--trace", "/dev/null", "--trace-steps", "0..2147483648"],
            "10000 steps",
        ),
        profile("--batch at its maximum", &["--batch", MOST], "--batch"),
        profile(
            "--context at its maximum",
            &["--context", MOST],
            "--max-model-len",
        ),
        case(
            "a prompt of 60,000 ids",
            &[&generate[..], &[&ids]].concat(),
            "do not fit",
        ),
        case(
            "--max-tokens at its maximum",
            &[&generate[..], &["1", "--max-tokens", MOST]].concat(),
            "do not fit",
        ),
    ]);
    // What a step takes is known when one has run: so this is refused as a run that failed.
    let steps = profile(
        "profile --steps at its maximum",
        &["--steps", MOST],
        "ask for",
    );
    ended_well(&steps, &run(&steps.args, None, LIMIT), 1, MOST_MIB);
}

#[test]
fn counts_that_have_no_end_stop() {
    let model = fixture("llama-tied-tiny");
    let lens = [
        "--input-len",
        "4",
        "--output-len",
        "2",
        "--concurrency",
        "1",
    ];
    let cases = [
        (
            "--warmup at its maximum",
            "cpu",
            &["--warmup", MOST, "--requests", "1"][..],
            "in the warm-up",
        ),
        (
            "--requests at its maximum",
            "cpu",
            &["--requests", MOST],
            "partial",
        ),
        (
            "simulated, --warmup at its maximum",
            "sim:h100-sxm",
            &["--warmup", MOST, "--requests", "1"],
            "in the warm-up",
        ),
        (
            "simulated, --requests at its maximum",
            "sim:h100-sxm",
            &["--requests", MOST],
            "partial",
        ),
    ];
    for (what, device, flags, says) in cases {
        let args = [
            &["bench", "--model", &model, "--device", device][..],
            &lens,
            flags,
        ]
        .concat();
        let case = case(what, &args, says);
        let end = run(&case.args, Some(A_WHILE), LIMIT);
        ended_well(&case, &end, 1, MOST_RUNNING_MIB);
        assert!(end.took < A_WHILE + LONGEST_STOP, "{what}: {:?}", end.took);
    }
}

#[test]
fn a_dataset_of_a_million_texts_is_left_in_the_middle() {
    let inputs = Inputs::new();
    let line = "{\"prompt\":\"a\",\"output_len\":1}\n";
    let file = inputs.file("a", "", line, 1_000_000, "");
    let model = fixture("llama-tied-tiny");
    let args = ["bench", "--model", &model, "--dataset", &file];
    let case = case(
        "a dataset of a million texts",
        &args,
        "interrupted: the dataset",
    );
    let end = run(&case.args, Some(Duration::from_secs(1)), LIMIT);
    ended_well(&case, &end, 1, MOST_MIB);
    assert!(end.took < LONGEST_STOP, "{:?}", end.took);
}
