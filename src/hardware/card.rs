//! A card's table in TOML -> `Gpu`: keys and values checked, sources and reasons filled in.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::{Capability, Gpu, HardwareError};

/// What any card of these years has, a hundred times over on both sides: the rest is a slip of the keyboard, and
/// would take times beyond any clock.
#[derive(Clone, Copy, PartialEq)]
struct Bounds {
    least: f64,
    greatest: f64,
    rule: &'static str,
}

const MEMORY: Bounds = Bounds {
    least: 0.1,
    greatest: 1e5,
    rule: "a positive number of gigabytes, from 0.1 to 100000",
};
const RATE: Bounds = Bounds {
    least: 1.0,
    greatest: 1e6,
    rule: "a positive number of GB/s, from 1 to 1000000",
};
const COMPUTE: Bounds = Bounds {
    least: 0.1,
    greatest: 1e6,
    rule: "a positive number of TFLOP/s, from 0.1 to 1000000",
};
const POWER: Bounds = Bounds {
    least: 0.1,
    greatest: 1e5,
    rule: "a positive number of watts, from 0.1 to 100000",
};
/// Of generations and lanes.
const GREATEST_COUNT: i64 = 64;
/// Of a file: a card takes some hundred bytes.
const GREATEST_FILE: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Capability,
    Number(Bounds),
    Count,
    Flag,
    /// Key of the card -> words.
    Words,
}

/// Every key of a card.
const KEYS: [(&str, Kind); 25] = [
    ("name", Kind::Text),
    ("full_name", Kind::Text),
    ("compute_capability", Kind::Capability),
    ("memory_sticker_gb", Kind::Number(MEMORY)),
    ("memory_gib", Kind::Number(MEMORY)),
    ("bandwidth_gb_s", Kind::Number(RATE)),
    ("bf16_tflops", Kind::Number(COMPUTE)),
    ("fp16_tflops", Kind::Number(COMPUTE)),
    ("fp8_tflops", Kind::Number(COMPUTE)),
    ("f32_tflops", Kind::Number(COMPUTE)),
    ("power_w", Kind::Number(POWER)),
    ("pcie_generation", Kind::Count),
    ("pcie_lanes", Kind::Count),
    ("p2p", Kind::Flag),
    ("nvlink_generation", Kind::Count),
    ("nvlink_gb_s", Kind::Number(RATE)),
    ("nvlink_bridge", Kind::Flag),
    ("measured_copy_gb_s", Kind::Number(RATE)),
    ("measured_read_gb_s", Kind::Number(RATE)),
    ("measured_matmul_tflops", Kind::Number(COMPUTE)),
    ("measured_fp8_matmul_tflops", Kind::Number(COMPUTE)),
    ("idle_w", Kind::Number(POWER)),
    ("source", Kind::Text),
    ("sources", Kind::Words),
    ("absent", Kind::Words),
];

/// Keys that say something about the card's others.
const ABOUT: [&str; 5] = ["name", "full_name", "source", "sources", "absent"];

/// Keys without which nothing can be predicted.
const REQUIRED: [(&str, &str); 4] = [
    ("compute_capability", "add one such as \"8.9\""),
    ("memory_gib", "add the GiB that CUDA reports as total"),
    (
        "bandwidth_gb_s",
        "add the data sheet's memory bandwidth in GB/s",
    ),
    (
        "fp16_tflops",
        "add the dense TFLOP/s of fp16 tensor cores with fp32 accumulate",
    ),
];

/// The card that a file describes.
///
/// # Errors
/// `File`, and those of [`from_toml`].
pub fn read(path: &Path) -> Result<Gpu, HardwareError> {
    let file = path.display().to_string();
    let text = read_text(path).map_err(|source| HardwareError::File {
        file: file.clone(),
        source,
    })?;
    from_toml(&text, &file)
}

/// Of a plain file: others may never end.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    if about.len() > GREATEST_FILE {
        let size = about.len();
        let reason = format!("it has {size} bytes, and a card takes {GREATEST_FILE} at most");
        return Err(io::Error::other(reason));
    }
    fs::read_to_string(path)
}

/// The card that `text` describes, under the keys of [`Gpu`]; `source` names where values without an
/// entry in `sources` come from, which is `file` itself where it is left out, as its stem is the name.
///
/// # Errors
/// `Syntax`, `Missing`, `UnknownKey` and `Value` name `file`, the key and the value.
pub fn from_toml(text: &str, file: &str) -> Result<Gpu, HardwareError> {
    let table: Table = text.parse().map_err(|error| syntax(text, file, &error))?;
    complete(table, file, &BTreeMap::new())
}

pub(super) fn syntax(text: &str, file: &str, error: &toml::de::Error) -> HardwareError {
    let before = error.span().and_then(|span| text.get(..span.start));
    HardwareError::Syntax {
        file: file.to_owned(),
        line: 1 + before.unwrap_or_default().matches('\n').count(),
        reason: error.message().replace('\n', " "),
    }
}

