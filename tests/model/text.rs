//! Tokenizer, chat templates and generation settings, on the tiny fixtures and on inline files.

mod checkpoints;
mod constructs;
mod fenced;
mod hostile;
mod memory;
mod templates;

use std::path::{Path, PathBuf};

use candlepower::text::{
    ChatTemplate, Conversation, GenerationConfig, Message, TextError, TokenPool, Tokenizer,
    end_tokens,
};
use templates::*;

const TINY_VOCABULARY: u32 = 512;
/// Added tokens of the tiny tokenizer: `<|endoftext|>` and those behind it.
const TINY_ADDED: std::ops::Range<u32> = 507..512;
const TEXTS: [&str; 5] = [
    "The capital of France is",
    "naïve café, 東京 and 🦀🚀 are not ASCII",
    "fn main() { println!(\"{}\", 1 + 1); }\n\n\tend",
    "<|im_start|>user\nHi<|im_end|>\n",
    " leading and trailing ",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn tiny() -> Tokenizer {
    Tokenizer::load(&fixture("qwen2-tiny")).unwrap()
}

/// The tiny tokenizer with another `tokenizer_config.json`, and perhaps an edited `tokenizer.json`.
fn tiny_with(config: &str, edit: impl Fn(&mut serde_json::Value)) -> Result<Tokenizer, TextError> {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("qwen2-tiny/tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    edit(&mut json);
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    Tokenizer::load(dir.path())
}

fn messages(turns: &[(&str, &str)]) -> Conversation {
    let messages: Vec<Message> = turns
        .iter()
        .map(|(role, content)| Message::new(*role, *content))
        .collect();
    messages.as_slice().into()
}

/// 5 November 2024, 07:08 UTC.
fn some_day() -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(1_730_790_480).unwrap()
}

fn render(source: &str, turns: &[(&str, &str)], open: bool) -> Result<String, TextError> {
    ChatTemplate::new(source, "tokenizer_config.json")
        .with_tokens(Some("<s>"), Some("</s>"))
        .render_at(&messages(turns), open, some_day())
}

#[test]
fn text_survives_encoding_and_decoding() {
    let tokenizer = tiny();
    assert_eq!(tokenizer.vocab_size(), TINY_VOCABULARY as usize);
    for text in TEXTS {
        let ids = tokenizer.encode(text, true).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
    let ids = tokenizer.encode(TEXTS[3], false).unwrap();
    assert_eq!(ids[0], tokenizer.token_id("<|im_start|>").unwrap());
    let plain = tokenizer.decode(&ids, true).unwrap();
    assert_eq!(plain, "user\nHi\n");
}

#[test]
fn bos_is_added_once_and_only_on_demand() {
    let bos = 507;
    let config =
        r#"{"add_bos_token": true, "bos_token": {"content": "<|endoftext|>", "lstrip": false}}"#;
    let plain = tiny().encode("Hello", true).unwrap();
    let with_bos = [vec![bos], plain.clone()].concat();

    let by_config = tiny_with(config, |_| ()).unwrap();
    assert_eq!(by_config.encode("Hello", true).unwrap(), with_bos);
    assert_eq!(by_config.encode("Hello", false).unwrap(), plain);
    let written_out = by_config.encode("<|endoftext|>Hello", true).unwrap();
    assert_eq!(written_out, with_bos);

    let post_processor = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [bos], "tokens": ["<|endoftext|>"]}},
    });
    let by_both = tiny_with(config, |json| {
        json["post_processor"] = post_processor.clone()
    })
    .unwrap();
    assert_eq!(by_both.encode("Hello", true).unwrap(), with_bos);

    let unwanted = config.replace("true", "false");
    let by_none = tiny_with(&unwanted, |_| ()).unwrap();
    assert_eq!(by_none.encode("Hello", true).unwrap(), plain);
}

#[test]
fn a_bos_token_without_an_id_is_an_error() {
    let config = r#"{"add_bos_token": true, "bos_token": "<nowhere>"}"#;
    let error = tiny_with(config, |_| ()).unwrap_err().to_string();
    assert!(error.contains("<nowhere>"), "{error}");
}

