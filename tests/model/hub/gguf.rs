//! GGUF files on the hub: which one is meant, and its header by parts of a file that is never fetched.

use std::collections::HashMap;
use std::process::{Command, Output};

use candlepower::ground::gguf_header::GgufHeader;
use candlepower::hub::HubError;
use candlepower::hub::gguf::{GgufId, header};
use serde_json::{Value, json};

use super::file;
use super::home::{Home, MODEL, SECRET};
use super::server::{COMMIT, Manner, Served, Server};
use candlepower::hub::Token;

const LAYERS: u64 = 32;
const TOKENS: u64 = 128_256;
const Q4_K: u32 = 12;
const ASKED_AT_ONCE: usize = 2 << 20;

fn word(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The header of a file that says `counts` of itself, with a vocabulary of megabytes if `vocabulary`; and the bytes of its
/// tensors, each of that many columns and rows.
fn beginning(vocabulary: bool, tensors: &[(String, [u64; 2])]) -> (Vec<u8>, u64) {
    let counts = [
        ("block_count", LAYERS),
        ("embedding_length", 4096),
        ("feed_forward_length", 14336),
        ("attention.head_count", 32),
        ("attention.head_count_kv", 8),
        ("context_length", 8192),
    ];
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    let values = if vocabulary { counts.len() + 2 } else { 0 };
    bytes.extend((values as u64).to_le_bytes());
    if vocabulary {
        bytes.extend(word("general.architecture"));
        bytes.extend([&8_u32.to_le_bytes()[..], &word("llama")].concat());
        for (key, count) in counts {
            bytes.extend(word(&format!("llama.{key}")));
            bytes.extend([&10_u32.to_le_bytes()[..], &count.to_le_bytes()].concat());
        }
        bytes.extend(word("tokenizer.ggml.tokens"));
        bytes.extend([9_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat());
        bytes.extend(TOKENS.to_le_bytes());
        (0..TOKENS).for_each(|token| bytes.extend(word(&format!("a token, number {token}"))));
    }
    let mut data = 0_u64;
    for (name, shape) in tensors {
        bytes.extend(word(name));
        bytes.extend(2_u32.to_le_bytes());
        shape.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(Q4_K.to_le_bytes());
        bytes.extend(data.to_le_bytes());
        data += shape[0] * shape[1] / 256 * 144;
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    (bytes, data)
}

/// A file of that header and so much data, of which only as much is there as may be asked for with it.
fn stored(name: &str, mut header: Vec<u8>, data: u64) -> (String, Served) {
    header.resize(header.len() + ASKED_AT_ONCE, 0);
    file(name, header, Manner::Oversold(data - ASKED_AT_ONCE as u64))
}

fn tensors(layers: std::ops::Range<u64>) -> Vec<(String, [u64; 2])> {
    let parts = [("attn_q", [4096, 4096]), ("ffn_up", [4096, 14336])];
    let of = |layer| parts.map(|(part, shape)| (format!("blk.{layer}.{part}.weight"), shape));
    layers.flat_map(of).collect()
}

fn embedding() -> (String, [u64; 2]) {
    ("token_embd.weight".to_owned(), [4096, TOKENS])
}

fn listing(names: &[&str]) -> (String, Served) {
    let siblings: Vec<Value> = names
        .iter()
        .map(|name| json!({"rfilename": name}))
        .collect();
    let text = json!({"id": MODEL, "sha": COMMIT, "siblings": siblings}).to_string();
    // By the revision that it is asked for.
    file("main", text, Manner::Well)
}

/// Files of gigabytes of which only the beginnings are there.
fn repository(names: &[&str]) -> HashMap<String, Served> {
    let mut files = HashMap::from([listing(names)]);
    for name in names {
        let short = name.rsplit('/').next().unwrap();
        let (vocabulary, held) = match short.split_once("-of-") {
            None => (true, [vec![embedding()], tensors(0..LAYERS)].concat()),
            Some((before, _)) if before.ends_with('1') => (true, vec![embedding()]),
            Some((before, _)) if before.ends_with('2') => (false, tensors(0..20)),
            Some(_) => (false, tensors(20..LAYERS)),
        };
        let (header, data) = beginning(vocabulary, &held);
        files.extend([stored(short, header, data)]);
    }
    files
}

fn home(server: &Server) -> Home {
    Home::new(&server.endpoint)
}

fn found(home: &Home, model: &str) -> Result<Option<GgufHeader>, HubError> {
    header(&GgufId::parse(model).unwrap(), &home.options.settings, home)
}

fn refused(home: &Home, model: &str) -> String {
    let message = found(home, model).unwrap_err().to_string();
    assert!(
        !message.contains(SECRET) && !message.contains('\n'),
        "{message}"
    );
    message
}

fn size(header: &GgufHeader) -> u64 {
    header.tensors.iter().map(|tensor| tensor.size).sum()
}

fn of_all() -> u64 {
    beginning(false, &[vec![embedding()], tensors(0..LAYERS)].concat()).1
}

#[test]
fn a_header_is_read_by_parts_and_kept() {
    let server = Server::start(repository(&[
        "m-Q4_K_M.gguf",
        "m-Q8_0.gguf",
        "mmproj-F16.gguf",
    ]));
    let mut home = home(&server);
    let model = format!("{MODEL}:q4_k_m");
    let header = found(&home, &model).unwrap().unwrap();
    assert_eq!(size(&header), of_all());
    let own = beginning(true, &[vec![embedding()], tensors(0..LAYERS)].concat()).0;
    let (moved, own) = (server.moved(), own.len() as u64);
    // Twice the header at most, of a file of more than a gigabyte.
    assert!(
        own > 3_000_000 && (own..2 * own).contains(&moved),
        "{moved} bytes for {own}"
    );
    let files: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert!(
        files[0].ends_with("/api/models/org/some-model/revision/main"),
        "{files:?}"
    );
    let pinned = format!("/org/some-model/resolve/{COMMIT}/m-Q4_K_M.gguf");
    assert!(files[1..].iter().all(|file| *file == pinned), "{files:?}");
    // The next time nobody is asked, with a network and without.
    let asked = server.seen().len();
    assert_eq!(found(&home, &model).unwrap().unwrap(), header);
    assert_eq!(server.seen().len(), asked);
    drop(server);
    home.options.settings.offline = true;
    assert_eq!(found(&home, &model).unwrap().unwrap(), header);
    let message = refused(&home, &format!("{MODEL}:Q8_0"));
    assert!(
        message.contains("m-Q8_0.gguf is missing") && message.contains("HF_HUB_OFFLINE"),
        "{message}"
    );
    let message = refused(&home, "org/other:Q8_0");
    assert!(
        message.contains("the list of its files is missing"),
        "{message}"
    );
}

#[test]
fn which_one_is_meant_is_asked_by_name() {
    let server = Server::start(repository(&[
        "m-Q4_K_M.gguf",
        "m-UD-Q4_K_M.gguf",
        "sub/m-Q8_0.gguf",
    ]));
    let home = home(&server);
    let message = refused(&home, MODEL);
    for part in [
        "holds 3 GGUF models",
        "Q4_K_M, UD-Q4_K_M, Q8_0",
        "as in org/some-model:Q4_K_M",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let message = refused(&home, &format!("{MODEL}:Q5_K_M"));
    for part in ["`Q5_K_M`", "Q4_K_M, UD-Q4_K_M, Q8_0"] {
        assert!(message.contains(part), "{message}");
    }
    for choice in ["Q8_0", "m-Q8_0.gguf", "sub/m-Q8_0.gguf"] {
        found(&home, &format!("{MODEL}:{choice}")).unwrap().unwrap();
    }
    let alone = Server::start(repository(&["only.gguf"]));
    let home = Home::new(&alone.endpoint);
    assert_eq!(size(&found(&home, MODEL).unwrap().unwrap()), of_all());
    let none = Server::start(repository(&[]));
    let home = Home::new(&none.endpoint);
    assert_eq!(found(&home, MODEL).unwrap(), None);
    let message = refused(&home, &format!("{MODEL}:Q8_0"));
    assert!(message.contains("those that it has: none"), "{message}");
}

#[test]
fn a_new_file_is_found_although_the_list_is_kept() {
    let server = Server::start(repository(&["m-Q4_K_M.gguf"]));
    let mut home = home(&server);
    found(&home, MODEL).unwrap().unwrap();
    let newer = Server::start(repository(&["m-Q4_K_M.gguf", "m-Q8_0.gguf"]));
    home.options.settings.endpoint.clone_from(&newer.endpoint);
    found(&home, &format!("{MODEL}:Q8_0")).unwrap().unwrap();
}

#[test]
fn parts_are_one_model() {
    let parts = [
        "Q8_0/m-00001-of-00003.gguf",
        "Q8_0/m-00002-of-00003.gguf",
        "Q8_0/m-00003-of-00003.gguf",
    ];
    let server = Server::start(repository(&parts));
    let header = found(&home(&server), &format!("{MODEL}:Q8_0"))
        .unwrap()
        .unwrap();
    assert_eq!(size(&header), of_all());
    assert!(server.moved() < 12_000_000);
    let server = Server::start(repository(&parts[..2]));
    let message = refused(&home(&server), MODEL);
    assert!(
        message.contains("lacks 1 of the 3 parts of Q8_0/m-00001-of-00003.gguf"),
        "{message}"
    );
}

#[test]
fn what_a_hub_does_wrong_is_a_sentence() {
    let (whole, data) = beginning(true, &tensors(0..LAYERS));
    let as_it_is = |manner: Manner| file("m.gguf", whole.clone(), manner);
    for (served, parts) in [
        (
            as_it_is(Manner::WithoutRanges),
            &["only as a whole", "byte ranges"][..],
        ),
        (as_it_is(Manner::Status(401)), &["gated", "HF_TOKEN"]),
        (as_it_is(Manner::Status(403)), &["gated", "no token is set"]),
        (as_it_is(Manner::LinkedSize(77)), &["wrong size", "77"]),
        (as_it_is(Manner::CutAfter(100)), &["was cut at 100"]),
        (
            stored("m.gguf", whole.clone(), data - 1),
            &[
                "m.gguf of org/some-model",
                "not a whole GGUF file",
                "its tensors end at",
            ],
        ),
        (
            file("m.gguf", &whole[..200_000], Manner::Well),
            &["not a whole GGUF file", "cut short"],
        ),
        (
            file("m.gguf", "<!DOCTYPE html><html>", Manner::Well),
            &["not a whole GGUF file", "a web page"],
        ),
        (
            file(
                "m.gguf",
                "version https://git-lfs.github.com/spec/v1\n",
                Manner::Well,
            ),
            &["not a whole GGUF file", "git-lfs"],
        ),
        (file("m.gguf", "", Manner::Well), &["not a whole GGUF file"]),
    ] {
        let files = HashMap::from([listing(&["m.gguf"]), served]);
        let server = Server::start(files);
        let message = refused(&home(&server), MODEL);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    for (text, manner, parts) in [
        (
            "{}",
            Manner::Well,
            &[
                "did not answer like a Hugging Face hub",
                "no sha and siblings",
            ][..],
        ),
        ("<html>", Manner::Well, &["the list of files", "a web page"]),
        ("", Manner::Status(401), &["gated"]),
        (
            "",
            Manner::Status(404),
            &["the list of files was not found"],
        ),
        (
            r#"{"sha": "../..", "siblings": []}"#,
            Manner::Well,
            &["is no commit"],
        ),
    ] {
        let server = Server::start(HashMap::from([file("main", text, manner)]));
        let message = refused(&home(&server), MODEL);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_list_leads_nowhere_else_and_is_asked_with_the_token() {
    let server = Server::start(repository(&[
        "../m-Q8_0.gguf",
        "/m-Q4_0.gguf",
        "m-Q2_K.gguf",
    ]));
    let mut home = home(&server);
    home.options.settings.token = Token::new(SECRET);
    found(&home, MODEL).unwrap().unwrap();
    let bearer = format!("Bearer {SECRET}");
    let all = server.seen();
    assert!(
        all.iter()
            .all(|seen| seen.authorization.as_ref() == Some(&bearer))
    );
}

fn candlepower(home: &Home, server: &Server, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_candlepower"))
        .args(words.split_whitespace())
        .env("HF_HOME", home.dir.path())
        .env("HF_ENDPOINT", &server.endpoint)
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_TOKEN")
        .output()
        .unwrap()
}

#[test]
fn fit_and_models_read_them() {
    // Its configuration says little more than what it is, as some do.
    for config in [None, Some(r#"{"model_type": "llama"}"#)] {
        let mut files = repository(&["m-Q4_K_M.gguf", "m-Q8_0.gguf"]);
        files.extend(config.map(|text| file("config.json", text, Manner::Well)));
        let server = Server::start(files);
        let home = home(&server);
        let output = candlepower(&home, &server, &format!("models {MODEL}:Q4_K_M --json"));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["weight_bytes"], json!(of_all()), "{said}");
        assert_eq!(
            (&said["source"], &said["quantization"]),
            (&json!("headers"), &json!("gguf"))
        );
        let words =
            format!("fit --model {MODEL}:Q4_K_M --engine llama.cpp --gpu rtx3060-12g --json");
        let output = candlepower(&home, &server, &words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let output = candlepower(&home, &server, &format!("models {MODEL}"));
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(
            message.contains("holds 2 GGUF models (Q4_K_M, Q8_0)"),
            "{message}"
        );
        let output = candlepower(
            &home,
            &server,
            &format!("bench --model {MODEL}:Q4_K_M --device cpu"),
        );
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("no engine here runs"), "{message}");
        let words = format!(
            "fit --recommend --model {MODEL}:Q4_K_M --gpu rtx3060-12g --max-model-len 4096 --concurrency 1"
        );
        let output = candlepower(&home, &server, &words);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains(&format!("llama-server -hf {MODEL}:Q4_K_M")),
            "{output:?}"
        );
    }
}
