//! Every command of the program in a page is run as it stands, or a shorter one with the same flags, or the page
//! says what it needs. What other commands name is there.

use std::collections::BTreeSet;

use crate::page::{Fence, Marker, Page, root};
use crate::world::World;

const PROGRAM: &str = "candlepower";
/// What a command may need and this test has not.
const NEEDS: [&str; 4] = ["gpu", "hub", "mpi", "time"];

/// A line of a fence, without what is for the reader.
#[derive(Debug)]
struct Command {
    place: String,
    line: String,
}

impl Command {
    fn is_ours(&self) -> bool {
        self.line.split_whitespace().next() == Some(PROGRAM)
    }
}

/// The commands of a fence; a line that ends in a backslash goes on.
fn commands(page: &Page, fence: &Fence) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut begun = String::new();
    for (index, line) in fence.lines.iter().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(part) => begun += part,
            None => commands.push(Command {
                place: format!("{}:{}", page.name, fence.line + 1 + index),
                line: std::mem::take(&mut begun) + line,
            }),
        }
    }
    commands
}

/// `bench`, `--concurrency` and the like.
fn flags(line: &str) -> BTreeSet<&str> {
    let words = line.split_whitespace();
    let flags = words.clone().filter(|word| word.starts_with("--"));
    words.skip(1).take(1).chain(flags).collect()
}

/// What is run for each command of the program, with the command itself.
fn runs<'a>(commands: &'a [Command], fence: &Fence) -> Vec<(&'a Command, String)> {
    let ours: Vec<&Command> = commands.iter().filter(|c| c.is_ours()).collect();
    let shorter: Vec<&String> = fence
        .markers
        .iter()
        .filter_map(|marker| match marker {
            Marker::Run(line) => Some(line),
            _ => None,
        })
        .collect();
    if shorter.is_empty() {
        return ours.into_iter().map(|c| (c, c.line.clone())).collect();
    }
    let place = ours.first().map_or("", |c| &c.place);
    assert_eq!(
        shorter.len(),
        ours.len(),
        "{place}: a fence has a `run:` for each of its commands, or none"
    );
    for (command, short) in ours.iter().zip(&shorter) {
        let lost: Vec<_> = flags(&command.line)
            .difference(&flags(short))
            .copied()
            .collect();
        assert!(
            lost.is_empty(),
            "{}: what is run in its place lacks {lost:?}",
            command.place
        );
    }
    ours.into_iter().zip(shorter.into_iter().cloned()).collect()
}

/// Commands of others: scripts are there, and tests and benchmarks of such names.
fn others_are_there(command: &Command) {
    let words: Vec<&str> = command.line.split_whitespace().collect();
    let there = |paths: &[String]| {
        let found = paths.iter().any(|path| root().join(path).exists());
        assert!(
            found,
            "{}: there is no {}",
            command.place,
            paths.join(" or ")
        );
    };
    for word in &words {
        if let Some(at) = word.find("scripts/") {
            let path = word[at..].trim_matches(|c: char| "\"')".contains(c));
            there(&[path.to_owned()]);
        }
    }
    for pair in words.windows(2).filter(|_| words.contains(&"cargo")) {
        match pair[0] {
            "--bench" => there(&[format!("benches/{}.rs", pair[1])]),
            "--test" => there(&[
                format!("tests/{}.rs", pair[1]),
                format!("tests/{}/main.rs", pair[1]),
            ]),
            _ => {}
        }
    }
}

/// That the lines of `fence` stand in `printed`, in order.
fn is_shown(page: &Page, fence: &Fence, printed: &str) {
    let mut lines = printed.lines().map(str::trim_end);
    for wanted in fence.lines.iter().map(|line| line.trim_end()) {
        if wanted.is_empty() || wanted.trim() == "..." {
            continue;
        }
        assert!(
            lines.any(|line| line == wanted),
            "{}:{}: the command does not print, or not in this order:\n{wanted}\nbut:\n{printed}",
            page.name,
            fence.line
        );
    }
}

