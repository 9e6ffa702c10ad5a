//! Requests to the hub or a mirror: redirects, access token, byte ranges, and what the answer says about a file.
//!
//! hf-hub 0.5 supplies the cache's layout (`super::cache`), not the transfer. Its own transfer would append a whole
//! body to a partial file when a server ignores `Range`, takes a short body for a complete one, reads no `HF_TOKEN`,
//! sends the token on to the redirect's host, and panics on odd answers.

use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::cache::HubId;
use super::error::HubError;
use super::settings::{HubSettings, Token};

const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that is silent for this long is taken for dead.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("candlepower/", env!("CARGO_PKG_VERSION"));

const OK: u16 = 200;
const PARTIAL_CONTENT: u16 = 206;
const UNAUTHORIZED: u16 = 401;
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;
const RANGE_NOT_SATISFIABLE: u16 = 416;
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

pub(super) struct Client<'a> {
    agent: Agent,
    endpoint: &'a str,
    token: Option<&'a Token>,
    shown_endpoint: String,
    repo: &'a HubId,
}

/// A file as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Commit that the revision stands for.
    pub commit: String,
    /// Names the content: equal etags are equal bytes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

/// A body on its way.
pub(super) struct Stream {
    pub body: Body,
    /// Offset of the body's first byte in the file.
    pub start: u64,
}

/// The last answer of a chain of redirects, and what the hub said on the way.
struct Answer {
    response: Response<Body>,
    commit: Option<String>,
    linked_etag: Option<String>,
    etag: Option<String>,
    linked_size: Option<u64>,
}

