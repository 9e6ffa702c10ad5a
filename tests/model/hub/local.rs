//! Directories, configuration files, cards and the cache: nothing here may reach a network.

use candlepower::hub::{CARDS, DummyReason, HubError, WeightFiles};

use super::home::{CONFIG_TEXT, Home, MODEL, single};
use super::server::COMMIT;

#[test]
fn offline_and_unreachable_say_so() {
    let mut home = Home::unconnected();
    let message = home.message(MODEL);
    assert!(
        message.contains("http://127.0.0.1:9 could not be reached"),
        "{message}"
    );
    home.options.settings.offline = true;
    let message = home.message(MODEL);
    assert!(
        message.contains("HF_HUB_OFFLINE") && message.contains("config.json"),
        "{message}"
    );
    home.fill_cache("models--org--some-model", &["config.json"]);
    let message = home.message(MODEL);
    assert!(
        message.contains("model.safetensors is missing"),
        "{message}"
    );
    home.options.dummy_weights = true;
    assert!(home.resolve(MODEL).is_ok());
}

#[test]
fn a_commit_in_the_cache_needs_no_ref() {
    let home = Home::unconnected();
    home.fill_cache(
        "models--org--some-model",
        &["config.json", "model.safetensors"],
    );
    std::fs::remove_dir_all(home.repo_dir().join("refs")).unwrap();
    let source = home.resolve(&format!("{MODEL}@{COMMIT}")).unwrap();
    assert!(matches!(source.weights, WeightFiles::Single(_)));
}

#[test]
fn cards_never_ask_the_network_and_use_a_complete_checkpoint() {
    let mut home = Home::unconnected();
    for card in CARDS {
        let source = home.resolve(&card.name.to_lowercase()).unwrap();
        assert_eq!((source.name.as_str(), source.dir), (card.name, None));
        let why = DummyReason::CardWithoutCheckpoint;
        assert_eq!(source.weights, WeightFiles::Dummy { why });
    }
    let folder = "models--Qwen--Qwen3-0.6B";
    home.fill_cache(folder, &["config.json"]);
    let partial = home.resolve("Qwen3-0.6B").unwrap();
    assert!(matches!(partial.weights, WeightFiles::Dummy { .. }) && partial.dir.is_none());
    home.fill_cache(folder, &["model.safetensors", "tokenizer.json"]);
    let complete = home.resolve("Qwen3-0.6B").unwrap();
    assert!(matches!(complete.weights, WeightFiles::Single(_)));
    assert_eq!(
        (complete.name.as_str(), complete.config_json.as_str()),
        ("Qwen3-0.6B", CONFIG_TEXT)
    );
    assert!(complete.tokenizer_json().is_some());
    home.options.dummy_weights = true;
    assert_eq!(home.resolve("Qwen3-0.6B").unwrap().dir, None);
}

#[test]
fn directories_and_configuration_files() {
    let home = Home::unconnected();
    let model = home.dir.path().join("some-model");
    std::fs::create_dir(&model).unwrap();
    let text = model.to_str().unwrap();
    assert!(home.message(text).contains("has no config.json"));
    std::fs::write(model.join("config.json"), CONFIG_TEXT).unwrap();
    assert!(home.message(text).contains("--dummy-weights"));

    let config = home
        .resolve(model.join("config.json").to_str().unwrap())
        .unwrap();
    let why = DummyReason::ConfigOnly;
    assert_eq!(
        (config.weights, config.dir),
        (WeightFiles::Dummy { why }, Some(model.clone()))
    );

    std::fs::write(model.join("other.safetensors"), "never taken").unwrap();
    assert!(matches!(
        home.resolve(text),
        Err(HubError::NoWeights { .. })
    ));
    std::fs::write(model.join("model.safetensors"), "w").unwrap();
    let source = home.resolve(&format!("{text}/")).unwrap();
    assert_eq!(
        (source.name.as_str(), single(&source)),
        (text, &*model.join("model.safetensors"))
    );
    let file = model.join("model.safetensors");
    assert!(
        home.message(file.to_str().unwrap())
            .contains("not a config.json")
    );
}

#[test]
fn unknown_names_say_what_was_tried_and_what_is_near() {
    let home = Home::unconnected();
    let message = home.message("Qwen2.5-0.6B");
    assert!(
        message.contains("the closest cards are Qwen2.5-0.5B"),
        "{message}"
    );
    for path in ["./nowhere/model", "a/b/c", "/nowhere", "folder/config.json"] {
        assert!(
            matches!(home.resolve(path), Err(HubError::Unknown { .. })),
            "{path}"
        );
    }
    assert!(matches!(
        home.resolve("org/na me"),
        Err(HubError::BadId { .. })
    ));
}
