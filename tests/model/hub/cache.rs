//! Caches that others left: references with a newline, without one, to nothing.

use candlepower::hub::{HubError, WeightFiles};

use super::home::{Home, MODEL};
use super::server::COMMIT;

const FOLDER: &str = "models--org--some-model";

fn offline() -> Home {
    let mut home = Home::unconnected();
    home.options.settings.offline = true;
    home.fill_cache(FOLDER, &["config.json", "model.safetensors"]);
    home
}

fn with_reference(text: &str) -> Home {
    let home = offline();
    std::fs::write(home.repo_dir().join("refs/main"), text).unwrap();
    home
}

#[test]
fn a_reference_may_end_in_white_space() {
    for end in ["\n", "\r\n", " \n\n"] {
        let home = with_reference(&format!("{COMMIT}{end}"));
        let source = home.resolve(MODEL).unwrap();
        assert!(matches!(source.weights, WeightFiles::Single(_)));
    }
}

#[test]
fn a_missing_reference_is_named_with_the_snapshots() {
    let home = offline();
    std::fs::remove_file(home.repo_dir().join("refs/main")).unwrap();
    let message = home.message(MODEL);
    assert!(message.contains("refs/main is missing"), "{message}");
    assert!(
        message.contains(&format!("{MODEL}@{COMMIT} names one")),
        "{message}"
    );
    assert!(home.resolve(&format!("{MODEL}@{COMMIT}")).is_ok());
    let message = home.message(&format!("{MODEL}@refs/pr/1"));
    assert!(message.contains("refs/refs/pr/1 is missing"), "{message}");
}

#[test]
fn a_reference_to_nothing_is_told() {
    for (text, part) in [
        ("", "refs/main names no commit"),
        ("../../elsewhere", "refs/main names no commit"),
        ("deadbeef", "snapshots/deadbeef is missing"),
        ("\u{1b}[2J", "refs/main names no commit"),
        (&"c".repeat(10_000), "refs/main names no commit"),
    ] {
        let message = with_reference(text).message(MODEL);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
#[cfg(unix)]
fn a_reference_without_end_is_not_read() {
    let home = offline();
    let reference = home.repo_dir().join("refs/main");
    std::fs::remove_file(&reference).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &reference).unwrap();
    let message = home.message(MODEL);
    assert!(message.contains("refs/main is missing"), "{message}");
}

#[test]
#[cfg(unix)]
fn a_link_whose_blob_is_gone_is_a_missing_file() {
    let home = offline();
    let weights = home
        .repo_dir()
        .join("snapshots")
        .join(COMMIT)
        .join("model.safetensors");
    std::fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink("../../blobs/gone", &weights).unwrap();
    let message = home.message(MODEL);
    assert!(
        message.contains("(model.safetensors is missing)"),
        "{message}"
    );
    // The same directory, given as one.
    let dir = weights.parent().unwrap().to_str().unwrap();
    let error = home.resolve(dir).unwrap_err();
    assert!(matches!(error, HubError::DeadLink { .. }), "{error}");
    assert!(error.to_string().contains("../../blobs/gone"), "{error}");
}
