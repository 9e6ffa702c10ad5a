//! Every input that fuzzing left in `fuzz/corpus` is read or refused: without a panic, soon, and in little memory.

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// For one input. Whatever is bounded ends in far less, and what is not never does.
const LONGEST: Duration = Duration::from_secs(10);
/// MiB that one input may add to the process; a fault takes all there is.
const MOST_MIB: u64 = 200;
/// Between two looks at the clock and the memory.
const GLANCE: Duration = Duration::from_millis(5);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// MiB in memory now; only Linux says it.
fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Runs `target` on its whole corpus, a file at a time, each on a thread that is watched.
fn replay(name: &str, target: fn(&[u8])) {
    let mut files: Vec<PathBuf> = fs::read_dir(corpus().join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    for file in files {
        let shown = file.display();
        let data = fs::read(&file).unwrap();
        let (started, before) = (Instant::now(), resident_mib());
        let run = std::thread::spawn(move || target(&data));
        while !run.is_finished() {
            assert!(
                started.elapsed() < LONGEST,
                "{shown} takes over {LONGEST:?}"
            );
            let grown = resident_mib().saturating_sub(before);
            assert!(grown < MOST_MIB, "{shown} takes over {MOST_MIB} MiB");
            std::thread::sleep(GLANCE);
        }
        assert!(run.join().is_ok(), "{shown} panics");
    }
}

macro_rules! replays {
    ($($target:ident),* $(,)?) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), targets::$target);
            }
        )*

        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
    };
}

replays!(
    cache,
    card,
    chat_template,
    config,
    dataset,
    fit,
    generation_config,
    gguf,
    headers,
    http,
    index,
    names,
    results,
    safetensors,
    scheduler,
    simulated,
    tokenizer,
    tokenizer_config,
);

/// A target without a corpus, or the other way round, would be forgotten in silence.
#[test]
fn every_target_is_replayed_and_fuzzed() {
    let names = |dir: &str| -> BTreeSet<String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(dir);
        let entries = fs::read_dir(dir).unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| stem(entry.unwrap().path())).collect()
    };
    let replayed: BTreeSet<String> = REPLAYED.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names("corpus"), replayed);
    assert_eq!(names("fuzz_targets"), replayed);
}
