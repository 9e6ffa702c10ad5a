//! The files of `src/`, and what each of them names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub struct Source {
    /// Below `src/`.
    pub path: PathBuf,
    /// The first folder of it, or the file.
    pub room: String,
    /// Below the crate: `["ops", "cpu", "gemm"]`; a `mod.rs` is its folder, `lib.rs` the crate itself.
    pub module: Vec<String>,
    pub text: String,
}

impl Source {
    pub fn new(path: &Path, text: String) -> Self {
        let names = path.with_extension("");
        // A file that stands in for `x` where a feature is off is `no_x`.
        let names = names.iter().map(|name| name.to_str().unwrap());
        let names = names.map(|name| name.strip_prefix("no_").unwrap_or(name).to_owned());
        let mut module: Vec<String> = names.collect();
        let room = module[0].clone();
        if ["mod", "lib", "main"].contains(&module.last().unwrap().as_str()) {
            module.pop();
        }
        Self {
            path: path.to_owned(),
            room,
            module,
            text,
        }
    }

    /// Every first name after `crate::`, in groups too: `use crate::{a::B, c}` gives `a` and `c`.
    pub fn rooms(&self) -> BTreeSet<String> {
        let paths = named(&self.text).into_iter();
        let words = paths.filter_map(|path| Some(path.strip_prefix("crate::")?.to_owned()));
        words
            .filter_map(|path| path.split("::").next().map(str::to_owned))
            .collect()
    }

    /// Every path from `crate`, `super` or `self` on, outside of its own tests.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = named(self.without_tests());
        for path in &mut paths {
            path.truncate(path.find(" as ").unwrap_or(path.len()));
        }
        paths
    }

    /// What the file's own `use` lines bring in, from wherever: a name, and the path that it stands for.
    pub fn imports(&self) -> Vec<(String, String)> {
        let joined = joined(self.without_tests());
        let mut imports = Vec::new();
        for (at, _) in joined.match_indices("use ") {
            if joined[..at].ends_with(is_name) {
                continue;
            }
            let tree = joined[at + "use ".len()..].split(';').next().unwrap();
            for path in expand(tree.trim_start()) {
                let (path, alias) = match path.split_once(" as ") {
                    Some((path, alias)) => (path.to_owned(), Some(alias.to_owned())),
                    None => (path, None),
                };
                let name = path.rsplit("::").next().unwrap().to_owned();
                imports.push((alias.unwrap_or(name), path));
            }
        }
        imports
    }

    /// A file's tests stand last in it, and may name whatever they try.
    fn without_tests(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap()
    }
}

/// All files of `src/`.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source::new(path.strip_prefix(&root).unwrap(), text));
            }
        }
    }
    assert!(found.len() > 60, "only {} files were found", found.len());
    found
}

/// Lines of code: comments and what is behind them left out.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    lines.map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

fn joined(text: &str) -> String {
    code(text).map(|(_, line)| format!("{line} ")).collect()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path that begins with `crate`, `super` or `self`.
fn named(text: &str) -> Vec<String> {
    let joined = joined(text);
    let mut paths = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in joined.match_indices(start) {
            // `$crate::` is another's, and `super::super::` has been read from its beginning.
            if !joined[..at].ends_with(|c: char| is_name(c) || c == ':' || c == '$') {
                paths.extend(expand(&joined[at..]));
            }
        }
    }
    paths
}

/// The paths of a use tree; one path where it has no braces. `a::{self, b as c}` gives `a` and `a::b as c`.
fn expand(tree: &str) -> Vec<String> {
    let end = tree.find(|c: char| !(is_name(c) || c == ':'));
    let (path, rest) = tree.split_at(end.unwrap_or(tree.len()));
    let Some(inner) = rest.strip_prefix('{') else {
        let path = path.trim_end_matches("::");
        let alias = rest.trim_start().strip_prefix("as ");
        return vec![match alias {
            Some(alias) => format!("{path} as {}", first_name(alias)),
            None => path.to_owned(),
        }];
    };
    let items = first_level(inner);
    let paths = items.iter().flat_map(|item| expand(item.trim_start()));
    paths
        .map(|item| match item.as_str() {
            "self" => path.trim_end_matches("::").to_owned(),
            item => format!("{path}{item}"),
        })
        .collect()
}

fn first_name(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c| !is_name(c)).unwrap_or(text.len())]
}

/// The comma-separated items up to the brace that closes the group.
fn first_level(inner: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in inner.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().unwrap().push(c);
            }
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}