fn check(name: &str) {
    let page = Page::read(name);
    let world = World::new();
    let mut printed = String::new();
    for fence in page.fences() {
        if fence.markers.contains(&Marker::Shows) {
            is_shown(&page, &fence, &printed);
        }
        if fence.language != "console" {
            continue;
        }
        let commands = commands(&page, &fence);
        commands
            .iter()
            .filter(|c| !c.is_ours())
            .for_each(others_are_there);
        printed.clear();
        let needs = fence.markers.iter().find_map(|marker| match marker {
            Marker::Needs { what, why } => Some((what, why)),
            _ => None,
        });
        if let Some((what, why)) = needs {
            let place = format!("{name}:{}", fence.line);
            assert!(NEEDS.contains(&&**what), "{place}: needs {what}?");
            assert!(!why.is_empty(), "{place}: say why, as `needs: gpu (why)`");
            continue;
        }
        let expected = fence.markers.iter().find_map(|marker| match marker {
            Marker::Exit(code) => Some(*code),
            _ => None,
        });
        for (command, line) in runs(&commands, &fence) {
            let outcome = world.run(&line);
            assert_eq!(
                outcome.code,
                Some(expected.unwrap_or(0)),
                "{}: {line}\n{}{}",
                command.place,
                outcome.stdout,
                outcome.stderr
            );
            printed += &outcome.stdout;
        }
    }
}

/// A test for each page, so that they run beside each other.
macro_rules! pages {
    ($($test:ident: $page:literal)+) => {
        $(
            #[test]
            fn $test() {
                check($page);
            }
        )+

        #[test]
        fn no_page_is_left_out() {
            let checked = BTreeSet::from([$($page),+]);
            let all = Page::all();
            let names: BTreeSet<&str> = all.iter().map(|page| &*page.name).collect();
            assert_eq!(names, checked);
        }
    };
}

pages! {
    readme_runs: "README.md"
    changelog_runs: "CHANGELOG.md"
    index_runs: "docs/README.md"
    architecture_runs: "docs/architecture.md"
    bench_runs: "docs/bench.md"
    capacity_runs: "docs/capacity.md"
    cli_runs: "docs/cli.md"
    compare_runs: "docs/compare.md"
    contributing_runs: "docs/contributing.md"
    embedding_runs: "docs/embedding.md"
    explain_runs: "docs/explain.md"
    fit_runs: "docs/fit.md"
    gpus_runs: "docs/gpus.md"
    loads_runs: "docs/loads.md"
    method_runs: "docs/method.md"
    metrics_runs: "docs/metrics.md"
    profile_runs: "docs/profile.md"
    profiling_tools_runs: "docs/profiling-tools.md"
    ranks_runs: "docs/ranks.md"
    recommend_runs: "docs/recommend.md"
    report_runs: "docs/report.md"
    sweep_runs: "docs/sweep.md"
}

/// What the checks above rest on.
#[test]
fn commands_are_read_as_a_shell_reads_them() {
    let page = Page {
        name: "x.md".to_owned(),
        text: "text\n<!-- run: candlepower bench --tp 2 --layers 1 -->\n```console\n\
               candlepower bench \\\n    --tp 2   # two ranks\n# a comment\nscripts/test\n```\n"
            .to_owned(),
    };
    let fences = page.fences();
    let found = commands(&page, &fences[0]);
    let lines: Vec<&str> = found.iter().map(|c| &*c.line).collect();
    assert_eq!(lines, ["candlepower bench --tp 2", "scripts/test"]);
    let runs = runs(&found, &fences[0]);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].1, "candlepower bench --tp 2 --layers 1");
}

#[test]
#[should_panic(expected = "lacks [\"--tp\"]")]
fn a_shorter_command_keeps_the_flags() {
    let page = Page {
        name: "x.md".to_owned(),
        text: "<!-- run: candlepower bench -->\n```console\ncandlepower bench --tp 2\n```\n"
            .to_owned(),
    };
    let fences = page.fences();
    runs(&commands(&page, &fences[0]), &fences[0]);
}
