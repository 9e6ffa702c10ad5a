//! The house stands as it was drawn: data runs one way, files stay readable, `unsafe` stays in its room.

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/source.rs"]
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use source::{Source, code, sources};

/// From the street to the ground: a room uses only rooms after it.
const ROOMS: [&str; 26] = [
    "cli",
    "audit",
    "report",
    "comparison",
    "archive",
    "recommend",
    "capacity",
    "reference",
    "bench",
    "profile",
    "session",
    "fit",
    "metrics",
    "telemetry",
    "workload",
    "engine",
    "scheduler",
    "exec",
    "model",
    "parallel",
    "ops",
    "shape",
    "text",
    "hub",
    "hardware",
    "ground",
];

/// Where `unsafe` may stand.
const UNSAFE_ROOM: &str = "ops";

/// The habit is near 300 lines; this is where a file has two ideas.
const LONGEST_FILE: usize = 400;

fn place(room: &str) -> Option<usize> {
    ROOMS.iter().position(|r| *r == room)
}

/// A sentence for each room that is used and is not below the user's.
fn climbs(source: &Source) -> Vec<String> {
    let Some(own) = place(&source.room) else {
        return Vec::new(); // main.rs and lib.rs stand outside the rooms
    };
    let rooms = source.rooms().into_iter();
    let upward = rooms.filter(|room| place(room).is_some_and(|other| other < own));
    upward
        .map(|room| format!("{} uses crate::{room}", source.path.display()))
        .collect()
}

#[test]
fn rooms_use_only_rooms_below_them() {
    let climbs: Vec<String> = sources().iter().flat_map(climbs).collect();
    assert!(climbs.is_empty(), "\n{}", climbs.join("\n"));
}

#[test]
fn the_check_sees_a_climb() {
    let source = |text: &str| Source::new(Path::new("scheduler/x.rs"), text.to_owned());
    assert_eq!(climbs(&source("use crate::engine::Engine;")).len(), 1);
    assert_eq!(
        climbs(&source("use crate::{ground::Clock, cli::{a, b}};")).len(),
        1
    );
    assert_eq!(
        climbs(&source("fn f() { crate::report::json(x) }")).len(),
        1
    );
    assert!(climbs(&source("// crate::engine\nuse crate::ground::Clock;")).is_empty());
}

#[test]
fn every_room_is_on_the_map() {
    let map = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let listed: Vec<&str> = map
        .lines()
        .filter_map(|line| line.strip_prefix("//! - `"))
        .map(|line| {
            let (room, words) = line.split_once("`: ").expect("`room`: what it is for");
            assert!(words.len() > 10, "{room} has no line of its own");
            room
        })
        .collect();
    assert_eq!(
        listed, ROOMS,
        "lib.rs lists the rooms from the street to the ground"
    );
    for room in ROOMS {
        assert!(
            map.contains(&format!("\npub mod {room};")),
            "{room} is not built"
        );
    }
    for source in sources() {
        let known = place(&source.room).is_some() || ["main", "lib"].contains(&&*source.room);
        assert!(known, "{} is in no room", source.path.display());
    }
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .iter()
        .map(|s| (s.text.lines().count(), s))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, s)| format!("{} has {lines} lines", s.path.display()))
        .collect();
    assert!(long.is_empty(), "over {LONGEST_FILE}: {}", long.join(", "));
}

/// The scheduler and the metrics compute on plain data: no tensors, no time but what they are given.
#[test]
fn pure_rooms_stay_pure() {
    let banned: BTreeMap<&str, &[&str]> = BTreeMap::from([
        (
            "scheduler",
            &["candle_core", "Instant", "SystemTime", "rand::"][..],
        ),
        (
            "metrics",
            &["candle_core", "Instant", "SystemTime", "std::fs"][..],
        ),
        (
            "profile",
            &["candle_core", "Instant", "SystemTime", "std::fs"][..],
        ),
        ("report", &["println!", "print!", "eprintln!"][..]),
    ]);
    for source in sources() {
        for word in banned.get(&*source.room).copied().unwrap_or_default() {
            let found = code(&source.text).find(|(_, line)| line.contains(word));
            assert!(
                found.is_none(),
                "{} uses {word}: {found:?}",
                source.path.display()
            );
        }
    }
}

#[test]
fn unsafe_stands_in_its_room_with_a_reason() {
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in code(&source.text) {
            let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            if !words.clone().any(|word| word == "unsafe") || line.contains("unsafe_") {
                continue;
            }
            let place = format!("{}:{number}", source.path.display());
            assert_eq!(source.room, UNSAFE_ROOM, "{place} has unsafe code");
            // An unsafe fn states its contract; a block or impl says why it keeps one.
            let above = lines[number.saturating_sub(16)..number].join("\n");
            let reason = above.contains("SAFETY:") || above.contains("# Safety");
            assert!(reason, "{place} has no SAFETY line");
        }
    }
}

#[test]
fn only_cli_prints() {
    let prints = ["println!", "print!(", "eprint", "io::stdout", "dbg!"];
    for source in sources()
        .iter()
        .filter(|s| s.room != "cli" && s.room != "main")
    {
        for word in prints {
            let found = code(&source.text).find(|(_, line)| line.contains(word));
            assert!(
                found.is_none(),
                "{} prints: {found:?}",
                source.path.display()
            );
        }
    }
}
