//! What a model is, by whatever is there of it: for those who ask about models and load none.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{SessionError, Wish};
use super::model::{keep_layers, keep_layers_of_shape};
use super::outline::of_configuration;
use crate::fit::StoredBytes;
use crate::ground::Progress;
use crate::ground::gguf_header::{self, GgufError, GgufHeader};
use crate::ground::safetensors_header::Stored;
use crate::hub::gguf::{GgufId, is_gguf, other_parts};
use crate::hub::{
    self, DummyReason, HubError, HubSettings, ModelSource, ResolveOptions, WeightFiles, cards,
};
use crate::model::{Checkpoint, Described, ModelSpec, SpecError};
use crate::shape::{ModelShape, ShapeError, gguf};

/// What was found of a model.
#[derive(Debug, Clone)]
pub struct Reading {
    /// As it was asked for.
    pub name: String,
    pub shape: ModelShape,
    /// Bytes of an element of each tensor, where a checkpoint that the engine runs is here to tell.
    pub stored: Option<Arc<StoredBytes>>,
    /// `None`: a GGUF file, which is all there is.
    pub source: Option<ModelSource>,
    /// Bytes are those of the headers of files of weights.
    pub from_headers: bool,
    /// This program's engine runs it.
    pub runnable: bool,
}

/// Of the first `layers` of `model`; `None`: of all.
///
/// # Errors
/// There is no such model, the hub failed, or its files do not tell what it is made of.
pub fn read(
    model: &str,
    layers: Option<usize>,
    progress: &dyn Progress,
) -> Result<Reading, SessionError> {
    let path = Path::new(model);
    if let Some(file) = gguf_alone(path) {
        return of_gguf(model, &file, layers);
    }
    if is_gguf(model) && path.is_file() {
        return of_gguf(model, path, layers);
    }
    let options = ResolveOptions {
        // No weights are fetched for their headers; a card looks no further than the cache.
        dummy_weights: cards::find(model).is_none(),
        settings: HubSettings::from_env(),
    };
    let settings = &options.settings;
    let source = match hub::resolve(model, &options, progress) {
        // Repositories of GGUF files may have no configuration.
        Err(
            error @ (HubError::NotFound { .. }
            | HubError::Offline { .. }
            | HubError::GgufModel { .. }),
        ) => {
            return match gguf_on_hub(model, layers, settings, progress) {
                Ok(Some(reading)) => Ok(reading),
                Ok(None) => Err(error.into()),
                Err(other) => Err(other),
            };
        }
        source => source?,
    };
    let described = own(&source);
    if is_here(&source)
        && let Ok(Some(described)) = described
    {
        return of_engine(source, described, layers, progress);
    }
    let (headers, unreached) = match hub::headers(&source, settings, progress) {
        Ok(headers) => (headers, None),
        // What is known of the family is enough, if it is.
        Err(error @ HubError::Unreachable { .. }) => (None, Some(error)),
        Err(error) => return Err(error.into()),
    };
    let from_hub = source
        .dir
        .as_ref()
        .is_some_and(|dir| dir.starts_with(&settings.cache));
    if headers.is_none()
        && unreached.is_none()
        && from_hub
        && !settings.offline
        && let Some(reading) = gguf_on_hub(&source.name, layers, settings, progress)?
    {
        return Ok(reading);
    }
    of_files(source, described?, layers, (headers, unreached), progress)
}

