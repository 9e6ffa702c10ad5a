//! Where a model's files come from: a directory, a configuration file, a card, the Hugging Face cache, the hub.

mod cache;
pub mod cards;
mod damage;
mod download;
mod error;
pub mod gguf;
mod headers;
mod http;
mod layout;
mod part;
mod settings;
mod shard_sets;
mod transfer;
mod waiting;
mod weight_files;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use cache::HubId;
pub use cards::{CARDS, Card};
pub use error::HubError;
pub use headers::headers;
pub use layout::{parse_index, shard_tensors, shards, weights_in};
pub use settings::{HubSettings, Patience, Token};
pub use weight_files::{DummyReason, WeightFiles};

use crate::ground::Progress;
use crate::ground::foreign::{self, Foreign};

/// Card names that an unknown model's error suggests.
const SUGGESTIONS: usize = 3;

/// How to look for a model.
#[derive(Debug, Clone)]
pub struct ResolveOptions {
    /// No weights are needed, looked for or fetched.
    pub dummy_weights: bool,
    pub settings: HubSettings,
}

/// A file beside `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideFile {
    pub path: PathBuf,
    pub text: String,
}

/// The files of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// A card's name, a hub id, or the directory or file as it was given.
    pub name: String,
    /// Text of `config.json`.
    pub config_json: String,
    /// For messages; `None` for a card.
    pub config_path: Option<PathBuf>,
    /// Hugging Face layout; `None` for a card and for a configuration file on its own.
    pub dir: Option<PathBuf>,
    /// What a tool that quantised the weights wrote beside `config.json`.
    pub quantization: Option<SideFile>,
    pub weights: WeightFiles,
}

impl ModelSource {
    pub fn tokenizer_json(&self) -> Option<PathBuf> {
        self.file(layout::TOKENIZER)
    }

    /// What its configuration is called in messages.
    pub fn config_name(&self) -> String {
        match &self.config_path {
            Some(path) => path.display().to_string(),
            None => format!("card {}", self.name),
        }
    }

    /// The path of a file of the model's directory, if there is anything of that name.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.as_ref()?.join(name);
        path.symlink_metadata().is_ok().then_some(path)
    }

    fn in_dir(name: String, dir: &Path, weights: WeightFiles) -> Result<Self, HubError> {
        let config = dir.join(layout::CONFIG);
        Ok(Self {
            name,
            config_json: layout::read(&config)?,
            config_path: Some(config),
            quantization: quantization_in(dir)?,
            dir: Some(dir.to_owned()),
            weights,
        })
    }
}

fn quantization_in(dir: &Path) -> Result<Option<SideFile>, HubError> {
    let mut paths = layout::QUANTIZATION.iter().map(|name| dir.join(name));
    let Some(path) = paths.find(|path| path.is_file()) else {
        return Ok(None);
    };
    let text = layout::read(&path)?;
    Ok(Some(SideFile { path, text }))
}

/// Finds the files of `model`, which is tried as a directory, the path of a `config.json`, a card's name and a hub id,
/// in this order. Only a hub id reaches the network, and only when the cache is not enough.
///
/// # Errors
/// Nothing of that name exists, or its files are incomplete, malformed or cannot be fetched.
pub fn resolve(
    model: &str,
    options: &ResolveOptions,
    progress: &dyn Progress,
) -> Result<ModelSource, HubError> {
    let path = Path::new(model);
    // A directory that only shares its name with a card (of results, say) does not hide it.
    let shadows = path.is_dir() && !path.join(layout::CONFIG).is_file();
    if path.is_dir() && !(shadows && cards::find(model).is_some()) {
        from_directory(model, path, options)
    } else if path.is_file() {
        from_config(model, path)
    } else if path.exists() {
        Err(HubError::NotAConfig {
            path: path.to_owned(),
            what: "a pipe or a device".to_owned(),
            way_out: "give the directory of a model",
        })
    } else if let Some(card) = cards::find(model) {
        from_card(card, options)
    } else if let Some(way_out) = missing(model, options) {
        Err(HubError::MissingDirectory {
            model: model.to_owned(),
            way_out,
        })
    } else if gguf::GgufId::parse(model).is_some_and(|id| id.choice.is_some()) {
        Err(HubError::GgufModel {
            model: model.to_owned(),
        })
    } else if model.contains('/') {
        from_hub(&HubId::parse(model)?, options, progress)
    } else {
        Err(HubError::Unknown {
            model: model.to_owned(),
            closest: cards::closest(model, SUGGESTIONS).join(", "),
        })
    }
}

