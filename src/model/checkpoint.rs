//! A safetensors checkpoint: headers checked against the spec before anything is allocated,
//! tensors read from the files on demand.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor, bail};
use safetensors::Dtype;

use super::entry::Entry;
use super::names;
use super::spec::ModelSpec;
use super::stacked::unstack;
use super::stored_file::StoredFile;
use super::tensors::{EMBEDDING, HEAD, expected};
use super::weights::WeightSource;
use crate::ground::foreign::Foreign;
use crate::ground::safetensors_header::{self, HeaderError};
use crate::ground::terminal::listed;
use crate::hub::{HubError, WeightFiles, shard_tensors};
use crate::shape::{Format, TensorSpec};

#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error(transparent)]
    Files(#[from] HubError),
    #[error("{file}: cannot be read: {source}; check the file and its permissions")]
    Io {
        file: String,
        source: std::io::Error,
    },
    #[error("{file}: not a safetensors file but {what}; {way_out}", way_out = .what.way_out())]
    Foreign { file: String, what: Foreign },
    #[error("{file}: not a whole safetensors file ({reason}); download it again")]
    Damaged { file: String, reason: String },
    #[error(
        "{dir}: the weights do not match config.json: {faults}; correct config.json, or fetch the checkpoint again"
    )]
    Mismatch { dir: String, faults: String },
}

/// A file, and the tensors that the index says it holds; `None`: whatever it holds.
type Promise = (PathBuf, Option<Vec<String>>);

/// Open files and where each tensor lies in them.
pub struct Checkpoint {
    files: Vec<StoredFile>,
    entries: HashMap<String, Entry>,
    /// Sentences about tensors that are there and not used.
    pub warnings: Vec<String>,
}

impl Checkpoint {
    /// Opens `files`, as [`crate::hub::weights_in`] finds them. There is nothing to open of dummy weights.
    pub fn open(files: &WeightFiles, spec: &ModelSpec) -> Result<Self, WeightError> {
        let (dir, files): (&Path, Vec<Promise>) = match files {
            WeightFiles::Single(file) => {
                let dir = file.parent().unwrap_or(Path::new(""));
                (dir, vec![(file.clone(), None)])
            }
            WeightFiles::Sharded { index, dir } => {
                let shards = shard_tensors(index)?.into_iter();
                let shards = shards.map(|(shard, tensors)| (dir.join(shard), Some(tensors)));
                (dir, shards.collect())
            }
            WeightFiles::Set { dir, shards } => {
                let shards = shards.iter().map(|shard| (dir.join(shard), None));
                (dir, shards.collect())
            }
            WeightFiles::Dummy { .. } => (Path::new(""), Vec::new()),
        };
        let mut checkpoint = Self {
            files: Vec::new(),
            entries: HashMap::new(),
            warnings: Vec::new(),
        };
        let mut faults = Vec::new();
        for (path, promised) in files {
            checkpoint.add_file(&path, promised, &mut faults)?;
        }
        checkpoint.check(spec, dir, faults)?;
        Ok(checkpoint)
    }

    /// The number format of the embedding, which stands for the checkpoint's.
    pub fn weight_dtype(&self) -> DType {
        let embedding = self.entries.get(EMBEDDING);
        embedding
            .and_then(|entry| dtype(entry.stored))
            .unwrap_or(DType::F32)
    }

    /// Bytes that an element of the tensor takes in its file.
    pub fn stored_bytes(&self, name: &str) -> Option<usize> {
        let entry = self.entries.get(name)?;
        let elements: usize = entry.shape.iter().product();
        let bytes = entry.bytes.end - entry.bytes.start;
        (bytes as usize).checked_div(elements)
    }

