//! The files of a checkpoint.

use candlepower::hub::{WeightFiles, parse_index, weights_in};
use candlepower::model::tensors::expected;
use candlepower::model::{Checkpoint, ModelSpec, WeightSource};
use candlepower::text::{ChatTemplate, GenerationConfig, Message, Tokenizer, end_tokens};

use super::in_file;

/// A whole model in some twenty lines of header.
const SMALLEST: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": true,
    "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
    "vocab_size": 4, "max_position_embeddings": 16
}"#;

/// `config.json`, and the list of tensors that follows from it.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(spec) = ModelSpec::from_json(&text, "config.json") {
        let _ = spec.check_runnable("config.json");
        expected(&spec);
        spec.shape();
    }
}

/// One file of weights, all of which are read when it fits the smallest model.
pub fn safetensors(data: &[u8]) {
    let spec = ModelSpec::from_json(SMALLEST, "config.json").expect("a model");
    in_file("model.safetensors", data, |dir| {
        let file = WeightFiles::Single(dir.join("model.safetensors"));
        let Ok(checkpoint) = Checkpoint::open(&file, &spec) else {
            return;
        };
        for tensor in expected(&spec) {
            let (columns, rows) = tensor.shape.split_last().expect("a dimension");
            let rows = rows.iter().product();
            checkpoint
                .block(&tensor, 0..rows, 0..*columns)
                .expect("what passed the check can be read");
        }
    });
}

/// The index of a checkpoint of several files.
pub fn index(data: &[u8]) {
    in_file("model.safetensors.index.json", data, |dir| {
        let _ = parse_index(data, &dir.join("model.safetensors.index.json"));
        let _ = weights_in(dir);
    });
}

pub fn generation_config(data: &[u8]) {
    in_file("generation_config.json", data, |dir| {
        if let Ok(config) = GenerationConfig::load(dir) {
            end_tokens(&[0], config.as_ref());
        }
    });
}

/// The configuration of a tokenizer, and the templates in it.
pub fn tokenizer_config(data: &[u8]) {
    in_file("tokenizer_config.json", data, |dir| {
        if let Ok(Some(template)) = ChatTemplate::load(dir) {
            render(&template);
        }
    });
}

/// A template of its own.
pub fn chat_template(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    let template = ChatTemplate::new(source, "chat_template.jinja");
    render(&template.with_tokens(Some("<s>"), Some("</s>")));
}

fn render(template: &ChatTemplate) {
    let messages = [
        Message::new("system", "Be brief."),
        Message::user("  What is 2 + 2?\n"),
        Message::new("assistant", "<think>\nIt is 4.\n</think>\n\n4"),
        Message::user("\"é\" & <b>你好</b> \u{1f600}"),
    ];
    for add_generation_prompt in [false, true] {
        let _ = template.render(&messages, add_generation_prompt);
    }
}

/// `tokenizer.json`, and what it makes of a line.
pub fn tokenizer(data: &[u8]) {
    in_file("tokenizer.json", data, |dir| {
        let Ok(tokenizer) = Tokenizer::load(dir) else {
            return;
        };
        for add_special in [false, true] {
            if let Ok(ids) = tokenizer.encode("a line, é 你好 \u{1f600}\n<s>", add_special) {
                let _ = tokenizer.decode(&ids, !add_special);
            }
        }
        let _ = tokenizer.token_pool(64);
    });
}
