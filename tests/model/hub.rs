//! Where a model's files come from, against a hub on the loopback interface.

mod cache;
mod gguf;
mod headers;
mod home;
mod integrity;
mod local;
mod network;
mod server;

use std::collections::HashMap;

use candlepower::ground::Unwatched;
use candlepower::hub::{
    DummyReason, HubError, ModelSource, ResolveOptions, Token, WeightFiles, resolve,
};
use home::{CONFIG_TEXT, Home, MODEL, SECRET, single};
use server::{COMMIT, Manner, Served, Server};

const WEIGHT_BYTES: usize = 100_000;

fn weights() -> Vec<u8> {
    (0..WEIGHT_BYTES).map(|i| (i * i % 251) as u8).collect()
}

fn file(name: &str, body: impl Into<Vec<u8>>, manner: Manner) -> (String, Served) {
    let body = body.into();
    (name.to_owned(), Served { body, manner })
}

/// A repository of one weight file, served in that manner.
fn repository(manner: Manner) -> HashMap<String, Served> {
    HashMap::from([
        file("config.json", CONFIG_TEXT, Manner::Well),
        file("tokenizer.json", "{}", Manner::Well),
        file("model.safetensors", weights(), manner),
    ])
}

fn serve(manner: Manner) -> (Server, Home) {
    let server = Server::start(repository(manner));
    let home = Home::new(&server.endpoint);
    (server, home)
}

fn assert_whole(source: &ModelSource) {
    assert!(std::fs::read(single(source)).unwrap() == weights());
}

#[test]
fn a_download_brings_the_files_and_the_cache_keeps_them() {
    let (server, mut home) = serve(Manner::Well);
    let source = home.resolve(MODEL).unwrap();
    assert_eq!(
        (source.name.as_str(), source.config_json.as_str()),
        (MODEL, CONFIG_TEXT)
    );
    assert_whole(&source);
    assert!(source.tokenizer_json().is_some());
    for absent in ["tokenizer_config.json", "generation_config.json"] {
        assert!(
            !source.dir.as_ref().unwrap().join(absent).exists(),
            "{absent}"
        );
    }
    let requests = server.seen().len();
    assert_eq!(home.resolve(MODEL).unwrap(), source);
    assert_eq!(server.seen().len(), requests, "a cache hit asks nobody");
    drop(server);
    home.options.settings.offline = true;
    assert_eq!(home.resolve(MODEL).unwrap(), source);
}

#[test]
fn another_reader_of_the_cache_finds_the_download() {
    let (_server, home) = serve(Manner::Well);
    let source = home.resolve(MODEL).unwrap();
    let cache = hf_hub::Cache::new(home.options.settings.cache.clone());
    let found = cache.model(MODEL.to_owned()).get("model.safetensors");
    assert_eq!(found.as_deref(), Some(single(&source)));
}

#[test]
fn a_cut_download_is_resumed_where_it_broke_off() {
    const PIECE: usize = 40_000;
    let (server, home) = serve(Manner::CutAfter(PIECE));
    assert_whole(&home.resolve(MODEL).unwrap());
    let ranges: Vec<_> = server
        .transfers("model.safetensors")
        .into_iter()
        .filter_map(|seen| seen.range)
        .collect();
    assert_eq!(ranges, ["bytes=0-", "bytes=40000-", "bytes=80000-"]);
}

#[test]
fn a_body_that_ends_early_without_a_word_is_not_taken_for_whole() {
    let (_server, home) = serve(Manner::EndsAfter(40_000));
    assert_whole(&home.resolve(MODEL).unwrap());
    let (server, home) = serve(Manner::EndsAfter(0));
    let message = home.message(MODEL);
    assert!(message.contains("cut at 0 of 100000 bytes"), "{message}");
    assert_eq!(server.transfers("model.safetensors").len(), 4);
}

#[test]
fn a_later_run_resumes_what_an_earlier_one_left() {
    let (server, home) = serve(Manner::Well);
    let blobs = home.repo_dir().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join("etag-model.safetensors.part");
    std::fs::write(part, &weights()[..60_000]).unwrap();
    assert_whole(&home.resolve(MODEL).unwrap());
    let range = server.transfers("model.safetensors")[0].range.clone();
    assert_eq!(range.as_deref(), Some("bytes=60000-"));
}

#[test]
fn a_server_without_ranges_starts_over_and_never_doubles_bytes() {
    let (_server, home) = serve(Manner::WithoutRanges);
    let blobs = home.repo_dir().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join("etag-model.safetensors.part"), [0; 60_000]).unwrap();
    assert_whole(&home.resolve(MODEL).unwrap());
}

#[test]
fn a_busy_server_is_asked_again() {
    let files = HashMap::from([
        file("config.json", CONFIG_TEXT, Manner::Well),
        file("model.safetensors", weights(), Manner::Flaky),
    ]);
    let server = Server::start(files);
    let home = Home::new(&server.endpoint);
    assert_whole(&home.resolve(MODEL).unwrap());
}

#[test]
fn a_server_that_sends_less_than_announced_is_given_up_with_both_numbers() {
    let (_server, home) = serve(Manner::Oversold(77));
    let message = home.message(MODEL);
    assert!(message.contains("100000 of 100077 bytes"), "{message}");
    assert_incomplete(&home);
}

#[test]
fn a_size_that_differs_from_the_announced_one_is_refused_with_both_numbers() {
    let (_server, home) = serve(Manner::LinkedSize(12_345));
    let message = home.message(MODEL);
    assert!(
        message.contains("100000") && message.contains("12345"),
        "{message}"
    );
    assert!(message.contains("model.safetensors"), "{message}");
    assert_incomplete(&home);
}

