//! Servers that are slow, busy or addressed wrongly, and users who have had enough.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use candlepower::hub::{HubError, Token};

use super::home::{CONFIG_TEXT, Home, MODEL};
use super::server::{Manner, Server};
use super::{assert_incomplete, assert_whole, file, serve, weights};

/// In which a stop must be obeyed.
const SOON: Duration = Duration::from_secs(2);

fn impatient(home: &mut Home) {
    let patience = &mut home.options.settings.patience;
    patience.headers = Duration::from_millis(300);
    patience.window = Duration::from_millis(300);
    patience.least_rate = 1000;
}

/// Stopped a little after it began; gives the time that it took.
fn stopped(home: &Home) -> Duration {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            home.stop.store(true, Ordering::SeqCst);
        });
        let start = Instant::now();
        let error = home.resolve(MODEL).unwrap_err();
        assert!(matches!(error, HubError::Stopped { .. }), "{error}");
        start.elapsed()
    })
}

#[test]
fn a_body_that_drips_is_given_up() {
    let (_server, mut home) = serve(Manner::Drip(Duration::from_millis(20)));
    impatient(&mut home);
    let start = Instant::now();
    let message = home.message(MODEL);
    assert!(start.elapsed() < Duration::from_secs(5));
    for part in ["model.safetensors", "bytes a second", "less than 1000"] {
        assert!(message.contains(part), "{message}");
    }
    assert_incomplete(&home);
}

#[test]
fn a_small_file_that_drips_is_given_up_too() {
    let drip = Manner::Drip(Duration::from_millis(100));
    let server = Server::start(HashMap::from([file("config.json", CONFIG_TEXT, drip)]));
    let mut home = Home::new(&server.endpoint);
    impatient(&mut home);
    let message = home.message(MODEL);
    assert!(
        message.contains("config.json") && message.contains("bytes a second"),
        "{message}"
    );
}

#[test]
fn headers_that_drip_are_given_up() {
    let drip = Manner::DripHead(Duration::from_millis(100));
    let server = Server::start(HashMap::from([file("config.json", "", drip)]));
    let mut home = Home::new(&server.endpoint);
    impatient(&mut home);
    let start = Instant::now();
    let message = home.message(MODEL);
    assert!(start.elapsed() < Duration::from_secs(5), "{message}");
    assert!(message.contains("could not be reached"), "{message}");
}

#[test]
fn a_busy_server_is_asked_again_from_the_first_request_on() {
    for status in [429, 500, 502, 503] {
        let server = Server::start(HashMap::from([
            file("config.json", CONFIG_TEXT, Manner::Busy(status, "0", 2)),
            file("model.safetensors", weights(), Manner::Busy(status, "", 3)),
        ]));
        let home = Home::new(&server.endpoint);
        assert_whole(&home.resolve(MODEL).unwrap());
    }
    let (server, home) = serve(Manner::Busy(429, "0", usize::MAX));
    let message = home.message(MODEL);
    assert!(message.contains("HTTP 429"), "{message}");
    let asked = server
        .seen()
        .iter()
        .filter(|seen| seen.path.ends_with("model.safetensors"))
        .count();
    assert_eq!(asked, 5);
}

#[test]
fn what_is_refused_for_good_is_asked_for_once() {
    let server = Server::start(HashMap::from([file(
        "config.json",
        "",
        Manner::Status(410),
    )]));
    let message = Home::new(&server.endpoint).message(MODEL);
    assert!(message.contains("HTTP 410"), "{message}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn the_pause_is_as_long_as_the_server_asks_and_no_longer_than_bearable() {
    let (_server, home) = serve(Manner::Busy(429, "1", 1));
    let start = Instant::now();
    assert_whole(&home.resolve(MODEL).unwrap());
    assert!(start.elapsed() >= Duration::from_secs(1));
    for wait in ["3600", "99999999999"] {
        let (_server, home) = serve(Manner::Busy(503, wait, usize::MAX));
        let start = Instant::now();
        let message = home.message(MODEL);
        assert!(
            message.contains(&format!("asks to wait {wait} s")),
            "{message}"
        );
        assert!(start.elapsed() < SOON);
    }
}

#[test]
fn a_stop_ends_a_download_and_the_next_run_goes_on() {
    let pause = Duration::from_millis(1);
    let (server, mut home) = serve(Manner::Drip(pause));
    assert!(stopped(&home) < SOON);
    assert_incomplete(&home);
    let endpoint = server.endpoint.clone();
    drop(server);
    let server = Server::start(super::repository(Manner::Well));
    assert_ne!(endpoint, server.endpoint);
    home.options.settings.endpoint = server.endpoint.clone();
    home.stop.store(false, Ordering::SeqCst);
    assert_whole(&home.resolve(MODEL).unwrap());
    let range = server.transfers("model.safetensors")[0]
        .range
        .clone()
        .unwrap();
    assert_ne!(range, "bytes=0-", "what came before the stop is kept");
}

#[test]
fn a_stop_ends_every_wait() {
    for manner in [
        Manner::DripHead(Duration::from_millis(200)),
        Manner::Busy(503, "60", usize::MAX),
    ] {
        let (_server, home) = serve(manner);
        assert!(stopped(&home) < SOON);
    }
    // Another process of the same user downloads.
    let (_server, home) = serve(Manner::Well);
    let blobs = home.repo_dir().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let lock = std::fs::File::create(blobs.join("etag-config.json.lock")).unwrap();
    lock.lock().unwrap();
    assert!(stopped(&home) < SOON);
}

#[test]
fn settings_that_cannot_work_are_told_before_any_request() {
    let (server, mut home) = serve(Manner::Well);
    home.options.settings.token = Token::new("hf_very\nsecret");
    let message = home.message(MODEL);
    assert!(
        message.contains("HF_TOKEN") && message.contains("a line break"),
        "{message}"
    );
    assert!(!message.contains("hf_very"), "{message}");
    home.options.settings.token = None;
    for endpoint in ["127.0.0.1:9", "hf-mirror.com", "htp://h", "/srv/mirror"] {
        home.options.settings.endpoint = endpoint.to_owned();
        let message = home.message(MODEL);
        let told = format!("HF_ENDPOINT is `{endpoint}`");
        assert!(
            message.contains(&told) && message.contains("https://"),
            "{message}"
        );
    }
    assert!(server.seen().is_empty());
}

#[test]
fn a_finished_download_leaves_blobs_and_links_alone() {
    let (_server, home) = serve(Manner::CutAfter(40_000));
    home.resolve(MODEL).unwrap();
    let blobs = std::fs::read_dir(home.repo_dir().join("blobs")).unwrap();
    let mut names: Vec<_> = blobs.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "etag-config.json",
            "etag-model.safetensors",
            "etag-tokenizer.json"
        ]
    );
}