    fn add_file(
        &mut self,
        path: &Path,
        promised: Option<Vec<String>>,
        faults: &mut Vec<String>,
    ) -> Result<(), WeightError> {
        let file = StoredFile::open(path).map_err(|source| WeightError::Io {
            file: path.display().to_string(),
            source,
        })?;
        let name = file.name.clone();
        let tensors = safetensors_header::read(file.file(), file.length());
        let tensors = tensors.map_err(|error| header_error(name.clone(), error))?;
        let wanted: Option<BTreeSet<&str>> = promised
            .as_ref()
            .map(|list| list.iter().map(String::as_str).collect());
        let there: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        for tensor in wanted.iter().flatten() {
            if !there.contains(tensor) {
                faults.push(format!(
                    "{tensor} is not in {name}, where the index says it is"
                ));
            }
        }
        for tensor in &tensors {
            // A tensor that the index places elsewhere, or nowhere, is not this file's to give.
            if wanted
                .as_ref()
                .is_some_and(|w| !w.contains(tensor.name.as_str()))
            {
                continue;
            }
            let entry = Entry {
                file: self.files.len(),
                stored: tensor.dtype,
                shape: tensor.shape.clone(),
                bytes: tensor.bytes.clone(),
            };
            if let Some(other) = self.entries.insert(tensor.name.clone(), entry) {
                let other = &self.files[other.file].name;
                faults.push(format!("{} is in {other} and in {name}", tensor.name));
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// Lists every missing and mis-shaped tensor; unexpected ones become warnings.
    fn check(
        &mut self,
        spec: &ModelSpec,
        dir: &Path,
        mut faults: Vec<String>,
    ) -> Result<(), WeightError> {
        let renamed = names::usual(spec, &mut self.entries, &mut faults);
        let renamed = renamed.map(|remark| format!("{}: {remark}", dir.display()));
        self.warnings.extend(renamed);
        let stacked = unstack(spec, &mut self.entries, &mut faults);
        let wanted = expected(spec);
        for tensor in &wanted {
            let in_stack = tensor.expert.is_some() && stacked.contains(&tensor.layer.unwrap_or(0));
            match self.entries.get(&tensor.name) {
                // What is wrong with the stack has been said.
                None if in_stack => {}
                None if faults.iter().any(|f| f.starts_with(&tensor.name)) => {}
                None if tensor.name == HEAD && !spec.tie_word_embeddings => faults.push(format!(
                    "{HEAD} is missing (and by tie_word_embeddings in config.json the embedding is not the head)"
                )),
                None => faults.push(format!("{} is missing", tensor.name)),
                Some(entry) if entry.shape != tensor.shape => faults.push(format!(
                    "{} is {:?}, expected {:?}",
                    tensor.name, entry.shape, tensor.shape
                )),
                Some(entry) => faults.extend(wrong_type(tensor, entry.stored)),
            }
        }
        if !faults.is_empty() {
            faults.splice(0..0, names::telling(&self.entries));
            return Err(WeightError::Mismatch {
                dir: dir.display().to_string(),
                faults: listed(&faults, "; "),
            });
        }
        let known: BTreeSet<&str> = wanted.iter().map(|t| t.name.as_str()).collect();
        let mut unused: Vec<String> = self
            .entries
            .keys()
            .filter(|name| !known.contains(name.as_str()))
            .cloned()
            .collect();
        unused.sort();
        if !unused.is_empty() {
            self.warnings.push(format!(
                "{}: {} tensors are not used: {}",
                dir.display(),
                unused.len(),
                listed(&unused, "; ")
            ));
        }
        Ok(())
    }

    /// A tensor and its type; all that the spec expects passed `check`.
    fn entry(&self, name: &str) -> candle_core::Result<(&Entry, DType)> {
        let entry = self.entries.get(name);
        match entry.and_then(|entry| Some((entry, dtype(entry.stored)?))) {
            Some(found) => Ok(found),
            None => bail!("tensor {name} is not in the checkpoint"),
        }
    }
}

impl WeightSource for Checkpoint {
    fn dtype(&self, tensor: &TensorSpec) -> candle_core::Result<DType> {
        Ok(self.entry(&tensor.name)?.1)
    }

    fn block(
        &self,
        tensor: &TensorSpec,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> candle_core::Result<Tensor> {
        let name = &tensor.name;
        let (entry, dtype) = self.entry(name)?;
        let width = tensor.shape.last().copied().unwrap_or_default();
        let size = dtype.size_in_bytes() as u64;
        let byte = |row: usize, column: usize| {
            entry.bytes.start + (row as u64 * width as u64 + column as u64) * size
        };
        if entry.shape.last() != Some(&width)
            || byte(rows.end, 0) > entry.bytes.end
            || columns.end > width
        {
            bail!(
                "rows {rows:?} and columns {columns:?} of {width} are not in {name} {:?}",
                entry.shape
            );
        }
        let runs: Vec<Range<u64>> = match columns.len() == width {
            true => std::iter::once(byte(rows.start, 0)..byte(rows.end, 0)).collect(),
            false => rows
                .clone()
                .map(|row| byte(row, columns.start)..byte(row, columns.end))
                .collect(),
        };
        let values = self.files[entry.file].rows(&runs, dtype)?;
        values.reshape((rows.len(), columns.len()))
    }

    fn vector(&self, tensor: &TensorSpec, range: Range<usize>) -> candle_core::Result<Tensor> {
        self.block(tensor, 0..1, range)?
            .to_dtype(DType::F32)?
            .flatten_all()
    }
}

fn dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::BF16 => Some(DType::BF16),
        Dtype::F16 => Some(DType::F16),
        Dtype::F32 => Some(DType::F32),
        Dtype::F8_E4M3 => Some(DType::F8E4M3),
        _ => None,
    }
}

/// Why a tensor cannot be stored in this type.
fn wrong_type(tensor: &TensorSpec, stored: Dtype) -> Option<String> {
    let is_plain = matches!(stored, Dtype::BF16 | Dtype::F16 | Dtype::F32);
    let rule = match (tensor.format, stored) {
        (Format::Fp8, Dtype::F8_E4M3) => return None,
        (Format::Plain | Format::Scale { .. }, _) if is_plain => return None,
        (Format::Plain, Dtype::F8_E4M3) => {
            "by quantization_config (modules_to_not_convert) it is not quantised"
        }
        (Format::Plain, _) => "only bf16, f16 and f32 are supported",
        (Format::Fp8, _) => {
            "by quantization_config it is quantised to FP8 (e4m3); modules_to_not_convert names what is not"
        }
        (Format::Scale { .. }, _) => "scales are read in f32, bf16 and f16",
        (Format::Packed { .. } | Format::Loose, _) => "of packed weights only bytes are known",
    };
    Some(format!("{} is {stored:?}, and {rule}", tensor.name))
}

fn header_error(file: String, error: HeaderError) -> WeightError {
    match error {
        HeaderError::Foreign(what) => WeightError::Foreign { file, what },
        HeaderError::Damaged(reason) => WeightError::Damaged { file, reason },
        HeaderError::Io(source) => WeightError::Io { file, source },
    }
}