#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let tokenizer = tiny_with("{}", |json| {
        json["truncation"] = serde_json::json!(
            {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = serde_json::json!({"strategy": {"Fixed": 99}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"});
    });
    let ids = tokenizer.unwrap().encode(TEXTS[0], false).unwrap();
    assert_eq!(ids, tiny().encode(TEXTS[0], false).unwrap());
}

#[test]
fn a_stream_gives_whole_characters_that_add_up_to_the_text() {
    let tokenizer = tiny();
    for text in TEXTS {
        let ids = tokenizer.encode(text, false).unwrap();
        let mut stream = tokenizer.decode_stream(false);
        let mut pieces = Vec::new();
        for id in ids {
            pieces.push(stream.push(id).unwrap());
        }
        assert!(
            pieces.iter().all(|piece| !piece.contains('\u{fffd}')),
            "{pieces:?}"
        );
        pieces.push(stream.finish().unwrap());
        assert_eq!(pieces.concat(), text);
    }
}

#[test]
fn a_stream_of_arbitrary_tokens_adds_up_to_their_text() {
    let tokenizer = tiny();
    // The lower half of the tiny vocabulary is single bytes: most of it is no valid text.
    let pools = [TINY_VOCABULARY, TINY_VOCABULARY / 2].map(|size| TokenPool::below(size).unwrap());
    for seed in 0..400 {
        let ids = pools[seed as usize % pools.len()].synthetic_prompt(40, seed);
        let mut stream = tokenizer.decode_stream(true);
        let mut text = String::new();
        for &id in &ids {
            text += &stream.push(id).unwrap();
        }
        text += &stream.finish().unwrap();
        assert_eq!(text, tokenizer.decode(&ids, true).unwrap(), "seed {seed}");
    }
}

#[test]
fn a_stream_that_ends_inside_a_character_shows_it() {
    let tokenizer = tiny();
    let ids = tokenizer.encode("🦀", false).unwrap();
    assert!(ids.len() > 1, "the tiny vocabulary has no crab");
    let mut stream = tokenizer.decode_stream(false);
    assert_eq!(stream.push(ids[0]).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

#[test]
fn synthetic_prompts_are_ordinary_seeded_and_of_exact_length() {
    let tokenizer = tiny();
    let padded = TINY_VOCABULARY + 100;
    let pool = tokenizer.token_pool(padded).unwrap();
    assert_eq!(pool, TokenPool::Listed((0..TINY_ADDED.start).collect()));
    let prompt = pool.synthetic_prompt(5000, 7);
    assert_eq!(prompt.len(), 5000);
    assert!(
        prompt
            .iter()
            .all(|id| !TINY_ADDED.contains(id) && *id < padded)
    );
    assert!(prompt.iter().any(|&id| id > TINY_ADDED.start / 2));
    assert_eq!(prompt, pool.synthetic_prompt(5000, 7));
    assert_ne!(prompt, pool.synthetic_prompt(5000, 8));

    let small = tokenizer.token_pool(10).unwrap();
    assert!(small.synthetic_prompt(100, 0).iter().all(|&id| id < 10));
    let bare = TokenPool::below(3).unwrap().synthetic_prompt(100, 0);
    assert!(bare.contains(&0) && bare.contains(&2) && bare.iter().all(|&id| id < 3));
    assert!(matches!(
        TokenPool::below(0),
        Err(TextError::NoOrdinaryToken { limit: 0 })
    ));
}

#[test]
fn missing_and_broken_tokenizer_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Tokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(missing.contains("no tokenizer.json"), "{missing}");
    std::fs::write(dir.path().join("tokenizer.json"), "{\"version\": 1}").unwrap();
    let broken = Tokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(broken.contains("tokenizer.json is not valid"), "{broken}");
}

#[test]
fn templates_render_as_in_python() {
    let answered = [TALK.as_slice(), &[ANSWER]].concat();
    for (source, turns, open, expected) in [
        (CHATML, &TALK[..], true, CHATML_TALK),
        (CHATML, &TALK[1..2], false, CHATML_ONE_USER_TURN),
        (THINKING, &TALK, true, THINKING_TALK),
        (THINKING, &answered, false, THINKING_ANSWERED),
        (HEADERS, &TALK, true, HEADERS_TALK),
        (MARKS, &TALK, true, MARKS_TALK),
        (ALTERNATING, &TALK[1..], false, ALTERNATING_FROM_USER),
        (CORNERS, &TALK, false, CORNERS_TALK),
    ] {
        assert_eq!(render(source, turns, open).unwrap(), expected);
    }
}

#[test]
fn a_refused_conversation_names_file_line_and_reason() {
    let error = render(ALTERNATING, &TALK, false).unwrap_err();
    let TextError::Template { file, line, reason } = error else {
        panic!("{error}");
    };
    assert_eq!((file.as_str(), line), ("tokenizer_config.json", 4));
    assert_eq!(reason, "Roles must alternate, but turn 1 is system");
}

#[test]
fn a_malformed_template_names_its_line() {
    let error = render("a\n{% if %}", &TALK, false).unwrap_err().to_string();
    assert!(
        error.contains("tokenizer_config.json failed at line 2"),
        "{error}"
    );
}

#[test]
fn an_absent_token_is_empty_in_the_text() {
    let template = ChatTemplate::new("[{{ bos_token }}]{{ bos_token is defined }}", "inline");
    let text = template.render(&[Message::user("x")], false).unwrap();
    assert_eq!(text.to_lowercase(), "[]false");
}

#[test]
fn templates_are_found_where_checkpoints_keep_them() {
    let dir = tempfile::tempdir().unwrap();
    let load = || ChatTemplate::load(dir.path());
    let text = || {
        load()
            .unwrap()
            .unwrap()
            .render(&[Message::user("Hi")], false)
    };
    let config = dir.path().join("tokenizer_config.json");
    assert!(load().unwrap().is_none());

    let one = r#"{"chat_template": "{{ messages[0].content }} {{ eos_token }}", "eos_token": {"content": "<e>"}}"#;
    std::fs::write(&config, one).unwrap();
    assert_eq!(text().unwrap(), "Hi <e>");

    let list = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    std::fs::write(&config, list).unwrap();
    assert_eq!(text().unwrap(), "d");

    std::fs::write(&config, list.replace("default", "rag")).unwrap();
    let error = load().unwrap_err().to_string();
    assert!(error.contains("tool_use, rag"), "{error}");

    std::fs::write(dir.path().join("chat_template.jinja"), "from the file\n").unwrap();
    assert_eq!(text().unwrap(), "from the file");
}

#[test]
fn the_fixture_template_and_tokenizer_agree() {
    let dir = fixture("llama-tiny");
    let template = ChatTemplate::load(&dir).unwrap().unwrap();
    let text = template.render(&[Message::user("Hi")], true).unwrap();
    assert_eq!(
        text,
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let ids = tokenizer.encode(&text, false).unwrap();
    let marks = ids.iter().filter(|id| TINY_ADDED.contains(id)).count();
    assert_eq!(marks, 3);
}

#[test]
fn generation_config_wins_over_the_model_config() {
    let generation = GenerationConfig::load(&fixture("llama-tiny"))
        .unwrap()
        .unwrap();
    assert_eq!(generation.eos_token_id, [509, 507]);
    assert_eq!(end_tokens(&[3], Some(&generation)), [509, 507]);
    assert_eq!(end_tokens(&[3], None), [3]);
    let silent = GenerationConfig::default();
    assert_eq!(end_tokens(&[1, 2], Some(&silent)), [1, 2]);
    assert!(end_tokens(&[], None).is_empty());
}

#[test]
fn generation_config_fields_are_read_and_may_be_absent() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(GenerationConfig::load(dir.path()).unwrap(), None);
    let path = dir.path().join("generation_config.json");
    let text = r#"{"do_sample": true, "temperature": 0.6, "top_k": -1, "top_p": 0.95, "eos_token_id": 1, "unknown": {}}"#;
    std::fs::write(&path, text).unwrap();
    let config = GenerationConfig::load(dir.path()).unwrap().unwrap();
    assert_eq!(config.eos_token_id, [1]);
    std::fs::write(&path, "[").unwrap();
    let error = GenerationConfig::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("generation_config.json"), "{error}");
}
