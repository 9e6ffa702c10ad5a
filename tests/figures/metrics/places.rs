//! Where the files of a result go: whole or not at all, and never beside those of another.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use candlepower::report::{Manifest, Page, prepare, write_all};
use sha2::{Digest, Sha256};

use super::fixture::{raw, results};

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn write(dir: &Path, overwrite: bool, pages: &[Page]) -> Result<(), String> {
    let logs = [raw().logs()];
    let written = write_all(dir, overwrite, &results(), &logs, pages);
    written.map_err(|error| error.to_string())
}

fn manifest(dir: &Path) -> Manifest {
    serde_json::from_str(&fs::read_to_string(dir.join("manifest.json")).unwrap()).unwrap()
}

/// Every byte of what lies under `dir`.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = names(dir).into_iter().map(|name| dir.join(name));
    paths
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// A fault in the middle: no file can have this name.
const NOWHERE: Page = Page {
    name: "no-such-folder/page.md",
    text: "",
};

#[test]
fn a_result_comes_whole_and_its_manifest_names_every_byte() {
    let above = tempfile::tempdir().unwrap();
    let out = above.path().join("out");
    prepare(&out, false).unwrap();
    assert!(names(&out).is_empty(), "a place that is ready is empty");
    let page = |name| Page {
        name,
        text: "words",
    };
    write(&out, false, &[page("server.md")]).unwrap();
    assert_eq!(names(above.path()).len(), 1, "nothing is left aside");

    let listed = manifest(&out).files;
    let mut expected = names(&out);
    for own in ["manifest.json", "report.html"] {
        assert!(expected.remove(own));
    }
    assert_eq!(listed.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (name, file) in listed {
        let bytes = fs::read(out.join(&name)).unwrap();
        assert_eq!(file.bytes, bytes.len() as u64, "{name}");
        assert_eq!(
            file.sha256,
            format!("{:x}", Sha256::digest(&bytes)),
            "{name}"
        );
    }
}

#[test]
fn a_result_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    write(&out, false, &[]).unwrap();
    let before = content(&out);
    for sign in [
        "results.json",
        "manifest.json",
        "requests.jsonl",
        "steps.jsonl",
    ] {
        // Any part of one is a result.
        let other = dir.path().join(sign);
        fs::create_dir(&other).unwrap();
        fs::copy(out.join(sign), other.join(sign)).unwrap();
        for dir in [&out, &other] {
            for refused in [
                prepare(dir, false).unwrap_err().to_string(),
                write(dir, false, &[]).unwrap_err(),
            ] {
                let named = dir.display().to_string();
                assert!(
                    refused.contains(&named) && refused.contains("--overwrite"),
                    "{refused}"
                );
            }
        }
    }
    assert_eq!(content(&out), before);
}

/// Two runs were told the same place while it was empty: the later one is not lost.
#[test]
fn a_result_that_comes_second_stays_aside_whole() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    prepare(&out, false).unwrap();
    prepare(&out, false).unwrap();
    write(&out, false, &[]).unwrap();
    let before = content(&out);
    let refused = write(&out, false, &[]).unwrap_err();
    assert!(refused.contains("meanwhile"), "{refused}");
    assert_eq!(content(&out), before);
    let aside = names(&out)
        .into_iter()
        .find(|name| name.contains("partial"));
    let aside = out.join(aside.unwrap());
    assert!(refused.contains(aside.to_str().unwrap()), "{refused}");
    assert_eq!(manifest(&aside).files.len(), manifest(&out).files.len());
}

