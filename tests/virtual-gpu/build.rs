//! Every function that cudarc declares must resolve: those that nobody wrote become functions that stop
//! the program and say their name.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Names after `fn ` at the start of a line's code, in the folders that export functions.
fn written(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources can be listed") {
        let path = entry.expect("an entry can be read").path();
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        for line in text.lines() {
            if let Some(rest) = line.trim_start().strip_prefix("fn ")
                && let Some(end) = rest.find(['(', '<'])
            {
                found.insert(rest[..end].to_owned());
            }
        }
    }
}

fn main() {
    println!("cargo:rerun-if-changed=symbols");
    println!("cargo:rerun-if-changed=src/calls");
    println!("cargo:rerun-if-changed=src/libraries");
    let mut have = BTreeSet::new();
    written(Path::new("src/calls"), &mut have);
    written(Path::new("src/libraries"), &mut have);
    let mut text = String::new();
    for entry in std::fs::read_dir("symbols").expect("symbols can be listed") {
        let names = std::fs::read_to_string(entry.expect("an entry can be read").path())
            .expect("names can be read");
        for name in names
            .lines()
            .filter(|n| !n.is_empty() && !have.contains(*n))
        {
            writeln!(
                text,
                "#[unsafe(no_mangle)] pub extern \"C\" fn {name}() {{ missing({name:?}) }}"
            )
            .expect("text grows");
        }
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("missing.rs"), text).expect("OUT_DIR can be written");
}
