//! Requests to the hub or a mirror: redirects, access token, byte ranges, and what the answer says about a file.
//!
//! hf-hub 0.5 supplies the cache's layout (`super::cache`), not the transfer. Its own transfer would append a whole
//! body to a partial file when a server ignores `Range`, takes a short body for a complete one, reads no `HF_TOKEN`,
//! sends the token on to the redirect's host, and panics on odd answers.

mod ranges;

use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};
use url::Url;

pub(super) use self::ranges::Head;
use super::cache::HubId;
use super::error::HubError;
use super::part::is_sha256;
use super::settings::{HubSettings, Token};
use super::waiting::{Ended, pause, stoppable};
use crate::ground::Progress;

const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that is silent for this long is taken for dead.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("candlepower/", env!("CARGO_PKG_VERSION"));

const OK: u16 = 200;
/// What is asked for where no file is, in messages.
const DESCRIPTION: &str = "the list of files";
const PARTIAL_CONTENT: u16 = 206;
const UNAUTHORIZED: u16 = 401;
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;
const RANGE_NOT_SATISFIABLE: u16 = 416;
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

pub(super) struct Client<'a> {
    agent: Agent,
    endpoint: Url,
    token: Option<&'a Token>,
    shown_endpoint: String,
    pub repo: &'a HubId,
    pub settings: &'a HubSettings,
    pub progress: &'a dyn Progress,
}

/// A file as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Commit that the revision stands for.
    pub commit: String,
    /// Names the content: equal etags are equal bytes.
    pub etag: String,
    /// Of the content, where the hub tells it.
    pub sha256: Option<String>,
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
    /// By the hub itself, where `etag` is that.
    sha256: Option<String>,
    linked_size: Option<u64>,
}

