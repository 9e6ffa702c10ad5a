//! Files that lie in the cache and are not what the hub sent: taken out, so that they are fetched again.

use std::fs::File;
use std::path::Path;

use super::error::HubError;
use super::layout::paths;
use super::part::{failed, is_sha256, sha256};
use super::weight_files::WeightFiles;
use crate::ground::Progress;
use crate::ground::safetensors_header::{self, HeaderError};

/// Removes weights that cannot be read and whose bytes are provably not those of their blob's name, a SHA-256;
/// gives the name of one. Whole files are not hashed: that would take as long as loading them.
pub(super) fn remove(
    weights: &WeightFiles,
    progress: &dyn Progress,
) -> Result<Option<String>, HubError> {
    let paths = paths(weights)?;
    let mut removed = None;
    for path in paths.iter().filter(|path| !is_readable(path)) {
        // Only a link into the cache's own blobs is ours to remove.
        let Ok(blob) = std::fs::read_link(path).and_then(|_| path.canonicalize()) else {
            continue;
        };
        let Some(name) = blob.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !is_sha256(name) || sha256(&blob, progress)?.is_none_or(|hash| hash == name) {
            continue;
        }
        std::fs::remove_file(path).map_err(failed(path, "removed"))?;
        std::fs::remove_file(&blob).map_err(failed(&blob, "removed"))?;
        removed = path.file_name().map(|name| name.display().to_string());
    }
    Ok(removed)
}

/// Whether it is a whole safetensors file, by its header.
fn is_readable(path: &Path) -> bool {
    let header = File::open(path).map_err(HeaderError::Io).and_then(|file| {
        let length = file.metadata()?.len();
        safetensors_header::read(&file, length)
    });
    header.is_ok()
}
