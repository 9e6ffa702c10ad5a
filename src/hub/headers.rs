//! Headers of a model's weights: of files that are here, else by ranges of those on the hub, which moves kilobytes
//! of files of many gigabytes.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::cache::HubId;
use super::download::patiently;
use super::error::HubError;
use super::http::{Client, Head};
use super::layout::{SINGLE_WEIGHTS, parse_index, paths, weights_in};
use super::part::failed;
use super::settings::HubSettings;
use super::shard_sets;
use super::weight_files::{WEIGHTS_INDEX, WeightFiles};
use super::{ModelSource, is_incomplete};
use crate::ground::foreign::Foreign;
use crate::ground::json::Limits;
use crate::ground::safetensors_header::{self, HeaderError, LENGTH_PREFIX, Stored};
use crate::ground::{Progress, Task};

/// Bytes that are asked for first: most headers are no longer.
const FIRST_BYTES: u64 = 64 << 10;
/// Shards of the largest models are some 200.
const MOST_SHARDS: usize = 2000;
/// In a repository's folder of the cache: what was read so, by commit.
pub(super) const FOLDER: &str = "candlepower-headers";
/// In words that are quoted.
const NUMBERED: &str = "-of-";
const EXTENSION: &str = ".safetensors";

/// The tensors of all files of weights of `source`; `None`: it has none in safetensors, or none that can be reached
/// offline.
///
/// # Errors
/// A file is damaged or another thing, or the hub failed or sends no parts of files.
pub fn headers(
    source: &ModelSource,
    settings: &HubSettings,
    progress: &dyn Progress,
) -> Result<Option<Vec<Stored>>, HubError> {
    let Some(dir) = &source.dir else {
        return Ok(None);
    };
    match weights_in(dir) {
        Ok(files) => local(&files).map(Some),
        Err(error) if is_incomplete(&error) => {
            let commit = dir.file_name().and_then(|name| name.to_str());
            match (HubId::parse(&source.name), commit) {
                (Ok(repo), Some(commit)) if dir.starts_with(&settings.cache) => {
                    remote(&repo, commit, settings, progress)
                }
                _ => Ok(None),
            }
        }
        Err(error) => Err(error),
    }
}

/// Of files that are here.
fn local(files: &WeightFiles) -> Result<Vec<Stored>, HubError> {
    let mut tensors = Vec::new();
    for path in paths(files)? {
        let file = File::open(&path).map_err(failed(&path, "opened"))?;
        let length = file.metadata().map_err(failed(&path, "inspected"))?.len();
        let header = safetensors_header::read(&file, length);
        tensors.extend(header.map_err(|error| bad_header(path.display().to_string(), &error))?);
    }
    Ok(tensors)
}

fn bad_header(file: String, error: &HeaderError) -> HubError {
    let reason = match error {
        HeaderError::Foreign(what) => format!("it is {what}; {}", what.way_out()),
        error => format!("{error}; download it again, or check the repository"),
    };
    HubError::BadHeader {
        file,
        format: "safetensors",
        reason,
    }
}

fn remote(
    repo: &HubId,
    commit: &str,
    settings: &HubSettings,
    progress: &dyn Progress,
) -> Result<Option<Vec<Stored>>, HubError> {
    let kept = Kept {
        dir: repo.folder(&settings.cache).join(FOLDER).join(commit),
    };
    if let Some(tensors) = kept.read() {
        return Ok(Some(tensors));
    }
    if settings.offline {
        return Ok(None);
    }
    // All files are those of one commit.
    let pinned = HubId {
        id: repo.id.clone(),
        revision: commit.to_owned(),
    };
    let remote = Remote {
        client: Client::new(settings, &pinned, progress)?,
    };
    let Some(shards) = remote.shards()? else {
        return Ok(None);
    };
    let mut tensors = Vec::new();
    progress.start(Task::Headers(repo.to_string()), shards.len() as u64);
    for (number, shard) in shards.iter().enumerate() {
        let header = remote.header(shard);
        if header.is_err() {
            progress.finish();
        }
        let Head { bytes, total } = header?;
        let parsed = safetensors_header::parse(&bytes, total);
        let parsed = parsed.map_err(|error| {
            progress.finish();
            bad_header(format!("{shard} of {repo}"), &error)
        })?;
        tensors.extend(parsed);
        kept.write(number, &bytes, total);
        progress.advance(1);
    }
    progress.finish();
    kept.complete(shards.len());
    Ok(Some(tensors))
}

struct Remote<'a> {
    client: Client<'a>,
}