impl<'a> Client<'a> {
    /// # Errors
    /// The endpoint or the token can be of no use.
    pub fn new(
        settings: &'a HubSettings,
        repo: &'a HubId,
        progress: &'a dyn Progress,
    ) -> Result<Self, HubError> {
        let token = settings.token.as_ref();
        if let Some(fault) = token.and_then(Token::fault) {
            return Err(HubError::BadToken { fault });
        }
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            // A compressed body would have another size than the one announced for the file.
            .accept_encoding("identity")
            .user_agent(USER_AGENT)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(settings.patience.headers))
            .timeout_per_read(Some(READ_TIMEOUT))
            .build();
        Ok(Self {
            agent: config.into(),
            endpoint: settings.base()?,
            token,
            shown_endpoint: settings.shown_endpoint(),
            repo,
            settings,
            progress,
        })
    }

    /// Waits before attempt `attempt + 1`, as long as the server asked for where it did.
    ///
    /// # Errors
    /// It was stopped.
    pub fn pause(&self, attempt: u32, asked: Duration) -> Result<(), HubError> {
        let usual = self.settings.retry_pause * (1 << attempt);
        match pause(self.progress, asked.max(usual)) {
            true => Ok(()),
            false => Err(self.stopped()),
        }
    }

    pub fn stopped(&self) -> HubError {
        HubError::Stopped {
            repo: self.repo.to_string(),
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
            self.check_status(file, &answer.response)?;
        }
        let missing = |what: &str| self.not_a_hub(file, format!("no {what} in the answer"));
        let linked = answer.linked_etag.clone().filter(|etag| is_sha256(etag));
        Ok(Facts {
            sha256: linked.or(answer.sha256),
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
        self.check_status(file, &answer.response)?;
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
        self.follow(file, self.repo.url(&self.endpoint, file), Some(range))
    }

    /// Asks for `url`, which is called `file` in messages, through all redirects.
    fn follow(&self, file: &str, mut url: Url, range: Option<&str>) -> Result<Answer, HubError> {
        let (mut commit, mut linked_etag, mut etag, mut linked_size) = (None, None, None, None);
        let mut sha256 = None;
        for _ in 0..=MAX_REDIRECTS {
            let own = url.origin() == self.endpoint.origin();
            let response = self.call(file, &url, range, own)?;
            let headers = response.headers();
            commit = commit.or_else(|| safe_name(headers, "x-repo-commit"));
            linked_etag = linked_etag.or_else(|| safe_name(headers, "x-linked-etag"));
            if etag.is_none() {
                etag = safe_name(headers, "etag");
                // A storage's etags are of another making.
                sha256 = etag.clone().filter(|etag| own && is_sha256(etag));
            }
            linked_size = linked_size.or_else(|| header(headers, "x-linked-size")?.parse().ok());
            if !REDIRECTS.contains(&response.status().as_u16()) {
                return Ok(Answer {
                    response,
                    commit,
                    linked_etag,
                    etag,
                    sha256,
                    linked_size,
                });
            }
            url = header(headers, "location")
                .and_then(|location| redirected(&url, location))
                .ok_or_else(|| self.not_a_hub(file, "a redirect to nowhere".to_owned()))?;
        }
        Err(self.not_a_hub(file, format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// One request; `own`: to the hub itself. A redirect to a storage host carries its own signature; the token is
    /// not its business.
    fn call(
        &self,
        file: &str,
        url: &Url,
        range: Option<&str>,
        own: bool,
    ) -> Result<Response<Body>, HubError> {
        let mut request = self.agent.get(url.as_str());
        if let Some(range) = range {
            request = request.header("range", range);
        }
        if let Some(token) = self.token.filter(|_| own) {
            request = request.header("authorization", token.bearer());
        }
        let unreachable = |reason: String| HubError::Unreachable {
            file: file.to_owned(),
            repo: self.repo.to_string(),
            endpoint: self.shown_endpoint.clone(),
            reason,
        };
        let longest = CONNECT_TIMEOUT + self.settings.patience.headers;
        match stoppable(self.progress, longest, move || request.call()) {
            Ok(answer) => answer.map_err(|error| unreachable(error.to_string())),
            Err(Ended::Stopped) => Err(self.stopped()),
            Err(Ended::Late) => Err(unreachable(format!("no answer within {longest:?}"))),
            Err(Ended::Gone) => Err(unreachable("its answer could not be read".to_owned())),
        }
    }

    fn check_status(&self, file: &str, response: &Response<Body>) -> Result<(), HubError> {
        let status = response.status().as_u16();
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
                retry_after: header(response.headers(), "retry-after")
                    .and_then(|seconds| seconds.parse().ok()),
            }),
        }
    }

    pub fn too_large(&self, file: &str, size: u64, most: u64) -> HubError {
        HubError::TooLarge {
            file: file.to_owned(),
            repo: self.repo.to_string(),
            endpoint: self.shown_endpoint.clone(),
            size,
            most,
        }
    }

    pub fn too_slow(&self, file: &str, rate: u64) -> HubError {
        HubError::TooSlow {
            file: file.to_owned(),
            repo: self.repo.to_string(),
            endpoint: self.shown_endpoint.clone(),
            rate,
            least: self.settings.patience.least_rate,
        }
    }

    pub fn wrong_size(&self, file: &str, received: u64, facts: &Facts) -> HubError {
        self.other_size(file, received, facts.size)
    }

    fn other_size(&self, file: &str, received: u64, expected: u64) -> HubError {
        HubError::WrongSize {
            file: file.to_owned(),
            repo: self.repo.to_string(),
            received,
            expected,
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

    /// The hub does not say what files a repository has.
    pub fn no_list(&self, reason: String) -> HubError {
        self.not_a_hub(DESCRIPTION, reason)
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

/// Where a redirect leads, on the web.
fn redirected(from: &Url, location: &str) -> Option<Url> {
    let to = from.join(location).ok()?;
    let on_the_web = matches!(to.scheme(), "http" | "https") && to.has_host();
    on_the_web.then_some(to)
}

#[cfg(test)]
mod tests;