/// Nothing of a failed download passes for a model.
fn assert_incomplete(home: &Home) {
    assert!(!home.repo_dir().join("refs/main").exists());
    let snapshot = home.repo_dir().join("snapshots").join(COMMIT);
    assert!(snapshot.join("config.json").exists());
    assert!(!snapshot.join("model.safetensors").exists());
    let mut settings = home.options.settings.clone();
    settings.offline = true;
    let options = ResolveOptions {
        settings,
        ..home.options.clone()
    };
    assert!(matches!(
        resolve(MODEL, &options, &Unwatched),
        Err(HubError::Offline { .. })
    ));
}

#[test]
fn missing_files_are_named_with_their_repository() {
    let server = Server::start(HashMap::new());
    let home = Home::new(&server.endpoint);
    let message = home.message("org/some-model@v2");
    assert!(
        message.contains("config.json was not found in org/some-model@v2"),
        "{message}"
    );
    assert!(
        message.contains("404") && message.contains(&server.endpoint),
        "{message}"
    );
}

#[test]
fn a_repository_without_safetensors_says_so() {
    let files = HashMap::from([file("config.json", CONFIG_TEXT, Manner::Well)]);
    let server = Server::start(files);
    let mut home = Home::new(&server.endpoint);
    let message = home.message(MODEL);
    assert!(
        message.contains("neither model.safetensors.index.json nor"),
        "{message}"
    );
    home.options.dummy_weights = true;
    let source = home.resolve(MODEL).unwrap();
    let why = DummyReason::Requested;
    assert_eq!(source.weights, WeightFiles::Dummy { why });
}

#[test]
fn gated_models_name_the_token_and_the_licence_page() {
    for status in [401, 403] {
        let (server, mut home) = serve(Manner::Status(status));
        let message = home.message(MODEL);
        assert!(message.contains(&format!("HTTP {status}")), "{message}");
        assert!(
            message.contains("HF_TOKEN") && message.contains("no token is set"),
            "{message}"
        );
        let page = format!("{}/{MODEL}", server.endpoint);
        assert!(message.contains(&page), "{message}");
        home.options.settings.token = Token::new(SECRET);
        let message = home.message(MODEL);
        assert!(message.contains("token was refused"), "{message}");
    }
}

#[test]
fn the_token_goes_to_the_endpoint_alone_and_is_never_shown() {
    let storage = Server::start(repository(Manner::Well));
    let (hub, mut home) = serve(Manner::RedirectTo(storage.endpoint.clone()));
    home.options.settings.token = Token::new(SECRET);
    assert_whole(&home.resolve(MODEL).unwrap());
    assert!(!storage.seen().is_empty());
    assert!(
        storage
            .seen()
            .iter()
            .all(|seen| seen.authorization.is_none())
    );
    let bearer = format!("Bearer {SECRET}");
    assert!(
        hub.seen()
            .iter()
            .all(|seen| seen.authorization.as_ref() == Some(&bearer))
    );
    assert!(!format!("{:?}", home.options).contains(SECRET));
}

#[test]
fn a_redirect_loop_ends() {
    let to_itself = Manner::RedirectTo(String::new());
    let server = Server::start(HashMap::from([file("config.json", "", to_itself)]));
    let message = Home::new(&server.endpoint).message(MODEL);
    assert!(message.contains("redirects"), "{message}");
}

#[test]
fn a_revision_that_moves_during_the_download_is_noticed() {
    let (_server, home) = serve(Manner::OtherCommit);
    let message = home.message(MODEL);
    assert!(
        message.contains("changed while") && message.contains("d1ff00"),
        "{message}"
    );
}

fn sharded(names: [&str; 2]) -> HashMap<String, Served> {
    let index = serde_json::json!({"weight_map": {"a": names[0], "b": names[1], "c": names[0]}});
    HashMap::from([
        file("config.json", CONFIG_TEXT, Manner::Well),
        file(
            "model.safetensors.index.json",
            index.to_string(),
            Manner::Well,
        ),
        file("model-1.safetensors", weights(), Manner::CutAfter(70_000)),
        file("model-2.safetensors", "two", Manner::Well),
        file("model.safetensors", "must not be asked for", Manner::Well),
    ])
}

#[test]
fn shards_are_downloaded_by_the_index_and_nothing_else_is() {
    let server = Server::start(sharded(["model-1.safetensors", "model-2.safetensors"]));
    let home = Home::new(&server.endpoint);
    let source = home.resolve(MODEL).unwrap();
    let WeightFiles::Sharded { index, dir } = &source.weights else {
        panic!("{:?}", source.weights);
    };
    assert!(index.is_file());
    assert!(std::fs::read(dir.join("model-1.safetensors")).unwrap() == weights());
    assert_eq!(
        std::fs::read(dir.join("model-2.safetensors")).unwrap(),
        b"two"
    );
    assert!(server.transfers("/model.safetensors").is_empty());
    assert_eq!(server.transfers("model-2.safetensors").len(), 1);
}

#[test]
fn a_missing_shard_and_one_outside_are_named() {
    let server = Server::start(sharded(["model-1.safetensors", "model-3.safetensors"]));
    let message = Home::new(&server.endpoint).message(MODEL);
    assert!(
        message.contains("model-3.safetensors was not found in org/some-model"),
        "{message}"
    );
    let server = Server::start(sharded(["model-1.safetensors", "../evil.safetensors"]));
    let message = Home::new(&server.endpoint).message(MODEL);
    assert!(message.contains("`../evil.safetensors`"), "{message}");
    assert!(server.transfers("evil.safetensors").is_empty());
}
