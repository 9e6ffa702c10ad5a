//! Files without measure, written piece by piece so that the test stays small.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli_support::{copy_files, fixture};

/// A fixture whose files are in one piece each.
const MODEL: &str = "llama-tied-tiny";

/// A directory for all inputs of a table.
pub struct Inputs {
    dir: tempfile::TempDir,
}

impl Inputs {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    /// A file: `start`, `count` times `piece`, `end`.
    pub fn file(&self, name: &str, start: &str, piece: &str, count: usize, end: &str) -> String {
        let path = self.dir.path().join(name);
        repeated(&path, start, piece, count, end);
        text(&path)
    }

    pub fn model(&self, name: &str) -> Model {
        let path = self.dir.path().join(name);
        fs::create_dir(&path).unwrap();
        copy_files(Path::new(&fixture(MODEL)), &path);
        Model { path }
    }
}

/// A copy of a fixture that is spoiled.
pub struct Model {
    path: PathBuf,
}

impl Model {
    pub fn path(&self) -> String {
        text(&self.path)
    }

    pub fn repeated(self, name: &str, start: &str, piece: &str, count: usize, end: &str) -> String {
        repeated(&self.path.join(name), start, piece, count, end);
        self.path()
    }

    /// A file of so many bytes that takes none on the disk.
    pub fn sparse(self, name: &str, bytes: u64) -> String {
        let file = File::create(self.path.join(name)).unwrap();
        file.set_len(bytes).unwrap();
        self.path()
    }

    pub fn written(self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path.join(name), content).unwrap();
        self.path()
    }

    /// A safetensors file whose header has `length` in front of it.
    pub fn header(
        self,
        length: u64,
        start: &str,
        piece: &dyn Fn(usize) -> String,
        count: usize,
    ) -> String {
        let path = self.path.join("model.safetensors");
        let mut out = BufWriter::new(File::create(path).unwrap());
        out.write_all(&length.to_le_bytes()).unwrap();
        out.write_all(start.as_bytes()).unwrap();
        let mut written = start.len() as u64;
        for index in 0..count {
            let piece = piece(index);
            out.write_all(piece.as_bytes()).unwrap();
            written += piece.len() as u64;
        }
        // Spaces up to the brace that ends it.
        for _ in written + 1..length.min(1 << 26) {
            out.write_all(b" ").unwrap();
        }
        out.write_all(b"}").unwrap();
        out.flush().unwrap();
        self.path()
    }

    pub fn tokenizer(self, part: &str, value: Value) -> String {
        let path = self.path.join("tokenizer.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json[part] = value;
        fs::write(path, json.to_string()).unwrap();
        self.path()
    }

    pub fn config(self, key: &str, value: Value) -> String {
        let path = self.path.join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json[key] = value;
        fs::write(path, json.to_string()).unwrap();
        self.path()
    }
}

/// A normalizer that makes so many letters of each, so often.
pub fn growing(letters: usize, times: usize) -> Value {
    let replace =
        json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(letters)});
    json!({"type": "Sequence", "normalizers": vec![replace; times]})
}

fn repeated(path: &Path, start: &str, piece: &str, count: usize, end: &str) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    out.write_all(start.as_bytes()).unwrap();
    for _ in 0..count {
        out.write_all(piece.as_bytes()).unwrap();
    }
    out.write_all(end.as_bytes()).unwrap();
    out.flush().unwrap();
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
