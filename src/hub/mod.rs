//! Where a model's files come from: a directory, a configuration file, a card, the Hugging Face cache, the hub.

mod cache;
pub mod cards;
mod download;
mod error;
mod http;
mod layout;
mod settings;

use std::path::{Path, PathBuf};

pub use cache::HubId;
pub use cards::{CARDS, Card};
pub use error::HubError;
pub use layout::{DummyReason, WeightFiles, shard_tensors, shards, weights_in};
pub use settings::{HubSettings, Token};

/// Card names that an unknown model's error suggests.
const SUGGESTIONS: usize = 3;

/// How to look for a model.
#[derive(Debug, Clone)]
pub struct ResolveOptions {
    /// No weights are needed, looked for or fetched.
    pub dummy_weights: bool,
    /// Draw progress bars of downloads on stderr (never where stderr is not a terminal).
    pub progress: bool,
    pub settings: HubSettings,
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
    pub weights: WeightFiles,
}

impl ModelSource {
    pub fn tokenizer_json(&self) -> Option<PathBuf> {
        self.file(layout::TOKENIZER)
    }

    /// The path of a file of the model's directory, if it is there.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.as_ref()?.join(name);
        path.is_file().then_some(path)
    }

    fn in_dir(name: String, dir: &Path, weights: WeightFiles) -> Result<Self, HubError> {
        let config = dir.join(layout::CONFIG);
        Ok(Self {
            name,
            config_json: layout::read(&config)?,
            config_path: Some(config),
            dir: Some(dir.to_owned()),
            weights,
        })
    }
}

/// Finds the files of `model`, which is tried as a directory, the path of a `config.json`, a card's name and a hub id,
/// in this order. Only a hub id reaches the network, and only when the cache is not enough.
///
/// # Errors
/// Nothing of that name exists, or its files are incomplete, malformed or cannot be fetched.
pub fn resolve(model: &str, options: &ResolveOptions) -> Result<ModelSource, HubError> {
    let path = Path::new(model);
    // A directory that only shares its name with a card (of results, say) does not hide it.
    let shadows = path.is_dir() && !path.join(layout::CONFIG).is_file();
    if path.is_dir() && !(shadows && cards::find(model).is_some()) {
        from_directory(model, path, options)
    } else if path.is_file() {
        from_config(model, path)
    } else if let Some(card) = cards::find(model) {
        from_card(card, options)
    } else if looks_like_hub_id(model) {
        from_hub(&HubId::parse(model)?, options)
    } else {
        Err(HubError::Unknown {
            model: model.to_owned(),
            closest: cards::closest(model, SUGGESTIONS).join(", "),
        })
    }
}

/// Paths (`./x`, `/x`, `x/y/z`, `x/config.json`) are not worth a request.
fn looks_like_hub_id(model: &str) -> bool {
    let id = model.split('@').next().unwrap_or(model);
    let climbs = model.starts_with(['.', '/', '~']);
    !climbs && !id.ends_with(".json") && id.matches('/').count() == 1
}

fn from_directory(
    model: &str,
    dir: &Path,
    options: &ResolveOptions,
) -> Result<ModelSource, HubError> {
    if !dir.join(layout::CONFIG).is_file() {
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
        return Err(HubError::NotAConfig {
            path: path.to_owned(),
        });
    }
    // A configuration of another name describes no directory: its neighbours are not its tokenizer.
    let own_dir = path.ends_with(layout::CONFIG);
    Ok(ModelSource {
        name: model.to_owned(),
        config_json: layout::read(path)?,
        config_path: Some(path.to_owned()),
        dir: path.parent().filter(|_| own_dir).map(Path::to_owned),
        weights: WeightFiles::Dummy {
            why: DummyReason::ConfigOnly,
        },
    })
}

fn from_card(card: &Card, options: &ResolveOptions) -> Result<ModelSource, HubError> {
    let bare = |why| ModelSource {
        name: card.name.to_owned(),
        config_json: card.config_json.to_owned(),
        config_path: None,
        dir: None,
        weights: WeightFiles::Dummy { why },
    };
    if options.dummy_weights {
        return Ok(bare(DummyReason::Requested));
    }
    let snapshot = HubId::parse(card.hub_id)?.snapshot(&options.settings.cache);
    match snapshot {
        Some(dir) => match weights_in(&dir) {
            Ok(weights) => ModelSource::in_dir(card.name.to_owned(), &dir, weights),
            Err(error) if is_incomplete(&error) => Ok(bare(DummyReason::CardWithoutCheckpoint)),
            Err(error) => Err(error),
        },
        None => Ok(bare(DummyReason::CardWithoutCheckpoint)),
    }
}

fn from_hub(repo: &HubId, options: &ResolveOptions) -> Result<ModelSource, HubError> {
    let settings = &options.settings;
    let missing = match repo.snapshot(&settings.cache) {
        Some(dir) => match wanted(&dir, options) {
            Ok(weights) => return ModelSource::in_dir(repo.to_string(), &dir, weights),
            Err(HubError::MissingShard { shard, .. }) => shard,
            Err(HubError::NoWeights { .. }) => layout::SINGLE_WEIGHTS.to_owned(),
            Err(error) => return Err(error),
        },
        None => layout::CONFIG.to_owned(),
    };
    if settings.offline {
        return Err(HubError::Offline {
            repo: repo.to_string(),
            missing,
            cache: settings.cache.clone(),
        });
    }
    let with_weights = !options.dummy_weights;
    let dir = download::download(settings, repo, with_weights, options.progress)?;
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
        HubError::MissingShard { .. } | HubError::NoWeights { .. }
    )
}