#[test]
fn an_old_result_gives_way_whole_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    write(
        out,
        false,
        &[Page {
            name: "extra.txt",
            text: "of the old run",
        }],
    )
    .unwrap();
    // Of several runs, of experts, a page that was made later, and what is none of ours.
    for (name, text) in [
        ("vllm-1.json", "{}"),
        ("vllm-2.json", "{}"),
        ("report.html", "<p>"),
        ("notes.txt", "mine"),
        ("weights-1.json", "mine"),
    ] {
        fs::write(out.join(name), text).unwrap();
    }
    fs::create_dir(out.join("plots")).unwrap();
    prepare(out, true).unwrap();
    write(out, true, &[]).unwrap();
    let found = names(out);
    for gone in ["extra.txt", "vllm-1.json", "vllm-2.json"] {
        assert!(!found.contains(gone), "{gone} is of the old run");
    }
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        page.contains("<!doctype html>"),
        "the page is of the new run"
    );
    for kept in [
        "notes.txt",
        "weights-1.json",
        "plots",
        "results.json",
        "manifest.json",
    ] {
        assert!(found.contains(kept), "{kept} is missing");
    }
    assert!(
        found.iter().all(|name| !name.contains("partial")),
        "{found:?}"
    );
    let listed = manifest(out).files.into_keys().collect::<BTreeSet<_>>();
    // The page is made from the files that are listed.
    let others = [
        "notes.txt",
        "weights-1.json",
        "plots",
        "report.html",
        "manifest.json",
    ];
    assert!(
        found
            .iter()
            .all(|name| listed.contains(name) || others.contains(&&**name))
    );
}

#[test]
fn a_folder_with_other_files_is_no_result() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    prepare(dir.path(), false).unwrap();
    write(dir.path(), false, &[]).unwrap();
    assert_eq!(
        fs::read_to_string(dir.path().join("notes.txt")).unwrap(),
        "mine"
    );
    assert!(dir.path().join("manifest.json").exists());
    assert!(
        names(dir.path())
            .iter()
            .all(|name| !name.contains("partial"))
    );
}

#[test]
fn a_file_that_fails_leaves_the_others_aside_and_the_old_result_alone() {
    for holds_one in [false, true] {
        let above = tempfile::tempdir().unwrap();
        let out = above.path().join("out");
        if holds_one {
            write(&out, false, &[]).unwrap();
        }
        let before = if holds_one { content(&out) } else { Vec::new() };
        let error = write(&out, holds_one, &[NOWHERE]).unwrap_err();
        assert!(error.contains("no-such-folder/page.md"), "{error}");
        assert_eq!(content(&out), before);
        // Where the error says: every other file, whole.
        let aside = error.rsplit(" is in ").next().unwrap();
        let found = names(Path::new(aside));
        for name in [
            "results.json",
            "summary.csv",
            "requests.jsonl",
            "vllm.json",
            "manifest.json",
        ] {
            assert!(found.contains(name), "{name} is not in {found:?}");
        }
        assert!(manifest(Path::new(aside)).files.contains_key("steps.jsonl"));
    }
}

#[test]
fn places_that_cannot_be_are_named_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("taken");
    fs::write(&file, "kept").unwrap();
    let long = dir.path().join("n".repeat(300));
    for path in [
        file.clone(),
        file.join("below"),
        long,
        PathBuf::from("/dev/full"),
        PathBuf::from("/dev/full/below"),
        PathBuf::from("/proc/candlepower"),
        PathBuf::from(""),
    ] {
        for overwrite in [false, true] {
            let error = prepare(&path, overwrite).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("--out {}", path.display())),
                "{error}"
            );
            assert!(write(&path, overwrite, &[]).is_err());
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

/// What an earlier process of the same number left is neither used nor lost.
#[test]
fn leftovers_of_a_killed_run_stay() {
    let above = tempfile::tempdir().unwrap();
    let out = above.path().join("out");
    let left = above
        .path()
        .join(format!("out.partial-{}", std::process::id()));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("results.json"), "of another").unwrap();
    prepare(&out, false).unwrap();
    write(&out, false, &[]).unwrap();
    assert_eq!(
        fs::read_to_string(left.join("results.json")).unwrap(),
        "of another"
    );
    assert!(out.join("manifest.json").exists());
}
