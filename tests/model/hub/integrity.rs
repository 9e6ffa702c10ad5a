//! Bytes that are not what the hub announced.

use std::collections::HashMap;

use candlepower::hub::HubError;

use super::home::{CONFIG_TEXT, Home, MODEL, single};
use super::server::{COMMIT, Manner, Server, sha256};
use super::{assert_incomplete, assert_whole, file, serve, weights};

#[test]
fn a_copy_that_arrives_damaged_is_fetched_again() {
    let (server, home) = serve(Manner::Garbled(1));
    let source = home.resolve(MODEL).unwrap();
    assert_whole(&source);
    assert_eq!(server.transfers("model.safetensors").len(), 2);
    let blob = single(&source).canonicalize().unwrap();
    assert_eq!(
        blob.file_name().unwrap().to_str(),
        Some(&*sha256(&weights()))
    );
}

#[test]
fn a_hub_that_sends_only_damaged_copies_is_given_up_and_nothing_stays() {
    let (server, home) = serve(Manner::Garbled(usize::MAX));
    let message = home.message(MODEL);
    for part in ["model.safetensors", "damaged twice", &sha256(&weights())] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(server.transfers("model.safetensors").len(), 2);
    assert_incomplete(&home);
    let blobs = std::fs::read_dir(home.repo_dir().join("blobs")).unwrap();
    let names = blobs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names
        .filter(|name| name.starts_with(&sha256(&weights())))
        .collect();
    assert!(left.iter().all(|name| name.ends_with(".lock")), "{left:?}");
}

#[test]
fn a_damaged_beginning_is_not_resumed_for_ever() {
    let (server, home) = serve(Manner::Garbled(0));
    let blobs = home.repo_dir().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join(format!("{}.part", sha256(&weights())));
    std::fs::write(&part, vec![7; 60_000]).unwrap();
    assert_whole(&home.resolve(MODEL).unwrap());
    let ranges = server.transfers("model.safetensors").into_iter();
    let ranges: Vec<String> = ranges.filter_map(|seen| seen.range).collect();
    assert_eq!(ranges, ["bytes=60000-", "bytes=0-"]);
    assert!(!part.exists());
}

#[test]
fn a_blob_with_one_flipped_byte_is_not_taken_over() {
    let (server, home) = serve(Manner::Garbled(0));
    let blobs = home.repo_dir().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let mut flipped = weights();
    flipped[77] ^= 1;
    std::fs::write(blobs.join(sha256(&weights())), flipped).unwrap();
    assert_whole(&home.resolve(MODEL).unwrap());
    assert_eq!(server.transfers("model.safetensors").len(), 1);
}

#[test]
#[cfg(unix)]
fn garbage_in_the_cache_is_fetched_again() {
    let (server, mut home) = serve(Manner::Garbled(0));
    let source = home.resolve(MODEL).unwrap();
    let blob = single(&source).canonicalize().unwrap();
    for garbage in [vec![0; weights().len()], b"<html>".to_vec(), Vec::new()] {
        std::fs::write(&blob, garbage).unwrap();
        let before = server.transfers("model.safetensors").len();
        assert_whole(&home.resolve(MODEL).unwrap());
        assert_eq!(server.transfers("model.safetensors").len(), before + 1);
    }
    // Without a network it stays, for the loader to tell of.
    std::fs::write(&blob, "garbage").unwrap();
    home.options.settings.offline = true;
    assert!(home.resolve(MODEL).is_ok());
    assert!(blob.exists());
}

#[test]
fn files_that_others_put_into_the_cache_are_never_removed() {
    let (server, home) = serve(Manner::Garbled(0));
    home.fill_cache(
        "models--org--some-model",
        &["config.json", "model.safetensors"],
    );
    let source = home.resolve(MODEL).unwrap();
    assert_eq!(
        std::fs::read_to_string(single(&source)).unwrap(),
        CONFIG_TEXT
    );
    assert!(server.seen().is_empty());
}

#[test]
fn etags_that_are_no_hashes_check_nothing() {
    let (_server, home) = serve(Manner::Well);
    assert_whole(&home.resolve(MODEL).unwrap());
}

#[test]
fn a_file_larger_than_its_kind_is_refused_before_it_is_fetched() {
    for (name, extra) in [
        ("config.json", 10 << 30),
        ("tokenizer.json", 1 << 30),
        ("model.safetensors.index.json", 1 << 30),
        ("chat_template.jinja", 1 << 30),
    ] {
        let mut files = HashMap::from([
            file("config.json", CONFIG_TEXT, Manner::Well),
            file("model.safetensors", weights(), Manner::Well),
        ]);
        files.extend([file(name, "{}", Manner::Oversold(extra))]);
        let server = Server::start(files);
        let home = Home::new(&server.endpoint);
        let error = home.resolve(MODEL).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, HubError::TooLarge { .. }), "{message}");
        assert!(
            message.contains(&format!("{} bytes", extra + 2)),
            "{message}"
        );
        assert!(
            message.contains(name) && server.transfers(name).is_empty(),
            "{message}"
        );
    }
}

#[test]
fn a_set_of_one_shard_is_found_without_an_index() {
    let name = "model-00001-of-00001.safetensors";
    let server = Server::start(HashMap::from([
        file("config.json", CONFIG_TEXT, Manner::Well),
        file(name, weights(), Manner::Well),
    ]));
    let home = Home::new(&server.endpoint);
    home.resolve(MODEL).unwrap();
    let snapshot = home.repo_dir().join("snapshots").join(COMMIT);
    assert!(std::fs::read(snapshot.join(name)).unwrap() == weights());
}
