//! A file against what it should hold, word by word: numbers that were read and written again may differ in their last
//! digit. Neither is ever in memory as a whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

/// Part by which two numbers may differ that are the same one; of a number below 1, part of 1: the deviation of equal
/// times is nothing but their last digits.
const SAME: f64 = 1e-9;
/// Characters of a word that a sentence shows.
const SHOWN: usize = 40;
/// Bytes of a word: a longer one is none of a result.
const LONGEST: usize = 1 << 20;

/// Where the file differs from what `expected` writes, in a sentence; `None`: nowhere.
///
/// # Errors
/// The file cannot be read.
pub fn difference(
    path: &Path,
    expected: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Option<String>> {
    let mut against = Against {
        file: BufReader::new(File::open(path)?),
        word: Vec::new(),
        line: 1,
        found: None,
    };
    match expected(&mut against) {
        Err(_) if against.found.is_some() => Ok(against.found),
        Err(error) => Err(error),
        Ok(()) => {
            let (rest, end) = against.next()?;
            let is_over = rest == against.word && end.is_none();
            Ok((!is_over).then(|| format!("it goes on in line {}", against.line)))
        }
    }
}

/// Takes the bytes that should be in the file.
struct Against {
    file: BufReader<File>,
    /// What came of the present word.
    word: Vec<u8>,
    line: usize,
    found: Option<String>,
}

/// Between words of JSON, CSV and Markdown.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b'|')
        || byte.is_ascii_whitespace()
}

impl Against {
    /// The file's next word, and what ends it; `None` at the end of the file.
    fn next(&mut self) -> io::Result<(Vec<u8>, Option<u8>)> {
        let mut word = Vec::new();
        loop {
            let bytes = self.file.fill_buf()?;
            let Some(&byte) = bytes.first() else {
                return Ok((word, None));
            };
            self.file.consume(1);
            if ends_word(byte) {
                self.line += usize::from(byte == b'\n');
                return Ok((word, Some(byte)));
            }
            if word.len() < LONGEST {
                word.push(byte);
            }
        }
    }
}

impl Write for Against {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if !ends_word(byte) {
                self.word.push(byte);
                continue;
            }
            let line = self.line;
            let (theirs, end) = self.next()?;
            let ours = std::mem::take(&mut self.word);
            if end != Some(byte) || !is_same(&theirs, &ours) {
                let shown = |word: &[u8]| {
                    let text = String::from_utf8_lossy(word);
                    text.chars().take(SHOWN).collect::<String>()
                };
                let (mut theirs, mut ours) = (shown(&theirs), shown(&ours));
                if theirs == ours {
                    // What comes behind it is what differs.
                    theirs.extend(end.map(char::from));
                    ours.push(char::from(byte));
                }
                self.found = Some(format!("line {line} has `{theirs}` where `{ours}` follows"));
                return Err(io::Error::other("it differs"));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_same(a: &[u8], b: &[u8]) -> bool {
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<f64>().ok();
    let numbers = || number(a).zip(number(b));
    a == b || numbers().is_some_and(|(a, b)| is_near(a, b))
}

/// But for their last digits they are one number.
pub fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= SAME * a.abs().max(b.abs()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let said = |found: &str, expected: &str| {
            std::fs::write(&path, found).unwrap();
            difference(&path, |out| out.write_all(expected.as_bytes())).unwrap()
        };
        assert_eq!(
            said("{\"a\": 1.0}\n", "{\"a\": 1.0000000000000002}\n"),
            None
        );
        assert_eq!(said("1.8235e-13\n", "1.8945e-13\n"), None);
        assert_eq!(said("a,b", "a,b"), None);
        let line = said("a\nb,2\n", "a\nb,3\n").unwrap();
        assert!(line.starts_with("line 2 has `2` where `3`"), "{line}");
        assert!(said("a\nb\n", "a\n").is_some());
        assert!(said("a\n", "a\nb\n").is_some());
        assert!(said("a", "a,b").is_some());
        let behind = said("[1,2]", "[1]").unwrap();
        assert!(behind.ends_with("has `1,` where `1]` follows"), "{behind}");
        assert!(said("1 2", "1,2").is_some());
    }
}
