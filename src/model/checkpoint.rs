//! A safetensors checkpoint: headers checked against the spec before anything is allocated,
//! tensors read from the mapped files on demand.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, bail};
use safetensors::{Dtype, SafeTensors};

use super::entry::Entry;
use super::spec::ModelSpec;
use super::stacked::unstack;
use super::tensors::{EMBEDDING, expected};
use super::weights::WeightSource;
use crate::hub::{HubError, WeightFiles, shard_tensors};
use crate::ops::mapped::MappedFile;
use crate::shape::{Format, TensorSpec};

/// Bytes before a safetensors header: its length.
const LENGTH_PREFIX: usize = 8;
/// Unused tensors named in a warning before the rest is only counted.
const LISTED: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error(transparent)]
    Files(#[from] HubError),
    #[error("{file}: cannot be read: {source}; check the file and its permissions")]
    Io {
        file: String,
        source: std::io::Error,
    },
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
    files: Vec<MappedFile>,
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
        entry.bytes.len().checked_div(elements)
    }

    fn add_file(
        &mut self,
        path: &Path,
        promised: Option<Vec<String>>,
        faults: &mut Vec<String>,
    ) -> Result<(), WeightError> {
        let name = path.display().to_string();
        let file = MappedFile::open(path).map_err(|source| WeightError::Io {
            file: name.clone(),
            source,
        })?;
        let (header, metadata) =
            SafeTensors::read_metadata(file.bytes()).map_err(|error| WeightError::Damaged {
                file: name.clone(),
                reason: format!("{} bytes: {error}", file.bytes().len()),
            })?;
        let data = LENGTH_PREFIX + header;
        let tensors = metadata.tensors();
        let wanted: Option<BTreeSet<&str>> = promised
            .as_ref()
            .map(|list| list.iter().map(String::as_str).collect());
        for tensor in wanted.iter().flatten() {
            if !tensors.contains_key(*tensor) {
                faults.push(format!(
                    "{tensor} is not in {name}, where the index says it is"
                ));
            }
        }
        for (tensor, info) in tensors {
            // A tensor that the index places elsewhere, or nowhere, is not this file's to give.
            if wanted
                .as_ref()
                .is_some_and(|w| !w.contains(tensor.as_str()))
            {
                continue;
            }
            let (start, end) = info.data_offsets;
            self.entries.insert(
                tensor,
                Entry {
                    file: self.files.len(),
                    stored: info.dtype,
                    shape: info.shape.clone(),
                    bytes: data + start..data + end,
                },
            );
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
        let stacked = unstack(spec, &mut self.entries, &mut faults);
        let wanted = expected(spec);
        for tensor in &wanted {
            let in_stack = tensor.expert.is_some() && stacked.contains(&tensor.layer.unwrap_or(0));
            match self.entries.get(&tensor.name) {
                // What is wrong with the stack has been said.
                None if in_stack => {}
                None if faults.iter().any(|f| f.starts_with(&tensor.name)) => {}
                None => faults.push(format!("{} is missing", tensor.name)),
                Some(entry) if entry.shape != tensor.shape => faults.push(format!(
                    "{} is {:?}, expected {:?}",
                    tensor.name, entry.shape, tensor.shape
                )),
                Some(entry) => faults.extend(wrong_type(tensor, entry.stored)),
            }
        }
        if !faults.is_empty() {
            return Err(WeightError::Mismatch {
                dir: dir.display().to_string(),
                faults: faults.join("; "),
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
                listed(&unused)
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
        let stride = width * dtype.size_in_bytes();
        let start = entry.bytes.start + rows.start * stride;
        let end = entry.bytes.start + rows.end * stride;
        if entry.shape.last() != Some(&width) || end > entry.bytes.end || columns.end > width {
            bail!(
                "rows {rows:?} and columns {columns:?} of {width} are not in {name} {:?}",
                entry.shape
            );
        }
        let file = &self.files[entry.file];
        let stored = &file.bytes()[start..end];
        let shape = [rows.len(), columns.len()];
        let copy = if columns.len() == width {
            Tensor::from_raw_buffer(stored, dtype, &shape, &Device::Cpu)?
        } else {
            let size = dtype.size_in_bytes();
            let part = columns.start * size..columns.end * size;
            let parts = stored.chunks_exact(stride).map(|row| &row[part.clone()]);
            let bytes = parts.collect::<Vec<_>>().concat();
            Tensor::from_raw_buffer(&bytes, dtype, &shape, &Device::Cpu)?
        };
        // What is packed from the copy replaces these pages: both together would be twice the weights.
        // Another rank that wants other columns of them finds them in the system's cache.
        file.release(start..end);
        Ok(copy)
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
    };
    Some(format!("{} is {stored:?}, and {rule}", tensor.name))
}

fn listed(items: &[String]) -> String {
    let mut text = items[..items.len().min(LISTED)].join("; ");
    if items.len() > LISTED {
        text += &format!("; and {} more", items.len() - LISTED);
    }
    text
}
