//! Which candlepower this is.

/// Of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision that this program was built from, if it was built in a repository.
pub fn revision() -> Option<&'static str> {
    Some(env!("CANDLEPOWER_GIT")).filter(|git| !git.is_empty())
}
