//! What the environment says about the Hugging Face hub, as a value, so that tests need no environment.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::error::HubError;
use crate::ground::json;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Spellings of "yes" that the hub's Python client accepts.
const TRUE_WORDS: [&str; 4] = ["1", "true", "yes", "on"];

/// An access token. Neither `Debug` nor an error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// `None` when nothing is left after trimming.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// Why it cannot be sent: a header is one line of visible characters.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.0.contains(['\n', '\r']) {
            return Some("a line break");
        }
        if self.0.contains(|c: char| c.is_whitespace()) {
            return Some("a space");
        }
        let plain = self.0.chars().all(|c| c.is_ascii_graphic());
        (!plain).then_some("a character that no token has")
    }

    /// The value of an `Authorization` header.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Where models are cached and downloaded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// The cache of repositories (`models--org--name` folders).
    pub cache: PathBuf,
    /// Base address of the hub or of a mirror, without a trailing slash.
    pub endpoint: String,
    pub token: Option<Token>,
    /// Use only what the cache holds.
    pub offline: bool,
    /// Pause before the first retry of a broken download; doubles each time.
    pub retry_pause: Duration,
    pub patience: Patience,
}

/// How long a server is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// Until an answer's headers are there.
    pub headers: Duration,
    /// Over which a download's rate is looked at.
    pub window: Duration,
    /// Bytes a second that a download brings at least, over each `window`.
    pub least_rate: u64,
    /// As `Retry-After` may ask for.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(30),
            window: Duration::from_secs(30),
            least_rate: 4 << 10,
            longest_pause: Duration::from_secs(120),
        }
    }
}

impl HubSettings {
    /// Reads `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_ENDPOINT`, `HF_TOKEN` (else the token file that
    /// `hf auth login` writes) and `HF_HUB_OFFLINE`, with the precedence of the hub's Python client.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Self::from_env), with any source of variables. An empty variable counts as unset.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let home = get("HF_HOME").map_or_else(
            || {
                get("XDG_CACHE_HOME")
                    .map(PathBuf::from)
                    .or_else(|| get("HOME").map(|home| PathBuf::from(home).join(".cache")))
                    .unwrap_or_else(std::env::temp_dir)
                    .join("huggingface")
            },
            PathBuf::from,
        );
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        Self {
            cache: get("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            endpoint: without_end(endpoint.trim()).to_owned(),
            token: get("HF_TOKEN")
                .and_then(|token| Token::new(&token))
                .or_else(|| Token::new(&json::small_text(&home.join("token"))?)),
            offline: get("HF_HUB_OFFLINE").is_some_and(|value| {
                TRUE_WORDS
                    .iter()
                    .any(|word| value.trim().eq_ignore_ascii_case(word))
            }),
            retry_pause: FIRST_RETRY_PAUSE,
            patience: Patience::default(),
        }
    }

    /// The endpoint, checked.
    ///
    /// # Errors
    /// It is no address on the web.
    pub(super) fn base(&self) -> Result<Url, HubError> {
        let bad = |reason: &str| HubError::BadEndpoint {
            endpoint: self.shown_endpoint(),
            reason: reason.to_owned(),
        };
        if self
            .endpoint
            .contains(|c: char| c.is_control() || c.is_whitespace())
        {
            return Err(bad("it has a space or line break"));
        }
        if !self.endpoint.contains("://") {
            return Err(bad("it begins with neither https:// nor http://"));
        }
        let url = Url::parse(&self.endpoint).map_err(|error| bad(&error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            _ => Err(bad("it begins with neither https:// nor http://")),
        }
    }

    /// The endpoint as it may be shown: a user name and password in the address are left out.
    pub fn shown_endpoint(&self) -> String {
        let start = self.endpoint.find("://").map_or(0, |at| at + "://".len());
        let (scheme, rest) = self.endpoint.split_at(start);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit('@').next().unwrap_or(authority);
        format!("{scheme}{host}{path}")
    }
}

/// Without slashes behind it, but for those of a scheme that nothing follows.
fn without_end(endpoint: &str) -> &str {
    let bare = endpoint.trim_end_matches('/');
    match bare.contains("://") || !endpoint.contains("://") {
        true => bare,
        false => endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        HubSettings::from_lookup(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn cache_follows_the_most_special_variable() {
        let home = ("HOME", "/h");
        let cache = |variables: &[(&str, &str)]| settings(variables).cache;
        assert_eq!(cache(&[home]), PathBuf::from("/h/.cache/huggingface/hub"));
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(cache(&[home, xdg]), PathBuf::from("/x/huggingface/hub"));
        let hf = ("HF_HOME", "/f");
        assert_eq!(cache(&[home, xdg, hf]), PathBuf::from("/f/hub"));
        let hub = ("HF_HUB_CACHE", "/c");
        assert_eq!(cache(&[home, xdg, hf, hub]), PathBuf::from("/c"));
    }

    #[test]
    fn offline_words() {
        for word in ["1", "true", "YES", "On", " 1 "] {
            assert!(settings(&[("HF_HUB_OFFLINE", word)]).offline, "{word}");
        }
        for word in ["0", "false", "no", ""] {
            assert!(!settings(&[("HF_HUB_OFFLINE", word)]).offline, "{word}");
        }
    }

    #[test]
    fn token_comes_from_the_variable_else_the_file_and_is_never_shown() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let hf_home = ("HF_HOME", home.path().to_str().unwrap());
        let from_file = settings(&[hf_home]);
        assert_eq!(from_file.token, Token::new("hf_file"));
        let from_variable = settings(&[hf_home, ("HF_TOKEN", " hf_variable ")]);
        assert_eq!(from_variable.token, Token::new("hf_variable"));
        assert!(!format!("{from_variable:?}").contains("hf_variable"));
    }

    #[test]
    fn endpoint_is_trimmed_and_shown_without_credentials() {
        let mirror = settings(&[("HF_ENDPOINT", "http://user:secret@mirror:8080/hf/")]);
        assert_eq!(mirror.endpoint, "http://user:secret@mirror:8080/hf");
        assert_eq!(mirror.shown_endpoint(), "http://mirror:8080/hf");
        assert_eq!(settings(&[]).endpoint, DEFAULT_ENDPOINT);
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_told() {
        for (endpoint, part) in [
            ("hf-mirror.com", "neither https://"),
            ("user:secret@mirror:80/hf", "`mirror:80/hf`"),
            ("localhost:8080", "neither https://"),
            ("ftp://mirror", "neither https://"),
            ("https://", "empty host"),
            ("https://a\nb", "line break"),
            ("https://mirror:99999", "port"),
        ] {
            let base = settings(&[("HF_ENDPOINT", endpoint)]).base();
            let message = base.unwrap_err().to_string();
            assert!(
                message.contains(part) && message.contains("HF_ENDPOINT"),
                "{message}"
            );
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(
            settings(&[("HF_ENDPOINT", " http://mirror:8080/hf/ ")])
                .base()
                .is_ok()
        );
    }

    #[test]
    fn a_token_that_no_header_holds_is_told() {
        for (token, fault) in [
            ("hf_a\nb", Some("a line break")),
            ("hf_a b", Some("a space")),
            ("hf_\u{1b}", Some("a character that no token has")),
            ("hf_é", Some("a character that no token has")),
            (" hf_abc\n", None),
        ] {
            assert_eq!(Token::new(token).unwrap().fault(), fault);
        }
    }
}
