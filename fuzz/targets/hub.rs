//! What a hub answers, and what stands in its cache.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use candlepower::ground::Unwatched;
use candlepower::hub::{HubId, HubSettings, Patience, ResolveOptions, resolve};
use candlepower::shape::reading::{Files, Named, read};

/// Not in UTF-8: no header has it, and a body seldom.
const NEXT_ANSWER: u8 = 0xff;

/// What the server sends on its next connections; then it closes them without a word.
static ANSWERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The raw answers to the first requests for a model's files.
pub fn http(data: &[u8]) {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    let endpoint = ENDPOINT.get_or_init(serve);
    let answers = data.rsplit(|byte| *byte == NEXT_ANSWER);
    *ANSWERS.lock().expect("the answers") = answers.map(<[u8]>::to_vec).collect();
    let cache = tempfile::tempdir().expect("a cache");
    let _ = resolve("org/name", &options(cache.path(), endpoint), &Unwatched);
}

/// The raw answers to requests for parts of a model's files of weights.
pub fn headers(data: &[u8]) {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    let endpoint = ENDPOINT.get_or_init(serve);
    let answers = data.rsplit(|byte| *byte == NEXT_ANSWER);
    *ANSWERS.lock().expect("the answers") = answers.map(<[u8]>::to_vec).collect();
    let cache = tempfile::tempdir().expect("a cache");
    let repository = cache.path().join("models--org--name");
    let snapshot = repository.join("snapshots/c0");
    for (file, text) in [
        (repository.join("refs/main"), "c0"),
        (snapshot.join("config.json"), CONFIG),
    ] {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file in it");
    }
    let mut options = options(cache.path(), endpoint);
    options.dummy_weights = true;
    let source = resolve("org/name", &options, &Unwatched).expect("a cached model");
    if let Ok(Some(tensors)) = candlepower::hub::headers(&source, &options.settings, &Unwatched) {
        let (text, name) = (CONFIG, "config.json");
        let _ = read(&Files {
            config: Named { text, name },
            beside: None,
            headers: Some(&tensors),
        });
    }
}

/// Of the smallest model.
const CONFIG: &str = r#"{
    "model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
    "num_attention_heads": 1, "vocab_size": 4, "max_position_embeddings": 16
}"#;

/// What a branch of a cached model stands for; a revision after it, and the model's id.
pub fn cache(data: &[u8]) {
    let cache = tempfile::tempdir().expect("a cache");
    let refs = cache.path().join("models--org--name/refs");
    std::fs::create_dir_all(&refs).expect("a folder");
    let (reference, model) = data.split_at(
        data.iter()
            .position(|byte| *byte == NEXT_ANSWER)
            .unwrap_or(data.len()),
    );
    std::fs::write(refs.join("main"), reference).expect("a file in it");
    let mut options = options(cache.path(), "");
    options.settings.offline = true;
    let _ = resolve("org/name", &options, &Unwatched);
    let _ = HubId::parse(&String::from_utf8_lossy(model)).map(|id| id.snapshot(cache.path()));
}

fn options(cache: &Path, endpoint: &str) -> ResolveOptions {
    ResolveOptions {
        dummy_weights: false,
        settings: HubSettings {
            cache: cache.to_owned(),
            endpoint: endpoint.to_owned(),
            token: None,
            offline: false,
            retry_pause: Duration::ZERO,
            patience: Patience {
                longest_pause: Duration::ZERO,
                ..Patience::default()
            },
        },
    }
}

fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let next = ANSWERS.lock().expect("the answers").pop();
            // A client that goes away is part of the game.
            let _ = answer(stream, &next.unwrap_or_default());
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut request = BufReader::new(stream.try_clone()?).lines();
    while request
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    stream.write_all(answer)
}
