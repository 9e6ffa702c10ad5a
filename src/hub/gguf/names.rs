//! The GGUF files of a repository, told apart by their names.

use std::collections::{BTreeMap, BTreeSet};

use crate::ground::json::{self, Limits};
use crate::ground::terminal::listed;
use crate::hub::download::patiently;
use crate::hub::error::HubError;
use crate::hub::http::Client;
use crate::hub::layout::stays_inside;

const END: &str = ".gguf";
const NUMBERED: &str = "-of-";
/// Of one model.
const MOST_PARTS: usize = 1000;
/// Of files that belong to a model and are none: a projector for images, what a quantiser measured.
const PROJECTOR: &str = "mmproj";
const MEASURED: &str = "imatrix";
/// Types that are not told by their first letters.
const PLAIN_TYPES: [&str; 5] = ["F16", "BF16", "F32", "FP16", "FP32"];
/// Before a type, what it was made with.
const MAKERS: [&str; 2] = ["UD", "I1"];

/// The GGUF files of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub commit: String,
    /// Paths in the repository.
    pub names: Vec<String>,
}

impl Files {
    /// # Errors
    /// The hub failed, or does not list files.
    pub fn read(client: &Client) -> Result<Self, HubError> {
        let most = Limits::CONFIG.bytes;
        let text = patiently(client, |_| true, || client.described(most))?;
        let json = json::parse(&text, Limits::CONFIG)
            .map_err(|error| client.no_list(error.to_string()))?;
        let siblings = json.value["siblings"].as_array();
        let commit = json.value["sha"].as_str();
        let (Some(siblings), Some(commit)) = (siblings, commit) else {
            return Err(client.no_list("no sha and siblings in the answer".to_owned()));
        };
        if !crate::hub::cache::is_name(commit) {
            return Err(client.no_list(format!("{commit} is no commit")));
        }
        let names = siblings
            .iter()
            .filter_map(|file| file["rfilename"].as_str());
        let gguf = names.filter(|name| is_gguf(name) && stays_inside(name));
        Ok(Self {
            commit: commit.to_owned(),
            names: gguf.map(str::to_owned).collect(),
        })
    }
}

/// Whether a file is one, by its name.
pub fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(END)
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// One model of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    /// Of what is there of it, in order.
    pub parts: Vec<String>,
    /// So many should be there.
    pub of: usize,
    /// Its path without the number of a part and the end.
    stem: String,
}

impl Model {
    pub fn missing(&self) -> usize {
        self.of - self.parts.len().min(self.of)
    }

    /// The first of its files.
    pub fn name(&self) -> String {
        self.parts.first().cloned().unwrap_or_default()
    }

    /// Its type, as its name or its folder's has it.
    fn label(&self) -> Option<String> {
        let mut folders = self.stem.rsplit('/');
        folders.find_map(label)
    }
}

/// The type that a name ends with.
fn label(name: &str) -> Option<String> {
    let mut words = name.rsplit(['-', '.']).map(str::to_ascii_uppercase);
    let kind = words.next().filter(|word| is_type(word))?;
    let maker = words.next().filter(|word| MAKERS.contains(&&**word));
    Some(match maker {
        Some(maker) => format!("{maker}-{kind}"),
        None => kind,
    })
}

fn is_type(word: &str) -> bool {
    let numbered = ["IQ", "TQ", "Q"]
        .iter()
        .find_map(|start| word.strip_prefix(start))
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    numbered
        || PLAIN_TYPES.contains(&word)
        || word.starts_with("MXFP4")
        || word.starts_with("NVFP4")
}

/// `stem`, `k` and `n` of `stem-0000k-of-0000n.gguf`.
fn place(file: &str) -> Option<(&str, usize, usize)> {
    let (before, of) = file.get(..file.len() - END.len())?.rsplit_once(NUMBERED)?;
    let (stem, number) = before.rsplit_once('-')?;
    let (number, of): (usize, usize) = (number.parse().ok()?, of.parse().ok()?);
    ((1..=of).contains(&number) && of <= MOST_PARTS).then_some((stem, number, of))
}

/// The other files of `…-00001-of-0000n.gguf`, in order; empty: it is a whole model.
pub fn other_parts(first: &str) -> Vec<String> {
    let others = || {
        let (stem, 1, of) = place(first)? else {
            return None;
        };
        let end = &first[first.len() - END.len()..];
        let name = |number| format!("{stem}-{number:05}{NUMBERED}{of:05}{end}");
        (name(1) == first).then(|| (2..=of).map(name).collect())
    };
    others().unwrap_or_default()
}

/// Those that are models, in the order of their names.
pub(super) fn models(files: &[String]) -> Vec<Model> {
    let mut models: BTreeMap<(&str, usize), BTreeMap<usize, &String>> = BTreeMap::new();
    for file in files {
        let name = base(&file[..file.len() - END.len()]).to_ascii_lowercase();
        let measured = name.starts_with(MEASURED) || name.ends_with(MEASURED);
        if name.contains(PROJECTOR) || measured {
            continue;
        }
        let whole = (&file[..file.len() - END.len()], 1, 1);
        let (stem, number, of) = place(file).unwrap_or(whole);
        models.entry((stem, of)).or_default().insert(number, file);
    }
    let model = |((stem, of), parts): ((&str, usize), BTreeMap<usize, &String>)| Model {
        parts: parts.into_values().cloned().collect(),
        of,
        stem: stem.to_owned(),
    };
    models.into_iter().map(model).collect()
}

