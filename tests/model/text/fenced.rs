//! Tokenizers that would grow text or not end: refused before they run, by a sentence that names the file.

use std::time::{Duration, Instant};

use candlepower::text::TextError;
use serde_json::{Value, json};

use super::memory::peak_mib;
use super::tiny_with;

fn refused(edit: impl Fn(&mut Value)) -> String {
    let start = Instant::now();
    let error = tiny_with("{}", edit).unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{error} took {:?}",
        start.elapsed()
    );
    assert!(
        peak_mib().is_none_or(|peak| peak < 200),
        "{error} took {:?} MiB",
        peak_mib()
    );
    let said = error.to_string();
    assert!(said.contains("tokenizer.json"), "{said}");
    assert!(
        matches!(error, TextError::Fenced { .. } | TextError::Invalid { .. }),
        "{said}"
    );
    said
}

fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}

fn sequence(parts: Vec<Value>) -> Value {
    json!({"type": "Sequence", "normalizers": parts})
}

#[test]
fn growth_is_refused() {
    let hundred = "a".repeat(100);
    let one = || replace(json!({"String": "a"}), &hundred);
    for (normalizer, expected) in [
        (replace(json!({"String": ""}), "x"), "a pattern"),
        (replace(json!({"Regex": ""}), "x"), "a pattern"),
        (sequence(vec![one(); 10]), "grow"),
        (
            sequence(vec![sequence(vec![one()]), sequence(vec![one()])]),
            "grow 20000-fold",
        ),
        (
            replace(json!({"String": "a"}), &"b".repeat(1000)),
            "grow 2000-fold",
        ),
        (
            replace(json!({"Regex": "x*"}), &"b".repeat(1000)),
            "grow 2002-fold",
        ),
        (
            sequence(vec![
                json!({"type": "NFKD"}),
                json!({"type": "NFKD"}),
                json!({"type": "NFKD"}),
            ]),
            "grow 3456-fold",
        ),
        (json!({"type": "Replace", "content": "x"}), "a pattern"),
        (json!({"type": "Tripler"}), "Tripler is not known"),
        (json!({"prepend": "x"}), "no type"),
        (
            json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
            "cut short",
        ),
        (
            json!({"type": "Precompiled", "precompiled_charsmap": "?"}),
            "base64",
        ),
        (
            replace(json!({"Regex": "(a{50000}){50000}"}), ""),
            "repeats 50000 times",
        ),
        (
            replace(json!({"Regex": "a".repeat(10_000)}), ""),
            "10000 bytes",
        ),
    ] {
        let said = refused(|json| json["normalizer"] = normalizer.clone());
        let expected = expected.replace("a pattern", "patterns is empty");
        assert!(said.contains(&expected), "{said} lacks {expected}");
    }
    let said = refused(|json| json["decoder"] = replace(json!({"String": "a"}), &"b".repeat(1000)));
    assert!(said.contains("a token may grow 1000-fold"), "{said}");
}

#[test]
fn parts_are_bounded() {
    let repeated: Vec<Value> = vec![json!({"Sequence": {"id": "A", "type_id": 0}}); 50];
    let added: Vec<Value> = vec![json!({"SpecialToken": {"id": "!", "type_id": 0}}); 50];
    let template = |single: Value, ids: Vec<u32>| {
        let tokens = vec!["!"; ids.len()];
        json!({"type": "TemplateProcessing", "single": single,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"!": {"id": "!", "ids": ids, "tokens": tokens}}})
    };
    let nested = json!({"type": "Sequence", "processors": [template(json!(added), vec![0; 1000])]});
    for (part, expected) in [
        (
            template(json!(repeated), vec![0]),
            "repeats the prompt 50 times",
        ),
        (template(json!(added), vec![0; 1000]), "adds 50000 tokens"),
        (nested, "adds 50000 tokens"),
        (
            template(
                json!([{"SpecialToken": {"id": "?", "type_id": 0}}]),
                vec![0],
            ),
            "adds ?, which its special_tokens lack",
        ),
        (
            template(json!([{"Sequence": {"id": "B", "type_id": 0}}]), vec![0]),
            "neither the prompt nor a special token",
        ),
        // The tokenizer takes lists for objects.
        (
            template(json!([{"SpecialToken": ["!", 0]}]), vec![0; 1000]),
            "neither the prompt nor a special token",
        ),
        (json!([[], [], {}]), "post_processor is no object"),
    ] {
        let said = refused(|json| json["post_processor"] = part.clone());
        assert!(said.contains(expected), "{said} lacks {expected}");
    }
    for (key, value, expected) in [
        (
            "pre_tokenizer",
            json!({"type": "FixedLength", "length": 0}),
            "length 0",
        ),
        (
            "pre_tokenizer",
            json!({"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": false}),
            "patterns is empty",
        ),
        (
            "pre_tokenizer",
            json!({"type": "Sequence", "pretokenizers": vec![json!({"type": "Metaspace", "replacement": "▁"}); 4]}),
            "4096-fold",
        ),
        (
            "extra",
            json!("x".repeat(100_000)),
            "extra has 100002 bytes",
        ),
        (
            "normalizer",
            json!({"type": "Prepend", "prepend": "x".repeat(5 << 20)}),
            "normalizer has",
        ),
        (
            "added_tokens",
            json!([{"id": 1, "content": "x".repeat(5000)}]),
            "5000 bytes",
        ),
        (
            "model",
            json!({"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##", "max_input_chars_per_word": 1_000_000_000_u64, "vocab": {"a": 0}}),
            "max_input_chars_per_word is 1000000000",
        ),
        (
            "model",
            json!({"type": "WordLevel", "unk_token": "a", "vocab": {"x".repeat(5000): 0}}),
            "5000 bytes",
        ),
        (
            "model",
            json!({"type": "BPE", "vocab": {"a": 0}, "merges": [], "other": "x".repeat(100_000)}),
            "other has",
        ),
        (
            "model",
            json!({"type": "GPT", "vocab": {"a": 0}}),
            "model is of no kind",
        ),
        (
            "model",
            json!({"type": "BPE", "vocab": {"a": [1, 2]}, "merges": []}),
            "a list stands where",
        ),
        (
            "model",
            json!({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}),
            "tokenizer.json",
        ),
        ("model", json!([]), "a model"),
    ] {
        let said = refused(|json| json[key] = value.clone());
        assert!(said.contains(expected), "{said} lacks {expected}");
    }
}

