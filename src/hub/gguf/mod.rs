//! GGUF files on the hub: which of them a repository has, and the header of the one that is meant, by ranges.

mod kept;
mod names;
mod ranged;

pub use names::{is_gguf, other_parts};

use self::kept::Kept;
use self::names::{Files, models};
use super::cache::HubId;
use super::error::HubError;
use super::http::Client;
use super::settings::HubSettings;
use crate::ground::gguf_header::GgufHeader;
use crate::ground::{Progress, Task};

/// A repository and which of its GGUF files is meant: `org/name:Q4_K_M`, `org/name@revision:FILE.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufId {
    pub repo: HubId,
    /// A quantisation or a file; `None`: the only one that there is.
    pub choice: Option<String>,
}

impl GgufId {
    /// With a choice, or as [`HubId::parse`] without one; `None`: neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, choice) = match text.split_once(':') {
            Some((id, choice)) if !choice.is_empty() && !choice.contains(':') => (id, Some(choice)),
            Some(_) => return None,
            None => (text, None),
        };
        Some(Self {
            repo: HubId::parse(id).ok()?,
            choice: choice.map(str::to_owned),
        })
    }
}

/// The header of the GGUF model that `id` means, the tensors of all its parts in one; `None`: the repository has no
/// GGUF files, and none was asked for.
///
/// # Errors
/// Several could be meant, none is, one is damaged or another thing, or the hub failed or sends no parts of files.
pub fn header(
    id: &GgufId,
    settings: &HubSettings,
    progress: &dyn Progress,
) -> Result<Option<GgufHeader>, HubError> {
    let kept = Kept::new(&id.repo, settings);
    let known = kept.files();
    // What is missing in an old list may be there by now.
    let enough = known
        .as_ref()
        .is_some_and(|files| choose(id, files).is_ok());
    let files = match known {
        Some(files) if enough || settings.offline => files,
        _ => listed(&id.repo, &kept, settings, progress)?,
    };
    let Some(parts) = choose(id, &files)? else {
        return Ok(None);
    };
    let pinned = HubId {
        id: id.repo.id.clone(),
        revision: files.commit.clone(),
    };
    let client = Client::new(settings, &pinned, progress)?;
    progress.start(Task::Headers(id.repo.to_string()), parts.len() as u64);
    let read = || {
        let mut whole: Option<GgufHeader> = None;
        for part in &parts {
            let header = match kept.header(&files.commit, part) {
                Some(header) => header,
                None if settings.offline => return Err(offline(&id.repo, part, settings)),
                None => {
                    let found = ranged::header(&client, part)?;
                    kept.keep_header(&files.commit, part, &found);
                    found.header
                }
            };
            match &mut whole {
                Some(first) => first.tensors.extend(header.tensors),
                None => whole = Some(header),
            }
            progress.advance(1);
        }
        Ok(whole)
    };
    let header = read();
    progress.finish();
    header
}

/// The GGUF files of the repository as it is now.
fn listed(
    repo: &HubId,
    kept: &Kept,
    settings: &HubSettings,
    progress: &dyn Progress,
) -> Result<Files, HubError> {
    if settings.offline {
        return Err(offline(repo, "the list of its files", settings));
    }
    let client = Client::new(settings, repo, progress)?;
    let files = Files::read(&client)?;
    kept.keep_files(&files);
    Ok(files)
}

fn offline(repo: &HubId, missing: &str, settings: &HubSettings) -> HubError {
    HubError::Offline {
        repo: repo.to_string(),
        missing: format!("{missing} is missing"),
        cache: settings.cache.clone(),
    }
}

/// The parts of the model that is meant; `None`: there is none, and none was asked for.
fn choose(id: &GgufId, files: &Files) -> Result<Option<Vec<String>>, HubError> {
    let repo = id.repo.to_string();
    let models = models(&files.names);
    let all = names::shown(&models.iter().collect::<Vec<_>>());
    let several = |found: &[String]| HubError::SeveralGguf {
        repo: repo.clone(),
        count: found.len(),
        example: found.first().cloned().unwrap_or_default(),
        found: names::in_words(found),
    };
    let found = match (&id.choice, &models[..]) {
        (None, []) => return Ok(None),
        (None, [one]) => one,
        (None, _) => return Err(several(&all)),
        (Some(wanted), _) => match &names::meant(&models, wanted)[..] {
            [one] => *one,
            [] => {
                return Err(HubError::NoSuchGguf {
                    repo,
                    wanted: wanted.clone(),
                    found: names::in_words(&all),
                });
            }
            found => {
                let names: Vec<String> = found.iter().map(|model| model.name()).collect();
                return Err(several(&names));
            }
        },
    };
    match found.missing() {
        0 => Ok(Some(found.parts.clone())),
        missing => Err(HubError::GgufParts {
            repo,
            file: found.name(),
            missing,
            of: found.of,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_stands_behind_an_id() {
        let parsed = |text| {
            let id = GgufId::parse(text)?;
            Some((id.repo.to_string(), id.choice))
        };
        let of = |id: &str, choice: Option<&str>| Some((id.to_owned(), choice.map(str::to_owned)));
        assert_eq!(parsed("org/name:Q4_K_M"), of("org/name", Some("Q4_K_M")));
        assert_eq!(
            parsed("org/name@v1:BF16/x-00001-of-00002.gguf"),
            of("org/name@v1", Some("BF16/x-00001-of-00002.gguf"))
        );
        assert_eq!(parsed("org/name"), of("org/name", None));
        for other in [
            "name:Q4_K_M",
            "org/name:",
            "https://hub/org/name",
            "org/name:a:b",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}