/// Of a repository's GGUF files; `None`: it has none.
fn gguf_on_hub(
    model: &str,
    layers: Option<usize>,
    settings: &HubSettings,
    progress: &dyn Progress,
) -> Result<Option<Reading>, SessionError> {
    let Some(id) = GgufId::parse(model) else {
        return Ok(None);
    };
    match hub::gguf::header(&id, settings, progress) {
        Ok(Some(header)) => of_gguf_header(model, &header, layers).map(Some),
        Ok(None) => Ok(None),
        // A mirror may have no lists of files; without a network what else is missing tells more.
        Err(HubError::NotFound { .. } | HubError::Offline { .. }) if id.choice.is_none() => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What the engine makes of it; `None`: it does not run such a model.
fn own(source: &ModelSource) -> Result<Option<Described>, SessionError> {
    match Described::of(source) {
        Ok(described) => {
            let runnable = described.spec.check_runnable(&source.config_name()).is_ok();
            Ok(runnable.then_some(described))
        }
        Err(error @ SpecError::Invalid { .. })
            if Described::is_known(&source.config_json, &source.config_name()) =>
        {
            Err(Wish::from(error).into())
        }
        // Whether that is a model's file at all is for the other reader to say.
        Err(_) => Ok(None),
    }
}

/// Whether its weights are in files here, or are not asked for.
fn is_here(source: &ModelSource) -> bool {
    local(source).is_some()
}

/// Its weights, where the engine's own list of tensors can be checked against them.
fn local(source: &ModelSource) -> Option<WeightFiles> {
    match (&source.weights, &source.dir) {
        (
            WeightFiles::Dummy {
                why: DummyReason::Requested,
            },
            Some(dir),
        ) => hub::weights_in(dir).ok(),
        (WeightFiles::Dummy { .. }, _) => None,
        (files, _) => Some(files.clone()),
    }
}

fn tell(described: &Described, progress: &dyn Progress) {
    let remarks = described.remarks.iter();
    remarks.for_each(|remark| progress.remark(&format!("warning: {remark}")));
}

/// A checkpoint that the engine runs: its files must hold what the engine reads.
fn of_engine(
    source: ModelSource,
    mut described: Described,
    layers: Option<usize>,
    progress: &dyn Progress,
) -> Result<Reading, SessionError> {
    tell(&described, progress);
    let spec = &mut described.spec;
    if let Some(layers) = layers {
        keep_layers(spec, layers, &source.config_name())?;
    }
    let shape = spec.shape();
    let stored = stored(&source, spec, &shape, progress)?;
    Ok(Reading {
        name: source.name.clone(),
        shape,
        from_headers: stored.is_some(),
        stored,
        source: Some(source),
        runnable: true,
    })
}

fn stored(
    source: &ModelSource,
    spec: &ModelSpec,
    shape: &ModelShape,
    progress: &dyn Progress,
) -> Result<Option<Arc<StoredBytes>>, SessionError> {
    let Some(files) = local(source) else {
        return Ok(None);
    };
    let checkpoint = Checkpoint::open(&files, spec).map_err(Wish::from)?;
    progress.detail("element sizes are those of the checkpoint's headers");
    let names = shape.tensors.iter().map(|tensor| &tensor.name);
    let bytes = names.filter_map(|name| Some((name.clone(), checkpoint.stored_bytes(name)?)));
    Ok(Some(Arc::new(bytes.collect())))
}

/// Any model: by the headers of its weights where there are some, else by its configuration.
fn of_files(
    source: ModelSource,
    described: Option<Described>,
    layers: Option<usize>,
    (headers, unreached): (Option<Vec<Stored>>, Option<HubError>),
    progress: &dyn Progress,
) -> Result<Reading, SessionError> {
    let file = source.config_name();
    let runnable = described.is_some();
    if let Some(described) = &described {
        tell(described, progress);
    }
    let from_headers = headers.is_some();
    let read = match (described, headers) {
        (Some(described), None) => Ok(described.spec.outline()),
        (_, headers) => of_configuration(&source, headers.as_deref()),
    };
    let mut shape = match (read, unreached) {
        // Without the network nothing can be said.
        (Err(ShapeError::Family { .. } | ShapeError::Quantization { .. }), Some(error)) => {
            return Err(error.into());
        }
        (Err(error), _) => return Err(Wish::from(error).into()),
        (Ok(mut shape), Some(error)) => {
            shape.assumptions.push(format!("the headers of its weights could not be read, so its bytes are worked out from its configuration ({error})"));
            shape
        }
        (Ok(shape), None) => shape,
    };
    keep(&mut shape, layers, &file)?;
    Ok(Reading {
        name: source.name.clone(),
        shape,
        stored: None,
        source: Some(source),
        from_headers,
        runnable,
    })
}

fn keep(shape: &mut ModelShape, layers: Option<usize>, file: &str) -> Result<(), SessionError> {
    match layers {
        Some(layers) => keep_layers_of_shape(shape, layers, file),
        None => Ok(()),
    }
}

/// The first file of the one GGUF model that lies in a directory without a configuration.
fn gguf_alone(dir: &Path) -> Option<PathBuf> {
    if dir.join("config.json").symlink_metadata().is_ok() {
        return None;
    }
    let names = std::fs::read_dir(dir).ok()?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    // A projector for images belongs to another file.
    let model = |name: &String| is_gguf(name) && !name.starts_with("mmproj");
    let mut files: Vec<PathBuf> = names.filter(model).map(|name| dir.join(name)).collect();
    files.sort();
    let first = files.first()?;
    let of_one = files.len() == 1 || parts(first) == files[1..];
    of_one.then(|| first.clone())
}

/// Of a GGUF file, and of the others of its set.
fn of_gguf(model: &str, path: &Path, layers: Option<usize>) -> Result<Reading, SessionError> {
    let mut header = gguf_header(path).map_err(Wish::from)?;
    for part in parts(path) {
        let other = gguf_header(&part).map_err(Wish::from)?;
        header.tensors.extend(other.tensors);
    }
    of_gguf_header(model, &header, layers)
}

fn of_gguf_header(
    model: &str,
    header: &GgufHeader,
    layers: Option<usize>,
) -> Result<Reading, SessionError> {
    let mut shape = gguf::read(header, model).map_err(Wish::from)?;
    keep(&mut shape, layers, model)?;
    Ok(Reading {
        name: model.to_owned(),
        shape,
        stored: None,
        source: None,
        from_headers: true,
        runnable: false,
    })
}

fn gguf_header(path: &Path) -> Result<GgufHeader, ShapeError> {
    let name = path.display().to_string();
    let io = |source| ShapeError::Io {
        file: name.clone(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    gguf_header::read(BufReader::new(file), length).map_err(|error| match error {
        GgufError::Damaged(reason) => ShapeError::Damaged {
            file: name.clone(),
            reason: format!("not a whole GGUF file: {reason}"),
        },
        GgufError::Io(source) => io(source),
    })
}

/// The other files of `…-00001-of-0000n.gguf`.
fn parts(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    let names = name.map(other_parts).unwrap_or_default();
    names.iter().map(|name| path.with_file_name(name)).collect()
}
