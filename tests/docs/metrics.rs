//! `docs/metrics.md`, and the pages of commands with a result of their own, have every key of what the program writes as
//! JSON, and no other.
//!
//! A comment `<!-- keys: NAME -->` begins the table of an object: `NAME` is that of the type in its JSON Schema.

use std::collections::{BTreeMap, BTreeSet};

use candlepower::bench::Shapes;
use candlepower::capacity::{Capacity, StoredPoint, Sweep};
use candlepower::comparison::waterfall::Waterfall;
use candlepower::ground::results::Results;
use candlepower::ground::{ExpertLoad, RequestRecord, StepRecord, TelemetrySample};
use candlepower::profile::Profile;
use candlepower::recommend::Recommendation;
use serde_json::Value;

use crate::cli_support::run;
use crate::links::code;
use crate::page::Page;

const PAGES: [&str; 5] = [
    "docs/metrics.md",
    "docs/capacity.md",
    "docs/sweep.md",
    "docs/explain.md",
    "docs/recommend.md",
];
const COMMENT: &str = "<!-- keys: ";

/// Keys of each object, by the name of its type.
type Objects = BTreeMap<String, BTreeSet<String>>;

/// Of a schema and all that it is made of.
fn add(objects: &mut Objects, schema: &Value) {
    let name = schema["title"].as_str().unwrap().to_owned();
    let parts = schema["$defs"].as_object().into_iter().flatten();
    let parts = parts.map(|(name, part)| (name.clone(), part));
    for (name, part) in parts.chain([(name, schema)]) {
        if let Some(properties) = part["properties"].as_object() {
            objects.insert(name, properties.keys().cloned().collect());
        }
    }
}

/// `fit` has no schema: what it answers to questions that together show every key.
fn add_fit(objects: &mut Objects) {
    let card = ["--gpu", "rtx4090-48g", "--json"];
    let questions: [&[&str]; 4] = [
        &[
            "--model",
            "QwQ-32B",
            "--engine",
            "vllm",
            "--gpus",
            "2",
            "--explain",
        ],
        &["--model", "QwQ-32B", "--gpus", "4", "--concurrency", "1000"],
        &["--model", "QwQ-32B", "--engine", "vllm", "--gpus", "1"],
        &["--model", "QwQ-32B", "--tp", "3"],
    ];
    for question in questions {
        let answer = run(&[&["fit"], question, &card[..]].concat()).json();
        for (name, value) in [
            ("Answer", &answer),
            ("PerRank", &answer["per_rank"]),
            ("Fix", &answer["fixes"][0]),
            ("Record", &answer["record"]),
        ] {
            let keys = value.as_object().into_iter().flatten();
            let object = objects.entry(name.to_owned()).or_default();
            object.extend(keys.map(|(key, _)| key.clone()));
        }
    }
}

fn written() -> Objects {
    let mut objects = Objects::new();
    for schema in [
        Results::schema(),
        Profile::schema(),
        Waterfall::schema(),
        Shapes::schema(),
        Capacity::schema(),
        Sweep::schema(),
        Recommendation::schema(),
        schemars::schema_for!(StoredPoint).to_value(),
        schemars::schema_for!(RequestRecord).to_value(),
        schemars::schema_for!(StepRecord).to_value(),
        schemars::schema_for!(ExpertLoad).to_value(),
        schemars::schema_for!(TelemetrySample).to_value(),
    ] {
        add(&mut objects, &schema);
    }
    add_fit(&mut objects);
    objects
}

/// Names in the first cells of the tables behind each comment; no cell of them is empty.
fn documented() -> Objects {
    let mut objects = Objects::new();
    for name in PAGES {
        add_page(&mut objects, &Page::read(name));
    }
    objects
}

fn add_page(objects: &mut Objects, page: &Page) {
    let mut current = None;
    for (number, line) in page.prose() {
        if let Some(name) = line.strip_prefix(COMMENT) {
            let name = name.trim_end_matches("-->").trim().to_owned();
            objects.insert(name.clone(), BTreeSet::new());
            current = Some(name);
        } else if line.starts_with("## ") {
            current = None;
        }
        let (Some(name), Some(row)) = (&current, line.strip_prefix("| `")) else {
            continue;
        };
        let cells = line.trim_matches('|').split(" | ");
        assert!(
            cells.map(str::trim).all(|cell| !cell.is_empty()),
            "{}:{number}: an empty cell",
            page.name
        );
        let first = row.split(" | ").next().unwrap_or_default();
        for key in code(&format!("`{first}")) {
            let new = objects
                .entry(name.clone())
                .or_default()
                .insert(key.to_owned());
            assert!(new, "{}:{number}: {name}.{key} is there twice", page.name);
        }
    }
}

#[test]
fn every_key_is_documented_and_no_other() {
    let (written, documented) = (written(), documented());
    let mut wrong = Vec::new();
    let names: BTreeSet<&String> = written.keys().chain(documented.keys()).collect();
    for name in names {
        let none = BTreeSet::new();
        let (keys, rows) = (
            written.get(name).unwrap_or(&none),
            documented.get(name).unwrap_or(&none),
        );
        wrong.extend(
            keys.difference(rows)
                .map(|key| format!("{name}.{key} is in no page")),
        );
        wrong.extend(
            rows.difference(keys)
                .map(|key| format!("{name}.{key} is only in a page")),
        );
    }
    assert!(written["Extended"].len() > 90, "{:?}", written["Extended"]);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