/// Checks a card's table and says for every key where its value comes from or why it has none.
pub(super) fn complete(
    mut table: Table,
    file: &str,
    cite: &BTreeMap<String, String>,
) -> Result<Gpu, HardwareError> {
    // 8.9 without quotes is what most will write.
    if let Some(number) = table.get("compute_capability").and_then(Value::as_float) {
        table.insert("compute_capability".into(), format!("{number:.1}").into());
    }
    check(&table, file)?;

    let stem = Path::new(file).file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy().into_owned();
    let name = table.entry("name").or_insert(stem.into()).clone();
    table.entry("full_name").or_insert(name);

    let default = table.remove("source");
    let default = default.as_ref().and_then(Value::as_str).unwrap_or(file);
    let written = words(table.remove("sources"));
    let unknown = words(table.remove("absent"));
    let capability = table.get("compute_capability").and_then(Value::as_str);
    let capability = capability.and_then(|text| text.parse().ok());
    let (mut sources, mut absent) = (Table::new(), Table::new());
    for (key, _) in KEYS.iter().filter(|(key, _)| !ABOUT.contains(key)) {
        if table.contains_key(*key) {
            let source = written.get(*key).map_or(default, String::as_str);
            let source = cite.get(source).map_or(source, String::as_str);
            sources.insert((*key).to_owned(), source.into());
        } else {
            let reason = unknown
                .get(*key)
                .map_or(reason(key, capability), String::as_str);
            absent.insert((*key).to_owned(), reason.into());
        }
    }
    table.insert("sources".into(), sources.into());
    table.insert("absent".into(), absent.into());
    Gpu::deserialize(table).map_err(|error| syntax("", file, &error))
}

fn words(value: Option<Value>) -> BTreeMap<String, String> {
    value
        .and_then(|value| value.try_into().ok())
        .unwrap_or_default()
}

/// Why a card has no value for `key` where nobody wrote a reason.
fn reason(key: &str, capability: Option<Capability>) -> &'static str {
    let before = |first| capability.is_some_and(|own| own < first);
    match key {
        "bf16_tflops" if before(Capability::BF16) => {
            "no bf16 tensor cores before compute capability 8.0"
        }
        "fp8_tflops" if before(Capability::FP8) => {
            "no FP8 tensor cores before compute capability 8.9"
        }
        _ if key.starts_with("nvlink_") => "no NVLink",
        _ if key.starts_with("measured_") || key == "idle_w" => "no measurement collected",
        _ => "not given",
    }
}

fn check(table: &Table, file: &str) -> Result<(), HardwareError> {
    for (key, value) in table {
        let known = KEYS.iter().find(|(known, _)| known == key);
        let (_, kind) = known.ok_or_else(|| HardwareError::UnknownKey {
            file: file.to_owned(),
            key: key.clone(),
            nearest: nearest_key(key),
        })?;
        if !kind.holds(value) {
            return Err(HardwareError::Value {
                file: file.to_owned(),
                key: key.clone(),
                value: value.to_string(),
                rule: kind.rule(),
            });
        }
    }
    let missing = REQUIRED.iter().find(|(key, _)| !table.contains_key(*key));
    missing.map_or(Ok(()), |&(key, rule)| {
        let file = file.to_owned();
        Err(HardwareError::Missing { file, key, rule })
    })
}

fn nearest_key(wanted: &str) -> &'static str {
    let keys = KEYS.iter().map(|(key, _)| *key);
    keys.min_by_key(|key| strsim::levenshtein(wanted, key))
        .unwrap_or_default()
}

impl Kind {
    fn rule(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes that is not empty",
            Self::Capability => "a compute capability such as \"8.9\"",
            Self::Number(bounds) => bounds.rule,
            Self::Count => "a whole number from 1 to 64",
            Self::Flag => "true or false",
            Self::Words => "a table of keys of this card, each with a text in quotes",
        }
    }

    fn holds(self, value: &Value) -> bool {
        let whole = value.as_integer();
        let number = value.as_float().or(whole.map(|n| n as f64));
        let text = value.as_str();
        match self {
            Self::Text => text.is_some_and(|t| !t.trim().is_empty()),
            Self::Capability => text.is_some_and(|t| t.parse::<Capability>().is_ok()),
            Self::Number(Bounds {
                least, greatest, ..
            }) => number.is_some_and(|n| (least..=greatest).contains(&n)),
            Self::Count => whole.is_some_and(|n| (1..=GREATEST_COUNT).contains(&n)),
            Self::Flag => value.is_bool(),
            Self::Words => value.as_table().is_some_and(|words| {
                let known = |key| KEYS.iter().any(|(k, _)| *k == key && !ABOUT.contains(k));
                words
                    .iter()
                    .all(|(key, word)| known(key.as_str()) && word.is_str())
            }),
        }
    }
}