impl Remote<'_> {
    /// Names of the files of weights; `None`: there are none in safetensors.
    fn shards(&self) -> Result<Option<Vec<String>>, HubError> {
        if let Some(index) = self.if_there(WEIGHTS_INDEX)? {
            return self.listed(&index).map(Some);
        }
        for file in [SINGLE_WEIGHTS, &shard_sets::name(1, 1)] {
            if self.if_there(file)?.is_some() {
                return Ok(Some(vec![file.to_owned()]));
            }
        }
        Ok(None)
    }

    /// The beginning of a file; `None`: there is no such file.
    fn if_there(&self, file: &str) -> Result<Option<Head>, HubError> {
        match self.part(file, 0, FIRST_BYTES) {
            Ok(head) => Ok(Some(head)),
            Err(HubError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// By one shard's name where they are numbered, for an index names every tensor and is as large as all headers.
    fn listed(&self, head: &Head) -> Result<Vec<String>, HubError> {
        let whole = head.bytes.len() as u64 == head.total;
        if !whole && let Some(shards) = numbered(&head.bytes) {
            return Ok(shards);
        }
        let mut bytes = head.bytes.clone();
        if !whole {
            let most = Limits::INDEX.bytes;
            if head.total > most {
                return Err(self.client.too_large(WEIGHTS_INDEX, head.total, most));
            }
            let rest = self.part(WEIGHTS_INDEX, bytes.len() as u64, head.total)?;
            bytes.extend(rest.bytes);
        }
        let shards = parse_index(&bytes, Path::new(WEIGHTS_INDEX))?;
        let names: Vec<String> = shards.into_keys().collect();
        match names.len() <= MOST_SHARDS {
            true => Ok(names),
            false => Err(HubError::BadIndex {
                index: WEIGHTS_INDEX.into(),
                reason: format!(
                    "it names {} files, where {MOST_SHARDS} are the most",
                    names.len()
                ),
            }),
        }
    }

    /// The header of a shard, and no more than a few kilobytes beyond it.
    fn header(&self, shard: &str) -> Result<Head, HubError> {
        let mut head = self.part(shard, 0, FIRST_BYTES)?;
        let file = || format!("{shard} of {}", self.client.repo);
        if let Some(foreign) = Foreign::of(&head.bytes) {
            return Err(bad_header(file(), &HeaderError::Foreign(foreign)));
        }
        let length = safetensors_header::header_length(&head.bytes, head.total);
        let length = length.map_err(|error| bad_header(file(), &error))?;
        let end = LENGTH_PREFIX as u64 + length;
        let here = head.bytes.len() as u64;
        if here < end {
            let rest = self.part(shard, here, end)?;
            if rest.total != head.total {
                let (found, expected) = (rest.total.to_string(), head.total.to_string());
                return Err(self.client.changed(shard, found, &expected));
            }
            head.bytes.extend(rest.bytes);
        }
        head.bytes
            .truncate(usize::try_from(end).unwrap_or(usize::MAX));
        Ok(head)
    }

    /// Bytes of a file from `start` to `end`, or to its own end; asked again while that is of use.
    fn part(&self, file: &str, start: u64, end: u64) -> Result<Head, HubError> {
        patiently(
            &self.client,
            |_| true,
            || self.client.part(file, start..end),
        )
    }
}

/// All names of a numbered set, by the first of them in a part of an index.
fn numbered(text: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(text);
    let name = text.split('"').find(|word| {
        word.ends_with(EXTENSION) && word.contains(NUMBERED) && super::cache::is_name(word)
    })?;
    let (before, after) = name.strip_suffix(EXTENSION)?.rsplit_once(NUMBERED)?;
    let stem = before.trim_end_matches(|c: char| c.is_ascii_digit());
    let (digits, of) = (before.len() - stem.len(), after.len());
    let count: usize = after.parse().ok()?;
    let fits = digits > 0 && digits < 10 && of == digits && (1..=MOST_SHARDS).contains(&count);
    fits.then(|| {
        let name = |number| format!("{stem}{number:0digits$}{NUMBERED}{count:0digits$}{EXTENSION}");
        (1..=count).map(name).collect()
    })
}

/// What was read of a commit, for the next time and for when there is no network: a file for each shard, with the
/// size of the shard before its header.
struct Kept {
    dir: PathBuf,
}

const COMPLETE: &str = "complete";

impl Kept {
    fn file(&self, number: usize) -> PathBuf {
        self.dir.join(number.to_string())
    }

    fn read(&self) -> Option<Vec<Stored>> {
        let count = crate::ground::json::small_text(&self.dir.join(COMPLETE))?;
        let count: usize = count.trim().parse().ok()?;
        let mut tensors = Vec::new();
        for number in 0..count.min(MOST_SHARDS) {
            let most = Limits::INDEX.bytes;
            let bytes = crate::ground::json::read_bounded(&self.file(number), most).ok()?;
            let (total, header) = bytes.split_first_chunk::<LENGTH_PREFIX>()?;
            let parsed = safetensors_header::parse(header, u64::from_le_bytes(*total));
            tensors.extend(parsed.ok()?);
        }
        Some(tensors)
    }

    /// A cache that cannot be written is no cache.
    fn write(&self, number: usize, header: &[u8], total: u64) {
        let bytes = [&total.to_le_bytes()[..], header].concat();
        let _ = std::fs::create_dir_all(&self.dir);
        let _ = std::fs::write(self.file(number), bytes);
    }

    fn complete(&self, count: usize) {
        let _ = std::fs::write(self.dir.join(COMPLETE), count.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_set_is_told_by_one_of_its_names() {
        let index = br#"{"metadata": {"total_size": 1}, "weight_map": {"a.weight": "model-00003-of-00070.safetensors","#;
        let names = numbered(index).unwrap();
        assert_eq!(names.len(), 70);
        assert_eq!(names[69], "model-00070-of-00070.safetensors");
        for other in [
            &br#""a": "model.safetensors""#[..],
            br#""a": "model-00001-of-99999.safetensors""#,
            br#""a": "../model-00001-of-00002.safetensors""#,
            br#""a": "model-1-of-00002.safetensors""#,
            br#""a": "model--of-.safetensors""#,
            br#"{"weight_map""#,
        ] {
            assert_eq!(numbered(other), None);
        }
    }
}