/// What each is chosen by: its type, or its file where that does not tell it from the others.
pub(super) fn shown(models: &[&Model]) -> Vec<String> {
    let labels: Vec<Option<String>> = models.iter().map(|model| model.label()).collect();
    let different: BTreeSet<&Option<String>> = labels.iter().collect();
    let tell = different.len() == labels.len();
    let name = |(label, model): (&Option<String>, &&Model)| match label {
        Some(label) if tell => label.clone(),
        _ => model.name(),
    };
    labels.iter().zip(models).map(name).collect()
}

pub(super) fn in_words(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => listed(names, ", "),
    }
}

/// Those that `choice` means: by file, else by type, else by the end of a name.
pub(super) fn meant<'a>(models: &'a [Model], choice: &str) -> Vec<&'a Model> {
    let choice = choice.to_ascii_lowercase();
    let is_file = |model: &&Model| {
        let path = model.name().to_ascii_lowercase();
        let stem = model.stem.to_ascii_lowercase();
        [&*path, base(&path), &*stem, base(&stem)].contains(&&*choice)
    };
    let of_type = |model: &&Model| {
        let label = model.label().map(|label| label.to_ascii_lowercase());
        label.as_ref() == Some(&choice)
    };
    let chosen_is_type = is_type(&choice.to_ascii_uppercase());
    let ends_so = |model: &&Model| {
        let stem = model.stem.to_ascii_lowercase();
        let before = stem.strip_suffix(&choice);
        before.is_some_and(|before| {
            // Types have underscores themselves.
            before.ends_with('_') && chosen_is_type || before.ends_with(['-', '.', '/'])
        })
    };
    let ways: [&dyn Fn(&&Model) -> bool; 3] = [&is_file, &of_type, &ends_so];
    let found = ways.map(|way| models.iter().filter(way).collect::<Vec<_>>());
    let mut found = found.into_iter().filter(|found| !found.is_empty());
    found.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[&str]) -> Vec<Model> {
        models(
            &files
                .iter()
                .map(|&file| file.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    fn names(models: &[Model]) -> Vec<String> {
        shown(&models.iter().collect::<Vec<_>>())
    }

    #[test]
    fn files_of_every_maker_are_told_apart() {
        for (files, labels) in [
            (
                &[
                    "Qwen3-8B-Q4_K_M.gguf",
                    "Qwen3-8B-UD-Q4_K_XL.gguf",
                    "mmproj-F16.gguf",
                ][..],
                &["Q4_K_M", "UD-Q4_K_XL"][..],
            ),
            (&["qwen2.5-7b-instruct-q5_0.gguf"], &["Q5_0"]),
            (
                &["mistral-7b.Q4_K_S.gguf", "mistral-7b.fp16.gguf"],
                &["Q4_K_S", "FP16"],
            ),
            (
                &[
                    "x.i1-IQ2_XXS.gguf",
                    "x.imatrix.gguf",
                    "imatrix_unsloth.gguf",
                ],
                &["I1-IQ2_XXS"],
            ),
            (
                &["BF16/x-00001-of-00002.gguf", "BF16/x-00002-of-00002.gguf"],
                &["BF16"],
            ),
            (
                &["gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b-F16.gguf"],
                &["F16", "MXFP4"],
            ),
            // No type tells these two.
            (
                &["a-Q8_0.gguf", "b-Q8_0.gguf"],
                &["a-Q8_0.gguf", "b-Q8_0.gguf"],
            ),
            (&["model.gguf"], &["model.gguf"]),
        ] {
            let found = of(files);
            let mut shown = names(&found);
            shown.sort();
            let mut labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
            labels.sort();
            assert_eq!(shown, labels);
        }
    }

    #[test]
    fn parts_are_one_model_in_order() {
        let files = [
            "d/x-Q8_0-00002-of-00003.gguf",
            "d/x-Q8_0-00001-of-00003.gguf",
        ];
        let found = of(&files);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].missing(), &*found[0].name()), (1, files[1]));
        assert_eq!(
            other_parts("x-00001-of-00003.GGUF"),
            ["x-00002-of-00003.GGUF", "x-00003-of-00003.GGUF"]
        );
        for whole in ["x.gguf", "x-00002-of-00003.gguf", "x-1-of-3.gguf", "é.gguf"] {
            assert_eq!(other_parts(whole), [""; 0], "{whole}");
        }
    }

    #[test]
    fn the_nearest_meaning_wins() {
        let found = of(&[
            "Qwen3-8B-Q4_K_M.gguf",
            "Qwen3-8B-UD-Q4_K_M.gguf",
            "Qwen3-8B-Q4_K_M-imat.gguf",
            "q8/Qwen3-8B-Q8_0-00001-of-00001.gguf",
        ]);
        let meant = |choice| {
            let models = meant(&found, choice);
            models.iter().map(|model| model.name()).collect::<Vec<_>>()
        };
        assert_eq!(meant("q4_k_m"), ["Qwen3-8B-Q4_K_M.gguf"]);
        assert_eq!(meant("UD-Q4_K_M"), ["Qwen3-8B-UD-Q4_K_M.gguf"]);
        assert_eq!(meant("Q4_K_M-imat"), ["Qwen3-8B-Q4_K_M-imat.gguf"]);
        assert_eq!(
            meant("Qwen3-8B-Q8_0"),
            ["q8/Qwen3-8B-Q8_0-00001-of-00001.gguf"]
        );
        assert_eq!(meant("M"), [""; 0]);
    }
}
