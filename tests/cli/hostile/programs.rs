//! Programs inside files: what a tokenizer and a chat template may do.

use serde_json::json;

use super::inputs::{Inputs, growing};
use super::table::{case, refused};

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