impl<'a> Client<'a> {
    pub fn new(settings: &'a HubSettings, repo: &'a HubId) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            // A compressed body would have another size than the one announced for the file.
            .accept_encoding("identity")
            .user_agent(USER_AGENT)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .build();
        Self {
            agent: config.into(),
            endpoint: &settings.endpoint,
            token: settings.token.as_ref(),
            shown_endpoint: settings.shown_endpoint(),
            repo,
        }
    }

    /// What the server says about a file, from a request for its first byte.
    ///
    /// # Errors
    /// The file or the server cannot be had, or the answer lacks commit, etag or size.
    pub fn probe(&self, file: &str) -> Result<Facts, HubError> {
        let answer = self.get(file, "bytes=0-0")?;
        let total = total_size(&answer.response);
        let status = answer.response.status().as_u16();
        // An empty file has no first byte.
        if !(status == RANGE_NOT_SATISFIABLE && total == Some(0)) {
            self.check_status(file, status)?;
        }
        let missing = |what: &str| self.not_a_hub(file, format!("no {what} in the answer"));
        Ok(Facts {
            etag: answer
                .linked_etag
                .or(answer.etag)
                .ok_or_else(|| missing("etag"))?,
            commit: answer.commit.ok_or_else(|| missing("x-repo-commit"))?,
            size: answer
                .linked_size
                .or(total)
                .ok_or_else(|| missing("size"))?,
        })
    }

    /// Opens the file's bytes from `offset` on. The server may ignore that: see [`Stream::start`].
    ///
    /// # Errors
    /// As [`probe`](Self::probe); also when the file is not the one that `facts` describes.
    pub fn open(&self, file: &str, offset: u64, facts: &Facts) -> Result<Stream, HubError> {
        let answer = self.get(file, &format!("bytes={offset}-"))?;
        let total = total_size(&answer.response);
        if let Some(received) = total.filter(|&total| total != facts.size) {
            return Err(self.wrong_size(file, received, facts));
        }
        let status = answer.response.status().as_u16();
        self.check_status(file, status)?;
        let found = answer.linked_etag.or(answer.etag);
        if let Some(found) = found.filter(|etag| *etag != facts.etag) {
            return Err(self.changed(file, found, &facts.etag));
        }
        let start = match status {
            PARTIAL_CONTENT => range_start(answer.response.headers())
                .ok_or_else(|| self.not_a_hub(file, "no content-range in the answer".to_owned()))?,
            _ => 0,
        };
        if start != 0 && start != offset {
            let reason = format!("bytes from {start} came where {offset} was asked for");
            return Err(self.not_a_hub(file, reason));
        }
        Ok(Stream {
            body: answer.response.into_body(),
            start,
        })
    }

    fn get(&self, file: &str, range: &str) -> Result<Answer, HubError> {
        let mut url = self.repo.url(self.endpoint, file);
        let (mut commit, mut linked_etag, mut etag, mut linked_size) = (None, None, None, None);
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&url).header("range", range);
            // A redirect to a storage host carries its own signature; the token is not its business.
            if let Some(token) = self.token.filter(|_| origin(&url) == origin(self.endpoint)) {
                request = request.header("authorization", token.bearer());
            }
            let response = request.call().map_err(|error| HubError::Unreachable {
                file: file.to_owned(),
                repo: self.repo.to_string(),
                endpoint: self.shown_endpoint.clone(),
                reason: error.to_string(),
            })?;
            let headers = response.headers();
            commit = commit.or_else(|| safe_name(headers, "x-repo-commit"));
            linked_etag = linked_etag.or_else(|| safe_name(headers, "x-linked-etag"));
            etag = etag.or_else(|| safe_name(headers, "etag"));
            linked_size = linked_size.or_else(|| header(headers, "x-linked-size")?.parse().ok());
            if !REDIRECTS.contains(&response.status().as_u16()) {
                return Ok(Answer {
                    response,
                    commit,
                    linked_etag,
                    etag,
                    linked_size,
                });
            }
            url = header(headers, "location")
                .and_then(|location| redirected(&url, location))
                .ok_or_else(|| self.not_a_hub(file, "a redirect to nowhere".to_owned()))?;
        }
        Err(self.not_a_hub(file, format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn check_status(&self, file: &str, status: u16) -> Result<(), HubError> {
        let (file, repo) = (file.to_owned(), self.repo.to_string());
        let endpoint = self.shown_endpoint.clone();
        match status {
            OK | PARTIAL_CONTENT => Ok(()),
            UNAUTHORIZED | FORBIDDEN => Err(HubError::Gated {
                file,
                repo,
                id: self.repo.id.clone(),
                endpoint,
                status,
                token_state: match self.token {
                    Some(_) => "the present token was refused",
                    None => "no token is set now",
                },
            }),
            NOT_FOUND => Err(HubError::NotFound {
                file,
                repo,
                endpoint,
            }),
            _ => Err(HubError::Status {
                file,
                repo,
                endpoint,
                status,
            }),
        }
    }

    pub fn wrong_size(&self, file: &str, received: u64, facts: &Facts) -> HubError {
        HubError::WrongSize {
            file: file.to_owned(),
            repo: self.repo.to_string(),
            received,
            expected: facts.size,
        }
    }

    pub fn changed(&self, file: &str, found: String, expected: &str) -> HubError {
        HubError::Changed {
            file: file.to_owned(),
            repo: self.repo.to_string(),
            found,
            expected: expected.to_owned(),
        }
    }

    fn not_a_hub(&self, file: &str, reason: String) -> HubError {
        HubError::NotAHub {
            file: file.to_owned(),
            repo: self.repo.to_string(),
            endpoint: self.shown_endpoint.clone(),
            reason,
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A header that becomes a file name: without quotes and weakness mark, and only if it is a safe name.
fn safe_name(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = header(headers, name)?;
    let value = value.strip_prefix("W/").unwrap_or(value).trim_matches('"');
    super::cache::is_name(value).then(|| value.to_owned())
}

/// Size of the whole file: from `Content-Range: bytes a-b/total`, else from the length of a whole body.
fn total_size(response: &Response<Body>) -> Option<u64> {
    if let Some(range) = header(response.headers(), "content-range") {
        return range.rsplit('/').next()?.parse().ok();
    }
    let whole = response.status().as_u16() == OK;
    let length = header(response.headers(), "content-length").filter(|_| whole)?;
    length.parse().ok()
}

fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = header(headers, "content-range")?.strip_prefix("bytes ")?;
    range.split('-').next()?.parse().ok()
}

/// Scheme and authority of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + "://".len());
    let end = url[host..].find(['/', '?', '#']);
    end.map_or(url, |end| &url[..host + end])
}

/// Where a redirect leads: an absolute address, or a path on the same host.
fn redirected(from: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        Some(location.to_owned())
    } else if location.starts_with('/') && !location.starts_with("//") {
        Some(format!("{}{location}", origin(from)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_redirects() {
        assert_eq!(origin("https://h:1/a/b"), "https://h:1");
        assert_eq!(origin("https://h"), "https://h");
        assert_ne!(origin("https://h.evil/x"), origin("https://h"));
        assert_eq!(
            redirected("http://h/a", "/b").as_deref(),
            Some("http://h/b")
        );
        assert_eq!(
            redirected("http://h/a", "https://c/d").as_deref(),
            Some("https://c/d")
        );
        assert_eq!(redirected("http://h/a", "//c/d"), None);
        assert_eq!(redirected("http://h/a", "ftp://c"), None);
    }

    #[test]
    fn etags_that_are_no_file_names_are_dropped() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("etag", value.parse().unwrap());
            safe_name(&headers, "etag")
        };
        assert_eq!(read("\"abc-1\"").as_deref(), Some("abc-1"));
        assert_eq!(read("W/\"abc\"").as_deref(), Some("abc"));
        assert_eq!(read("\"../../abc\""), None);
        assert_eq!(read("\"\""), None);
    }
}
