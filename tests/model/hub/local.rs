//! Directories, configuration files, cards and the cache: nothing here may reach a network.

use candlepower::hub::{CARDS, DummyReason, HubError, WeightFiles};
use candlepower::model::Described;

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
        Err(HubError::OtherWeights { .. })
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
    assert!(matches!(
        home.resolve("org/na me"),
        Err(HubError::BadId { .. })
    ));
}

#[test]
fn a_directory_that_is_missing_is_called_missing_and_no_hub_is_asked() {
    let mut home = Home::unconnected();
    let root = home.dir.path();
    std::fs::create_dir(root.join("models")).unwrap();
    let inside = root.join("models/llama");
    for (path, part) in [
        (inside.to_str().unwrap(), "the folder above it is there"),
        ("./nowhere/model", "the folder above it is missing too"),
        ("a/b/c", "the folder above it is missing too"),
        ("/nowhere", "the folder above it is there"),
        ("folder/config.json", "missing too"),
        ("folder/model.gguf", "missing too"),
        ("some-model/", "check"),
        // `src` is a folder where tests run.
        ("src/llama", "write src/llama@main to ask the hub"),
    ] {
        let message = home.message(path);
        let missing = format!("model directory `{path}` is missing");
        assert!(
            message.contains(&missing) && message.contains(part),
            "{message}"
        );
    }
    let link = root.join("link");
    std::os::unix::fs::symlink("gone", &link).unwrap();
    let message = home.message(link.to_str().unwrap());
    assert!(
        message.contains("a link to gone, which is not there"),
        "{message}"
    );
    // What is in the cache, or asked for as a revision, is not taken for a folder.
    assert!(
        home.message("src/llama@main")
            .contains("could not be reached")
    );
    home.fill_cache("models--src--llama", &["config.json", "model.safetensors"]);
    home.options.settings.offline = true;
    assert!(home.resolve("src/llama").is_ok());
}

#[test]
fn files_that_are_no_configuration_are_named_for_what_they_are() {
    let home = Home::unconnected();
    for (name, bytes, parts) in [
        (
            "m.gguf",
            &b"GGUF\x03\0\0\0"[..],
            ["a GGUF file", "safetensors"],
        ),
        ("m.bin", b"PK\x03\x04", ["a zip archive", "save_pretrained"]),
        (
            "m.safetensors",
            b"\x08\0\0\0\0\0\0\0{}",
            ["a file", "the directory"],
        ),
    ] {
        let path = home.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let message = home.message(path.to_str().unwrap());
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let model = home.dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for (bytes, part) in [
        (&b"<!DOCTYPE html>"[..], "a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        (b"\xff\xfe{\0", "UTF-16"),
        (b"{\xff}", "no UTF-8"),
    ] {
        std::fs::write(model.join("config.json"), bytes).unwrap();
        std::fs::write(model.join("model.safetensors"), "").unwrap();
        // Its text is looked at later, where it is parsed.
        let message = match home.resolve(model.to_str().unwrap()) {
            Err(error) => error.to_string(),
            Ok(source) => Described::of(&source).unwrap_err().to_string(),
        };
        assert!(
            message.contains("config.json") && message.contains(part),
            "{message}"
        );
    }
}

#[test]
fn a_configuration_without_end_is_not_read() {
    let home = Home::unconnected();
    let model = home.dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let config = std::fs::File::create(model.join("config.json")).unwrap();
    config.set_len(10 << 30).unwrap();
    std::fs::write(model.join("model.safetensors"), "").unwrap();
    let message = home.message(model.to_str().unwrap());
    assert!(
        message.contains("10737418240 bytes") && message.contains("16777216"),
        "{message}"
    );
}