/// Ends of files' names, which no repository has.
const FILE_ENDS: [&str; 4] = [".json", ".safetensors", ".gguf", ".bin"];

/// What to do about a path that leads nowhere; `None`: it may be meant for a hub. Paths are not worth a request.
fn missing(model: &str, options: &ResolveOptions) -> Option<String> {
    let path = Path::new(model);
    let id = model.split('@').next().unwrap_or(model);
    if let Ok(target) = std::fs::read_link(path) {
        return Some(format!(
            "it is a link to {}, which is not there",
            target.display()
        ));
    }
    if let Some((_, address)) = model.split_once("://") {
        let id: Vec<&str> = address.split('/').skip(1).take(2).collect();
        return Some(format!("it is an address; give its id, {}", id.join("/")));
    }
    let is_path = model.starts_with(['.', '/', '~'])
        || id.ends_with('/')
        || id.contains('\\')
        || id.matches('/').count() > 1
        || (id.contains('/') && FILE_ENDS.iter().any(|end| id.ends_with(end)));
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if is_path {
        let there = parent.is_some_and(Path::is_dir);
        return Some(match there {
            true => "the folder above it is there; check its name".to_owned(),
            false => "the folder above it is missing too; check the path".to_owned(),
        });
    }
    // `models/llama` beside a folder `models` was hardly meant for a hub, unless that has been asked before.
    let local = parent.is_some_and(Path::is_dir) && !model.contains('@');
    let known = || {
        let id = HubId::parse(model);
        id.is_ok_and(|id| id.snapshot(&options.settings.cache).is_ok())
    };
    (local && !known()).then(|| {
        format!("the folder above it is there; check its name, or write {model}@main to ask the hub for it")
    })
}

fn from_directory(
    model: &str,
    dir: &Path,
    options: &ResolveOptions,
) -> Result<ModelSource, HubError> {
    let config = dir.join(layout::CONFIG);
    if !config.is_file() {
        // A folder, a pipe or a link to nothing of that name is told as what it is.
        if config.symlink_metadata().is_ok() {
            layout::read(&config)?;
        }
        return Err(HubError::NoConfig {
            dir: dir.to_owned(),
        });
    }
    ModelSource::in_dir(directory_name(model, dir), dir, wanted(dir, options)?)
}

/// As given; `.` and the like take the directory's real name.
fn directory_name(model: &str, dir: &Path) -> String {
    let real = || Some(dir.canonicalize().ok()?.file_name()?.to_str()?.to_owned());
    let given = model.trim_end_matches('/');
    match dir.file_name() {
        Some(_) => given.to_owned(),
        None => real().unwrap_or_else(|| model.to_owned()),
    }
}

fn from_config(model: &str, path: &Path) -> Result<ModelSource, HubError> {
    if path.extension().is_none_or(|extension| extension != "json") {
        let (what, way_out) = match what_it_is(path) {
            Some(foreign) => (foreign.to_string(), foreign.way_out()),
            None => ("a file".to_owned(), "give the directory it lies in"),
        };
        let path = path.to_owned();
        return Err(HubError::NotAConfig {
            path,
            what,
            way_out,
        });
    }
    // A configuration of another name describes no directory: its neighbours are not its tokenizer.
    let own_dir = path.ends_with(layout::CONFIG);
    let dir = path.parent().filter(|_| own_dir);
    Ok(ModelSource {
        name: model.to_owned(),
        config_json: layout::read(path)?,
        config_path: Some(path.to_owned()),
        quantization: dir.map_or(Ok(None), quantization_in)?,
        dir: dir.map(Path::to_owned),
        weights: WeightFiles::Dummy {
            why: DummyReason::ConfigOnly,
        },
    })
}

