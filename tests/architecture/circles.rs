//! No circle between the files of a room: each can be read after those that it names. Parent and child
//! modules may name each other, and a folder counts as one with all that is in it where others name it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::source::{Source, sources};

/// A name that a module only brings in is followed so often.
const MOST_HOPS: usize = 16;

type Module = Vec<String>;

/// All modules, with the names that each brings in and what these stand for.
struct House(BTreeMap<Module, BTreeMap<String, String>>);

impl House {
    fn new(sources: &[Source]) -> Self {
        let mut modules: BTreeMap<Module, BTreeMap<String, String>> = BTreeMap::new();
        for source in sources {
            let names = modules.entry(source.module.clone()).or_default();
            names.extend(source.imports());
        }
        Self(modules)
    }

    /// The module that `path` leads to, as `from` writes it; `None`: it is of another crate. A name that a
    /// module only brings in is looked up where it comes from.
    fn find(&self, from: &[String], path: &str) -> Option<Module> {
        let (mut module, mut rest) = self.descend(from, path)?;
        for _ in 0..MOST_HOPS {
            let name = rest.split("::").next().unwrap_or_default();
            let origin = self.0.get(&module).and_then(|names| names.get(name));
            let Some(next) = origin.and_then(|path| self.descend(&module, path)) else {
                break;
            };
            (module, rest) = next;
        }
        Some(module)
    }

    /// As many words of `path` as are modules, and the words behind them.
    fn descend(&self, from: &[String], path: &str) -> Option<(Module, String)> {
        let mut module = from.to_vec();
        let mut words = path.split("::").peekable();
        let mut is_ours = false;
        loop {
            let inner = words
                .peek()
                .map(|word| [&module[..], &[(*word).to_owned()]].concat());
            match words.peek().copied() {
                Some("crate") => module.clear(),
                Some("super") => drop(module.pop()),
                Some("self") => {}
                Some(_) if self.0.contains_key(inner.as_ref()?) => module = inner?,
                _ => break,
            }
            words.next();
            is_ours = true;
        }
        let rest: Vec<&str> = words.collect();
        is_ours.then(|| (module, rest.join("::")))
    }
}

/// A line for each circle, the shortest through each of its modules.
fn circles(sources: &[Source]) -> Vec<String> {
    let house = House::new(sources);
    let mut uses: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for source in sources {
        let own = &source.module;
        for other in source
            .paths()
            .iter()
            .filter_map(|path| house.find(own, path))
        {
            // Up to the folder that both are in, and one step further.
            let shared = own.iter().zip(&other).take_while(|(a, b)| a == b).count();
            if shared > 0 && shared < own.len().min(other.len()) {
                let used = uses.entry(own[..=shared].to_vec()).or_default();
                used.insert(other[..=shared].to_vec());
            }
        }
    }
    let mut seen = BTreeSet::new();
    let shortest = uses.keys().filter_map(|module| circle(&uses, module));
    let each_once =
        shortest.filter(|circle| seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()));
    each_once
        .map(|circle| {
            let modules = circle.iter().chain(&circle[..1]);
            let words: Vec<String> = modules.map(|module| module.join("::")).collect();
            words.join(" -> ")
        })
        .collect()
}

/// The shortest way from a module back to itself.
fn circle<'a>(
    uses: &'a BTreeMap<Module, BTreeSet<Module>>,
    start: &'a Module,
) -> Option<Vec<&'a Module>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in uses.get(*way.last()?).into_iter().flatten() {
            if next == start {
                return Some(way);
            }
            if seen.insert(next) {
                ways.push_back([&way[..], &[next]].concat());
            }
        }
    }
    None
}

#[test]
fn no_circle_between_files_of_a_room() {
    let circles = circles(&sources());
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

/// Of a room of these files; it brings in one name.
fn planted(files: &[(&str, &str)]) -> Vec<String> {
    let room = [("fit/mod.rs", "mod a;\nmod b;\npub use b::f as h;")];
    let files = room.iter().chain(files);
    let sources = files.map(|(path, text)| Source::new(Path::new(path), (*text).to_owned()));
    circles(&sources.collect::<Vec<_>>())
}

#[test]
fn the_check_sees_a_circle() {
    let b = ("fit/b.rs", "fn f() { super::a::g() }");
    for a in [
        "use super::b::f;",
        "use crate::{fit::{self, b}, ops};",
        "use super::{c, b::{self, f as k}};",
        "fn g() { crate::fit::b::f() }",
        // A name that the parent brings in leads to where it is from.
        "use super::h;",
    ] {
        let circle = "fit::a -> fit::b -> fit::a";
        assert_eq!(planted(&[("fit/a.rs", a), b]), [circle], "{a}");
    }
    let (a, c) = (("fit/a.rs", "use super::c;"), ("fit/c.rs", "use super::b;"));
    assert_eq!(
        planted(&[a, b, c]),
        ["fit::a -> fit::c -> fit::b -> fit::a"]
    );
    let a = ("fit/a.rs", "use super::d::D;");
    let (d, e) = (
        ("fit/d/mod.rs", "mod e;"),
        ("fit/d/e.rs", "use super::super::a;"),
    );
    assert_eq!(planted(&[a, d, e]), ["fit::a -> fit::d -> fit::a"]);
}

#[test]
fn the_check_sees_no_circle_where_there_is_none() {
    let b = ("fit/b.rs", "fn f() { super::a::g() }");
    for a in [
        "use super::F;",
        "// use super::b;",
        "fn g() {}\n#[cfg(test)]\nmod tests {\n    use super::super::b;\n}",
        "use crate::ops::b;",
    ] {
        assert_eq!(planted(&[("fit/a.rs", a), b]), [""; 0], "{a}");
    }
}
