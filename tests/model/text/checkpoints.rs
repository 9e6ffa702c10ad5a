//! Templates and tokens as checkpoints of all ages write them down.

use std::path::Path;

use candlepower::text::{ChatTemplate, Conversation, GenerationConfig, TextError};

use super::{constructs, memory, messages, some_day};

/// A directory with this `tokenizer_config.json`.
fn checkpoint(config: serde_json::Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    dir
}

fn render_as_transformers(source: &str) -> Result<String, TextError> {
    let mut config: serde_json::Value = serde_json::from_str(constructs::TOKENS).unwrap();
    config["chat_template"] = source.into();
    let dir = checkpoint(config);
    let conversation = Conversation {
        messages: serde_json::from_str(constructs::MESSAGES).unwrap(),
        tools: serde_json::from_str(constructs::TOOLS).unwrap(),
        ..Conversation::default()
    };
    let template = ChatTemplate::load(dir.path()).unwrap().unwrap();
    template.render_at(&conversation, true, some_day())
}

#[test]
fn constructs_render_as_in_python() {
    for (source, expected) in constructs::CONSTRUCTS {
        assert_eq!(
            &render_as_transformers(source).unwrap(),
            expected,
            "{source}"
        );
    }
    for source in constructs::REFUSED {
        assert!(render_as_transformers(source).is_err(), "{source}");
    }
}

/// Checkpoints of all ages: a text, a list, an object; tokens as texts, objects and lists; and files of their own.
#[test]
fn templates_and_tokens_come_in_many_forms() {
    let conversation: Conversation = messages(&[("user", "Hi")]);
    let text = |dir: &Path, conversation: &Conversation| {
        let template = ChatTemplate::load(dir).unwrap().unwrap();
        template.render_at(conversation, false, some_day()).unwrap()
    };
    let with_tools = Conversation {
        tools: serde_json::json!([{"name": "f"}]),
        ..conversation.clone()
    };
    let several =
        serde_json::json!({"chat_template": {"default": "d", "tool_use": "t{{ tools|length }}"}});
    let dir = checkpoint(several);
    assert_eq!(text(dir.path(), &conversation), "d");
    assert_eq!(text(dir.path(), &with_tools), "t1");

    let all = "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ sep_token }}{{ pad_token }}{{ cls_token }}{{ mask_token }}{{ additional_special_tokens }}{{ image_token }}";
    let dir = checkpoint(serde_json::json!({
        "chat_template": all, "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": ["</s>", "<e>"],
        "unk_token": null, "pad_token": "<p>", "additional_special_tokens": ["<a>", {"content": "<b>"}],
        "extra_special_tokens": {"image_token": "<img>"}
    }));
    let older = r#"{"unk_token": {"content": "<u>"}, "bos_token": "<other>", "cls_token": "<c>", "mask_token": 3}"#;
    std::fs::write(dir.path().join("special_tokens_map.json"), older).unwrap();
    assert_eq!(
        text(dir.path(), &conversation),
        "<s></s><u><p><c>['<a>', '<b>']<img>"
    );

    let dir = checkpoint(serde_json::json!({}));
    std::fs::write(
        dir.path().join("chat_template.json"),
        r#"{"chat_template": "of the processor"}"#,
    )
    .unwrap();
    assert_eq!(text(dir.path(), &conversation), "of the processor");
    let more = dir.path().join("additional_chat_templates");
    std::fs::create_dir(&more).unwrap();
    std::fs::write(more.join("tool_use.jinja"), "\u{feff}of a file").unwrap();
    let error = ChatTemplate::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("one named default (tool_use)"), "{error}");
    std::fs::write(dir.path().join("chat_template.jinja"), "plain").unwrap();
    assert_eq!(text(dir.path(), &with_tools), "of a file");
    assert_eq!(text(dir.path(), &conversation), "plain");

    let null = checkpoint(serde_json::json!({"chat_template": null, "eos_token": null}));
    assert!(ChatTemplate::load(null.path()).unwrap().is_none());
    for (wrong, expected) in [
        (
            serde_json::json!({"chat_template": 3}),
            "no text, list or object",
        ),
        (
            serde_json::json!({"chat_template": ["x"]}),
            "not of names and templates",
        ),
        (
            serde_json::json!({"chat_template": {"default": 3}}),
            "not of templates",
        ),
        (serde_json::json!(["x"]), "not one object"),
    ] {
        let error = ChatTemplate::load(checkpoint(wrong).path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("tokenizer_config.json") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn json_of_python_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "tokenizer_config.json",
        "\u{feff}{\"model_max_length\": Infinity, \"x\": NaN, \"eos_token\": \"a\", \"eos_token\": \"<e>\", \"chat_template\": \"{{ eos_token }}\"}",
    );
    let template = ChatTemplate::load(dir.path()).unwrap().unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "<e>");
    write(
        "generation_config.json",
        "{\"temperature\": -Infinity, \"eos_token_id\": [1, 2]}",
    );
    let config = GenerationConfig::load(dir.path()).unwrap().unwrap();
    assert_eq!(config.eos_token_id, [1, 2]);
    for (wrong, expected) in [
        ("{\"eos_token_id\": \"x\"}", "no token id"),
        ("{\"eos_token_id\": 1e99}", "no token id"),
        ("[]", "one object"),
        ("", "generation_config.json"),
    ] {
        write("generation_config.json", wrong);
        let error = GenerationConfig::load(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("generation_config.json") && error.contains(expected),
            "{error}"
        );
    }
    let deep = "[".repeat(100_000);
    write("tokenizer_config.json", &format!("{{\"x\": {deep}"));
    assert!(ChatTemplate::load(dir.path()).is_err());
    let numbers = format!("{{\"x\": [{}0]}}", "0,".repeat(7 << 20));
    write("tokenizer_config.json", &numbers);
    assert!(ChatTemplate::load(dir.path()).is_err());
    assert!(memory::peak_mib().is_none_or(|peak| peak < 200));
}
