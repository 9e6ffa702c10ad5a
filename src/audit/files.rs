//! The files of a result: what the manifest says of them, and what those that follow from others should hold.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::same::{difference, is_near};
use super::{Evidence, held};
use crate::ground::json::small_text;
use crate::ground::results::Check;
use crate::report::{MANIFEST, Manifest, PAGE, csv, markdown, vllm};

const CHUNK: usize = 1 << 16;
/// What every result has.
const NEEDED: [&str; 6] = [
    "results.json",
    "requests.jsonl",
    "steps.jsonl",
    "telemetry.csv",
    "summary.csv",
    "summary.md",
];
/// Beside the manifest, and what is made from the other files.
const UNLISTED: [&str; 2] = [MANIFEST, PAGE];

/// One check a file, and the digest of the manifest.
pub fn intact(dir: &Path) -> (Vec<Check>, String) {
    let path = dir.join(MANIFEST);
    let digest = sha256(&path).map_or_else(|_| String::new(), |(digest, _)| digest);
    let text = small_text(&path);
    let manifest = text.and_then(|text| serde_json::from_str::<Manifest>(&text).ok());
    let Some(manifest) = manifest else {
        let fault = "there is none, or it is none: nothing tells whether files were altered";
        return (vec![held(MANIFEST, Err(fault.to_owned()))], digest);
    };
    let missing = NEEDED
        .iter()
        .find(|name| !manifest.files.contains_key(**name));
    let complete = match missing {
        Some(name) => Err(format!("it does not list {name}")),
        None => Ok(format!("{} files listed", manifest.files.len())),
    };
    let mut checks = vec![held(MANIFEST, complete)];
    for (name, listed) in &manifest.files {
        let fits = !name.contains(['/', '\\']) && !name.starts_with('.');
        let found = match fits {
            true => sha256(&dir.join(name)).map_err(|error| error.to_string()),
            false => Err("no name of a file of a result".to_owned()),
        };
        let outcome = found.and_then(|(digest, bytes)| {
            if (&*digest, bytes) == (&*listed.sha256, listed.bytes) {
                Ok(format!("{bytes} bytes, sha256:{digest}"))
            } else {
                Err(format!(
                    "{bytes} bytes, sha256:{digest}, where {} and sha256:{} were written",
                    listed.bytes, listed.sha256
                ))
            }
        });
        checks.push(held(format!("file {name}"), outcome));
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_ours = |name: &String| NEEDED.contains(&&**name) || name.starts_with("vllm");
    let strange = names
        .filter(|name| !UNLISTED.contains(&&**name) && is_ours(name))
        .find(|name| !manifest.files.contains_key(name));
    if let Some(name) = strange {
        let fault = format!("{name} is there and not listed");
        checks.push(held("files beside it", Err(fault)));
    }
    (checks, digest)
}

fn sha256(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((format!("{:x}", hash.finalize()), bytes));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// Files that the results and records make.
pub fn derived(dir: &Path, evidence: &Evidence) -> Vec<Check> {
    let Evidence { results, raw } = evidence;
    let follows = |name: &str, expected: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
        let found = difference(&dir.join(name), expected).map_err(|error| error.to_string());
        let outcome = found.and_then(|difference| match difference {
            None => Ok("as the others make it".to_owned()),
            Some(difference) => Err(difference),
        });
        held(format!("{name} follows"), outcome)
    };
    let mut checks = vec![
        follows("summary.csv", &|out| {
            out.write_all(csv::summary(results).as_bytes())
        }),
        follows("summary.md", &|out| {
            out.write_all(markdown(results).as_bytes())
        }),
    ];
    for (index, (run, raw)) in results.runs.iter().zip(raw).enumerate() {
        let name = match results.runs.len() {
            1 => "vllm.json".to_owned(),
            _ => format!("vllm-{}.json", index + 1),
        };
        checks.push(follows(&name, &|out| {
            serde_json::to_writer(&mut *out, &vllm::run(results, run, raw))?;
            writeln!(out)
        }));
    }
    checks
}

/// Where two values differ, and how.
pub fn unlike(found: &Value, expected: &Value, place: &str) -> Option<String> {
    let differs = || {
        let shown = |value: &Value| {
            let text = value.to_string();
            text.chars().take(60).collect::<String>()
        };
        let place = if place.is_empty() { "it" } else { place };
        Some(format!(
            "{place} is {}, and the records make it {}",
            shown(found),
            shown(expected)
        ))
    };
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = b.keys().chain(a.keys().filter(|key| !b.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let null = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                let place = if place.is_empty() {
                    key.clone()
                } else {
                    format!("{place}.{key}")
                };
                unlike(a, b, &place)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let both = a.iter().zip(b).enumerate();
            both.into_iter()
                .find_map(|(at, (a, b))| unlike(a, b, &format!("{place}[{at}]")))
        }
        (Value::Number(a), Value::Number(b)) => {
            let is_same = is_near(a.as_f64()?, b.as_f64()?);
            if is_same { None } else { differs() }
        }
        (a, b) if a == b => None,
        _ => differs(),
    }
}