#[test]
fn files_of_wrong_kind_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    for (text, expected) in [
        ("[]".to_owned(), "tokenizer.json"),
        ("{".to_owned(), "tokenizer.json"),
        (String::new(), "tokenizer.json"),
        ("[".repeat(100_000), "tokenizer.json"),
        (
            format!("{{\"x\": {}", "[".repeat(100_000)),
            "tokenizer.json",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let said = candlepower::text::Tokenizer::load(dir.path())
            .unwrap_err()
            .to_string();
        assert!(
            said.contains(expected) && !said.contains("struct"),
            "{said}"
        );
    }
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    let said = candlepower::text::Tokenizer::load(dir.path())
        .unwrap_err()
        .to_string();
    assert!(said.contains("1099511627776 bytes"), "{said}");
}

/// The forms that the families in use have.
#[test]
fn usual_parts_are_taken() {
    for normalizer in [
        json!(null),
        json!({"type": "NFC"}),
        json!({"type": "NFKC"}),
        sequence(vec![
            json!({"type": "Prepend", "prepend": "▁"}),
            replace(json!({"String": " "}), "▁"),
        ]),
        sequence(vec![
            json!({"type": "Strip", "strip_left": true, "strip_right": true}),
            json!({"type": "Lowercase"}),
            replace(json!({"Regex": " {2,}"}), " "),
        ]),
        json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}),
    ] {
        let tokenizer = tiny_with("{}", |json| json["normalizer"] = normalizer.clone()).unwrap();
        assert!(!tokenizer.encode("The capital", false).unwrap().is_empty());
    }
    let split = json!({"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": false});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let parts = json!({"type": "Sequence", "pretokenizers": [split, byte_level]});
    let tokenizer = tiny_with("{}", |json| json["pre_tokenizer"] = parts.clone()).unwrap();
    assert_eq!(
        tokenizer
            .decode(&tokenizer.encode("It's 12345", false).unwrap(), false)
            .unwrap(),
        "It's 12345"
    );
}

#[test]
fn too_long_texts_are_refused_by_their_size() {
    let tokenizer = super::tiny();
    let text = "word ".repeat(10 << 20);
    let said = tokenizer
        .encode_within(&text, false, 4096)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("52428800 bytes") && said.contains("too long"),
        "{said}"
    );
    let text = "word ".repeat(400_000);
    let said = tokenizer.encode_within(&text, false, 4096).unwrap_err();
    assert!(matches!(said, TextError::TooLong { .. }), "{said}");
    assert!(
        said.to_string().contains("2000000 bytes make more than"),
        "{said}"
    );
    assert!(
        peak_mib().is_none_or(|peak| peak < 250),
        "{:?} MiB",
        peak_mib()
    );
    let text = "word ".repeat(20_000);
    let ids = tokenizer.encode(&text, true).unwrap();
    assert_eq!(
        tokenizer.encode_within(&text, true, ids.len()).unwrap(),
        ids
    );
    assert!(tokenizer.encode_within(&text, true, ids.len() - 1).is_err());
}

#[test]
fn a_pattern_that_does_not_end_is_given_up() {
    let split = json!({"type": "Split", "pattern": {"Regex": "(?:(?:a+)+(?=b)|a)"}, "behavior": "Isolated", "invert": false});
    let tokenizer = tiny_with("{}", |json| json["pre_tokenizer"] = split.clone()).unwrap();
    let start = Instant::now();
    let _ = tokenizer.encode(&"aaaaaaaaaaaaaaaaaac ".repeat(5000), false);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}
