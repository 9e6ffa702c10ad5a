//! Hub ids and their place in the Hugging Face cache, laid out as the hub's own clients do:
//! `blobs/<etag>` holds bytes, `snapshots/<commit>/<file>` links to them, `refs/<revision>` names a commit.

use std::fmt;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use url::Url;

use super::error::HubError;
use super::layout::CONFIG;
use crate::ground::json;
use crate::ground::terminal::listed;

const DEFAULT_REVISION: &str = "main";
/// Bytes of a reference: no folder has a longer name than its commit would be.
const LONGEST_REF: usize = 255;

/// A repository on the hub, at a revision (branch, tag or commit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `org/name`.
    pub id: String,
    pub revision: String,
}

impl HubId {
    /// Reads `org/name` or `org/name@revision`.
    ///
    /// # Errors
    /// The text has another form, or characters that the hub does not allow.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let (id, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let well_formed = id
            .split_once('/')
            .is_some_and(|(org, name)| is_name(org) && is_name(name))
            && revision.split('/').all(is_name);
        if !well_formed {
            return Err(HubError::BadId {
                id: text.to_owned(),
            });
        }
        Ok(Self {
            id: id.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// The address of a file. A slash in a branch's name is escaped, as the hub wants it.
    pub(super) fn url(&self, endpoint: &Url, file: &str) -> Url {
        let mut url = endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(self.id.split('/'))
                .extend(["resolve", self.revision.as_str()])
                .extend(file.split('/'));
        }
        url
    }

    /// The address of what the hub says of the repository, its list of files among it.
    pub(super) fn description_url(&self, endpoint: &Url) -> Url {
        let mut url = endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["api", "models"])
                .extend(self.id.split('/'))
                .extend(["revision", self.revision.as_str()]);
        }
        url
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, self.revision.clone())
    }

    /// What the cache has of it, of all revisions.
    pub(super) fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(self.repo().folder_name())
    }

    fn cached(&self, cache: &Path) -> CacheRepo {
        Cache::new(cache.to_owned()).repo(self.repo())
    }

    /// The cached directory of this revision, if at least its `config.json` is there; else what is missing, as a
    /// clause.
    pub fn snapshot(&self, cache: &Path) -> Result<PathBuf, String> {
        let reference = format!("refs/{}", self.revision);
        let folder = self.folder(cache);
        let commit = match json::small_text(&folder.join(&reference)) {
            Some(text) if is_name(text.trim()) && text.len() <= LONGEST_REF => {
                text.trim().to_owned()
            }
            Some(_) => return Err(format!("{reference} names no commit")),
            // A revision that is itself a commit needs no ref.
            None if self.snapshot_of(cache, &self.revision).is_dir() => self.revision.clone(),
            None => return Err(self.without_ref(&folder, &reference)),
        };
        let snapshot = self.snapshot_of(cache, &commit);
        if !snapshot.is_dir() {
            return Err(format!("snapshots/{commit} is missing"));
        }
        match snapshot.join(CONFIG).is_file() {
            true => Ok(snapshot),
            false => Err(format!("{CONFIG} is missing")),
        }
    }

    /// What is missing where nothing says which snapshot counts.
    fn without_ref(&self, folder: &Path, reference: &str) -> String {
        let snapshots = std::fs::read_dir(folder.join("snapshots")).into_iter();
        let names = snapshots.flatten().flatten().map(|entry| entry.file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let mut commits: Vec<String> = names.filter(|name| is_name(name)).collect();
        commits.sort();
        match commits.first() {
            None => format!("{CONFIG} is missing"),
            Some(first) => format!(
                "{reference} is missing, which says which snapshot counts ({}); {}@{first} names one itself",
                listed(&commits, ", "),
                self.id
            ),
        }
    }

    /// Where the snapshot of a commit is, or will be.
    pub(super) fn snapshot_of(&self, cache: &Path, commit: &str) -> PathBuf {
        self.cached(cache).pointer_path(commit)
    }

    pub(super) fn blob(&self, cache: &Path, etag: &str) -> PathBuf {
        self.cached(cache).blob_path(etag)
    }

    /// Makes the revision point at `commit`: from then on the snapshot is found.
    pub(super) fn point_at(&self, cache: &Path, commit: &str) -> std::io::Result<()> {
        self.cached(cache).create_ref(commit)
    }
}

/// Whole id, with the revision unless it is the default one.
impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if self.revision != DEFAULT_REVISION {
            write!(f, "@{}", self.revision)?;
        }
        Ok(())
    }
}

/// One part of an id or revision. Such a part is also a safe file name: it never climbs or hides.
pub(super) fn is_name(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
}

/// Makes `link` stand for `blob`, replacing a link that leads nowhere.
///
/// # Errors
/// The file system refuses.
pub(super) fn link(blob: &Path, link: &Path) -> std::io::Result<()> {
    if link.exists() {
        return Ok(());
    }
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(link)?;
    }
    if let Some(parent) = link.parent() {
        std::fs::create_dir_all(parent)?;
    }
    make_link(blob, link)
}

/// Relative, so that the cache can be moved as a whole.
#[cfg(unix)]
fn make_link(blob: &Path, link: &Path) -> std::io::Result<()> {
    let base = link.parent().unwrap_or(link);
    let shared = base
        .components()
        .zip(blob.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = base.components().skip(shared).map(|_| "..");
    let target: PathBuf = up.collect::<PathBuf>();
    let target = target.join(blob.components().skip(shared).collect::<PathBuf>());
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn make_link(blob: &Path, link: &Path) -> std::io::Result<()> {
    std::fs::hard_link(blob, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parsed_and_shown() {
        let plain = HubId::parse("Qwen/Qwen2.5-0.5B").unwrap();
        assert_eq!(plain.revision, "main");
        assert_eq!(plain.to_string(), "Qwen/Qwen2.5-0.5B");
        let pinned = HubId::parse("org/name@refs/pr/1").unwrap();
        assert_eq!(pinned.to_string(), "org/name@refs/pr/1");
        assert_eq!(
            pinned
                .url(&Url::parse("http://h/hf").unwrap(), "sub/a b?#.json")
                .as_str(),
            "http://h/hf/org/name/resolve/refs%2Fpr%2F1/sub/a%20b%3F%23.json"
        );
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "name",
            "a/b/c",
            "/b",
            "a/",
            "../b",
            "a/..",
            "a b/c",
            "a/b@",
            "a/b@../../x",
            "a/b?x",
        ] {
            assert!(HubId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_link_is_relative_and_replaces_a_broken_one() {
        let root = tempfile::tempdir().unwrap();
        let blob = root.path().join("blobs/abc");
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        let pointer = root.path().join("snapshots/c0/sub/file");
        link(&blob, &pointer).unwrap();
        assert!(!pointer.exists(), "the blob is not there yet");
        std::fs::write(&blob, "bytes").unwrap();
        link(&blob, &pointer).unwrap();
        assert_eq!(std::fs::read_to_string(&pointer).unwrap(), "bytes");
        assert!(std::fs::read_link(&pointer).unwrap().is_relative());
    }
}
