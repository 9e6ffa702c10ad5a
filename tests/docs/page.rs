//! A page of Markdown: its lines, and its code with what stands right above it.

use std::fs;
use std::path::{Path, PathBuf};

/// Of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of Markdown, by its path in the repository.
#[derive(Debug, Clone)]
pub struct Page {
    pub name: String,
    pub text: String,
}

/// Code between two lines of three backticks.
#[derive(Debug)]
pub struct Fence {
    /// Of the page, from 1.
    pub line: usize,
    pub language: String,
    pub lines: Vec<String>,
    pub markers: Vec<Marker>,
}

/// A comment right above a fence, which no reader of the page sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// `<!-- needs: gpu (why) -->`: what the commands need and this test has not.
    Needs { what: String, why: String },
    /// `<!-- run: candlepower ... -->`: what is run in place of the next command.
    Run(String),
    /// `<!-- exit: 3 -->`: the exit code of the commands, where it is not 0.
    Exit(i32),
    /// `<!-- shows -->`: lines of what the commands before it print, in order; a line of `...` stands for others.
    Shows,
}

impl Marker {
    fn of(line: &str) -> Option<Self> {
        let inner = line.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
        if inner == "shows" {
            return Some(Self::Shows);
        }
        let (kind, rest) = inner.split_once(':')?;
        let rest = rest.trim();
        match kind {
            "needs" => {
                let (what, why) = rest.split_once(" (").unwrap_or((rest, ""));
                Some(Self::Needs {
                    what: what.to_owned(),
                    why: why.trim_end_matches(')').to_owned(),
                })
            }
            "run" => Some(Self::Run(rest.to_owned())),
            "exit" => rest.parse().ok().map(Self::Exit),
            _ => None,
        }
    }
}

impl Page {
    pub fn read(name: &str) -> Self {
        let path = root().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        Self {
            name: name.to_owned(),
            text,
        }
    }

    /// README.md, CHANGELOG.md, and the pages of docs/ by name.
    pub fn all() -> Vec<Self> {
        let mut names: Vec<PathBuf> = fs::read_dir(root().join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "md"))
            .collect();
        names.sort();
        let names = names.iter().map(|path| {
            let file = path.file_name().unwrap().to_str().unwrap();
            format!("docs/{file}")
        });
        let fixed = ["README.md", "CHANGELOG.md"].map(str::to_owned);
        fixed
            .into_iter()
            .chain(names)
            .map(|n| Self::read(&n))
            .collect()
    }

    pub fn fences(&self) -> Vec<Fence> {
        let mut fences = Vec::new();
        let mut open: Option<Fence> = None;
        let mut markers = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            let ticks = line.trim_start().strip_prefix("```");
            match (&mut open, ticks) {
                (None, Some(language)) => {
                    open = Some(Fence {
                        line: index + 1,
                        language: language.trim().to_owned(),
                        lines: Vec::new(),
                        markers: std::mem::take(&mut markers),
                    });
                }
                (Some(_), Some(_)) => fences.extend(open.take()),
                (Some(fence), None) => fence.lines.push(line.to_owned()),
                (None, None) => match Marker::of(line.trim()) {
                    Some(marker) => markers.push(marker),
                    None => markers.clear(),
                },
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.name);
        fences
    }

    /// Lines outside of fences.
    pub fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut inside = false;
        self.text
            .lines()
            .enumerate()
            .filter_map(move |(index, line)| {
                let ticks = line.trim_start().starts_with("```");
                inside ^= ticks;
                (!inside && !ticks).then_some((index + 1, line))
            })
    }
}
