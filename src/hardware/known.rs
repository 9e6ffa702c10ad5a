//! The cards known by name, carried inside the program.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;

use super::{Gpu, HardwareError, card};

const FILE: &str = "src/hardware/gpus.toml";
const TEXT: &str = include_str!("gpus.toml");
/// Part by which a card's memory may differ from that of its table.
const SAME_MEMORY: f64 = 0.1;
/// Names that the error of an unknown one offers.
const OFFERED: usize = 3;

#[derive(Deserialize)]
struct File {
    /// Short name of a source -> what it is.
    cite: BTreeMap<String, String>,
    gpu: Vec<toml::Table>,
}

/// Read at the first look-up.
static CARDS: LazyLock<Result<Vec<Gpu>, String>> = LazyLock::new(|| {
    let file: File = toml::from_str(TEXT).map_err(|error| error.message().to_owned())?;
    let cards = file.gpu.into_iter();
    let cards = cards.map(|table| card::complete(table, FILE, &file.cite));
    let cards = cards.collect::<Result<_, _>>();
    cards.map_err(|error| error.to_string())
});

/// Every card, in the file's order: kinds apart, older ones first.
///
/// # Errors
/// None in a build that passed its tests.
pub fn known() -> Result<&'static [Gpu], HardwareError> {
    let malformed = |reason: &String| HardwareError::BuiltIn {
        file: FILE,
        reason: reason.clone(),
    };
    CARDS.as_deref().map_err(malformed)
}

/// The known card that a driver calls `name`, by its words and the memory that it shows.
pub fn of_device(name: &str, memory_gib: f64) -> Option<Gpu> {
    let words = |name: &str| -> Vec<String> {
        let words = name.split(|c: char| !c.is_alphanumeric());
        let words = words.filter(|word| !word.is_empty() && *word != "NVIDIA");
        words.map(str::to_lowercase).collect()
    };
    let (wanted, memory) = (words(name), memory_gib);
    let is_it = |gpu: &Gpu| {
        let own = words(&gpu.full_name);
        let has_all = wanted.iter().all(|word| own.contains(word));
        has_all && (gpu.memory_gib - memory).abs() < SAME_MEMORY * memory
    };
    let apart = |gpu: &Gpu| (gpu.memory_gib - memory).abs();
    let cards = known().ok()?.iter().filter(|gpu| is_it(gpu));
    cards.min_by(|a, b| apart(a).total_cmp(&apart(b))).cloned()
}

/// The card of that name (letter case is ignored), or the one that a file describes where `wanted`
/// ends in `.toml`.
///
/// # Errors
/// `Unknown` names the nearest cards; those of [`card::read`] for a file.
pub fn find(wanted: &str) -> Result<Gpu, HardwareError> {
    let path = Path::new(wanted);
    if path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("toml"))
    {
        return card::read(path);
    }
    let cards = known()?;
    let named = cards
        .iter()
        .find(|gpu| gpu.name.eq_ignore_ascii_case(wanted));
    named.cloned().ok_or_else(|| HardwareError::Unknown {
        name: wanted.to_owned(),
        nearest: nearest(wanted, cards),
    })
}

/// The nearest names; one who writes a part of a name, or the name that nvidia-smi prints, means that card.
fn nearest(wanted: &str, cards: &[Gpu]) -> String {
    let plain = |text: &str| -> String {
        let letters = text.chars().filter(|c| c.is_alphanumeric());
        letters.collect::<String>().to_lowercase()
    };
    let wanted = plain(wanted);
    let far = |name: &str| {
        let name = plain(name);
        let part = !wanted.is_empty() && (name.contains(&wanted) || wanted.contains(&name));
        (!part, strsim::levenshtein(&wanted, &name))
    };
    let mut cards: Vec<&Gpu> = cards.iter().collect();
    cards.sort_by_key(|gpu| far(&gpu.name).min(far(&gpu.full_name)));
    let names = cards.iter().take(OFFERED);
    names
        .map(|gpu| format!("{} ({})", gpu.name, gpu.full_name))
        .collect::<Vec<_>>()
        .join(", ")
}