fn what_it_is(path: &Path) -> Option<Foreign> {
    let mut head = Vec::new();
    let file = File::open(path).ok()?;
    file.take(foreign::HEAD as u64)
        .read_to_end(&mut head)
        .ok()?;
    Foreign::of(&head)
}

fn from_card(card: &Card, options: &ResolveOptions) -> Result<ModelSource, HubError> {
    let bare = |why| ModelSource {
        name: card.name.to_owned(),
        config_json: card.config_json.to_owned(),
        config_path: None,
        dir: None,
        quantization: None,
        weights: WeightFiles::Dummy { why },
    };
    if options.dummy_weights {
        return Ok(bare(DummyReason::Requested));
    }
    let snapshot = HubId::parse(card.hub_id)?.snapshot(&options.settings.cache);
    match snapshot {
        Ok(dir) => match weights_in(&dir) {
            Ok(weights) => ModelSource::in_dir(card.name.to_owned(), &dir, weights),
            Err(error) if is_incomplete(&error) => Ok(bare(DummyReason::CardWithoutCheckpoint)),
            Err(error) => Err(error),
        },
        Err(_) => Ok(bare(DummyReason::CardWithoutCheckpoint)),
    }
}

fn from_hub(
    repo: &HubId,
    options: &ResolveOptions,
    progress: &dyn Progress,
) -> Result<ModelSource, HubError> {
    let settings = &options.settings;
    let missing = match repo.snapshot(&settings.cache) {
        Ok(dir) => match wanted(&dir, options) {
            Ok(weights) if settings.offline => {
                return ModelSource::in_dir(repo.to_string(), &dir, weights);
            }
            Ok(weights) => match damage::remove(&weights, progress)? {
                None => return ModelSource::in_dir(repo.to_string(), &dir, weights),
                Some(file) => format!("{file} was damaged"),
            },
            Err(error) => incomplete(error)?,
        },
        Err(missing) => missing,
    };
    if settings.offline {
        return Err(HubError::Offline {
            repo: repo.to_string(),
            missing,
            cache: settings.cache.clone(),
        });
    }
    let with_weights = !options.dummy_weights;
    let dir = download::download(settings, repo, with_weights, progress)?;
    ModelSource::in_dir(repo.to_string(), &dir, wanted(&dir, options)?)
}

/// The weights in `dir`, unless none are wanted.
fn wanted(dir: &Path, options: &ResolveOptions) -> Result<WeightFiles, HubError> {
    match options.dummy_weights {
        true => Ok(WeightFiles::Dummy {
            why: DummyReason::Requested,
        }),
        false => weights_in(dir),
    }
}

fn is_incomplete(error: &HubError) -> bool {
    matches!(
        error,
        HubError::MissingShard { .. }
            | HubError::NoWeights { .. }
            | HubError::OtherWeights { .. }
            | HubError::Incomplete { .. }
            | HubError::DeadLink { .. }
    )
}

/// What is missing of a snapshot, as a clause, where it is that.
fn incomplete(error: HubError) -> Result<String, HubError> {
    Ok(match error {
        HubError::MissingShard { shard, .. } => format!("{shard} is missing"),
        HubError::DeadLink { path, .. } => {
            let name = path.file_name().unwrap_or_default();
            format!("{} is missing", name.display())
        }
        error if is_incomplete(&error) => format!("{} is missing", layout::SINGLE_WEIGHTS),
        error => return Err(error),
    })
}
