//! What Python's `json` module reads and JSON does not have, in terms of JSON.

use std::borrow::Cow;

const NAN: &str = "NaN";
const INFINITY: &str = "Infinity";
const MINUS_INFINITY: &str = "-Infinity";
/// `\uXXXX`.
const ESCAPE: usize = 6;
/// U+FFFD, the mark of a character that is none.
const REPLACEMENT: &str = "\\ufffd";

/// `NaN`, `Infinity`, `-Infinity` and numbers beyond a double's range as the strings of those names, and halves of
/// surrogate pairs as U+FFFD. All else is left as it is, faults included.
pub(super) fn to_json(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    // Up to where `out` holds the text.
    let mut done = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &text[at..];
        let (length, replacement) = match byte {
            b'"' => {
                at += 1;
                while let Some((offset, length)) = lone_surrogate(&bytes[at..]) {
                    out += &text[done..at + offset];
                    out += REPLACEMENT;
                    at += offset + length;
                    done = at;
                }
                at += string_length(&bytes[at..]);
                continue;
            }
            b'N' if rest.starts_with(NAN) => (NAN.len(), Some(NAN)),
            b'I' if rest.starts_with(INFINITY) => (INFINITY.len(), Some(INFINITY)),
            b'-' if rest.starts_with(MINUS_INFINITY) => {
                (MINUS_INFINITY.len(), Some(MINUS_INFINITY))
            }
            b'-' | b'0'..=b'9' => number(rest),
            // A character is never cut: what is neither quote nor number is passed over whole.
            _ => (rest.chars().next().map_or(1, char::len_utf8), None),
        };
        if let Some(name) = replacement {
            out += &text[done..at];
            out.extend(["\"", name, "\""]);
            done = at + length;
        }
        at += length;
    }
    match done {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(out + &text[done..]),
    }
}

/// Length of a number, and its name where a double cannot hold it.
fn number(text: &str) -> (usize, Option<&'static str>) {
    let inside = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let length = text.find(|c| !inside(c)).unwrap_or(text.len());
    let value: f64 = text[..length].parse().unwrap_or_default();
    let name = match value {
        f64::INFINITY => Some(INFINITY),
        f64::NEG_INFINITY => Some(MINUS_INFINITY),
        _ => None,
    };
    (length, name)
}

/// Bytes up to and with the quote that ends a string.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where in the string that `bytes` begin with half of a surrogate pair is escaped, and the length of that.
fn lone_surrogate(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return None,
            b'\\' => match (
                unit(&bytes[at..]),
                unit(bytes.get(at + ESCAPE..).unwrap_or_default()),
            ) {
                (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => at += 2 * ESCAPE,
                (Some(0xd800..0xe000), _) => return Some((at, ESCAPE)),
                _ => at += 2,
            },
            _ => at += 1,
        }
    }
}

/// The UTF-16 unit that `bytes` begin with, escaped.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u16::from_str_radix(digits, 16).ok())?
}
