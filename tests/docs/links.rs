//! Links between pages and paths of the repository lead somewhere, and the README stays short.

use std::path::Path;

use crate::page::{Page, root};

const README_LINES: usize = 150;
/// Folders whose files the pages name.
const FOLDERS: [&str; 8] = [
    "src/",
    "tests/",
    "scripts/",
    "kernels/",
    "benches/",
    "models/",
    "docs/",
    "examples/",
];

/// Text between `](` and `)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

/// Text between two backticks.
pub fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// As web pages make an anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

fn has_anchor(page: &Page, wanted: &str) -> bool {
    let mut headings = page.prose().filter_map(|(_, line)| {
        let text = line.trim_start_matches('#');
        (text.len() < line.len()).then_some(text)
    });
    headings.any(|heading| anchor(heading) == wanted)
}

#[test]
fn relative_links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in Page::all() {
        let folder = Path::new(&page.name).parent().unwrap();
        for (number, line) in page.prose() {
            for link in links(line).filter(|link| !link.contains("://")) {
                seen += 1;
                let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
                let file = match file {
                    "" => page.name.clone(),
                    file => folder.join(file).to_str().unwrap().to_owned(),
                };
                let there = root().join(&file).exists();
                let anchored = || wanted.is_empty() || has_anchor(&Page::read(&file), wanted);
                if !(there && anchored()) {
                    broken.push(format!("{}:{number}: {link}", page.name));
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} links were found");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// `src/ops/mod.rs` and the like; one with a `<`, `*` or `{` in it stands for several.
#[test]
fn paths_in_the_pages_are_there() {
    let mut missing = Vec::new();
    for page in Page::all() {
        for (number, line) in page.prose() {
            let paths = code(line).filter(|code| FOLDERS.iter().any(|f| code.starts_with(f)));
            for path in paths.filter(|path| !path.contains(['<', '*', '{'])) {
                let file = path.split([' ', ':']).next().unwrap_or_default();
                if !root().join(file).exists() {
                    missing.push(format!("{}:{number}: {path}", page.name));
                }
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

/// Rooms as `src/lib.rs` lists them.
fn rooms() -> Vec<String> {
    let map = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let listed = map
        .lines()
        .filter_map(|line| line.strip_prefix("//! - `")?.split('`').next());
    listed.map(str::to_owned).collect()
}

#[test]
fn the_picture_of_the_house_has_every_room_in_order() {
    let page = Page::read("docs/architecture.md");
    let picture = &page.fences()[0];
    let words = picture
        .lines
        .iter()
        .filter_map(|line| line.split_whitespace().next());
    let rooms = rooms();
    let shown: Vec<&str> = words
        .filter(|word| rooms.iter().any(|r| r == word))
        .collect();
    assert!(rooms.len() > 15, "{rooms:?}");
    assert_eq!(shown, rooms);
}

#[test]
fn the_readme_is_short() {
    let lines = Page::read("README.md").text.lines().count();
    assert!(lines < README_LINES, "README.md has {lines} lines");
}

#[test]
fn anchors_are_those_of_web_pages() {
    assert_eq!(
        anchor(" How fast the CPU engine is"),
        "how-fast-the-cpu-engine-is"
    );
    assert_eq!(anchor("`results.json`, and more"), "resultsjson-and-more");
}
