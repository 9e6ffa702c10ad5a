//! Python's strings, over Rust's.

use minijinja::value::Tuple;
use minijinja::{Error, State, Value};

use super::values::{pay, refused};

/// What a piece of a text takes as a value.
const PIECE_BYTES: usize = 64;

/// `text` filled up to `width` characters: `ljust` and `rjust`, or in the middle as Python rounds it.
pub fn pad(state: &State, text: &str, width: i64, fill: &str, how: &str) -> Result<Value, Error> {
    let mut fills = fill.chars();
    let (Some(fill), None) = (fills.next(), fills.next()) else {
        return Err(refused(format!("{how}: the fill character is {fill:?}")));
    };
    let length = text.chars().count();
    let room = usize::try_from(width).unwrap_or(0).saturating_sub(length);
    pay(state, room.saturating_mul(fill.len_utf8()))?;
    let left = match how {
        "ljust" => 0,
        "rjust" => room,
        _ => room / 2 + (room & (length + room) & 1),
    };
    let fills = |count: usize| std::iter::repeat_n(fill, count);
    let padded = fills(left).chain(text.chars()).chain(fills(room - left));
    Ok(Value::from(padded.collect::<String>()))
}

/// The part before, the separator, and the part behind.
pub fn partition(text: &str, separator: &str, last: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(refused("partition: the separator is empty".to_owned()));
    }
    let found = match last {
        true => text.rsplit_once(separator),
        false => text.split_once(separator),
    };
    let parts = match (found, last) {
        (Some((before, behind)), _) => [before, separator, behind],
        (None, true) => ["", "", text],
        (None, false) => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// Pieces between `separator`, or between white space; at most `most` cuts, from the end if `right`.
pub fn split(
    state: &State,
    text: &str,
    separator: Option<&str>,
    most: Option<usize>,
    right: bool,
) -> Result<Value, Error> {
    let most = most.unwrap_or(usize::MAX);
    let cuts = match separator {
        Some("") => return Err(refused("split: the separator is empty".to_owned())),
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count(),
    };
    pay(
        state,
        cuts.min(most).saturating_add(1).saturating_mul(PIECE_BYTES),
    )?;
    let pieces: Vec<&str> = match (separator, right) {
        (Some(separator), false) => text.splitn(most.saturating_add(1), separator).collect(),
        (Some(separator), true) => {
            let mut pieces: Vec<_> = text.rsplitn(most.saturating_add(1), separator).collect();
            pieces.reverse();
            pieces
        }
        (None, _) => words(text, most, right),
    };
    Ok(Value::from_iter(pieces.into_iter().map(Value::from)))
}

/// Words; what is left behind the last cut keeps the white space of its far end.
fn words(text: &str, most: usize, right: bool) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        rest = if right {
            rest.trim_end()
        } else {
            rest.trim_start()
        };
        if rest.is_empty() {
            break;
        }
        let found = match (pieces.len() < most, right) {
            (false, _) => None,
            (true, false) => rest.split_once(char::is_whitespace),
            (true, true) => rest
                .rsplit_once(char::is_whitespace)
                .map(|(rest, word)| (word, rest)),
        };
        let (piece, left) = found.unwrap_or((rest, ""));
        pieces.push(piece);
        rest = left;
    }
    if right {
        pieces.reverse();
    }
    pieces
}

/// What ends a line in Python; `\r\n` is one end.
fn ends_line(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Where the first line ends, without and with what ends it.
fn line_end(text: &str) -> Option<(usize, usize)> {
    let at = text.find(ends_line)?;
    let length = match text[at..].starts_with("\r\n") {
        true => 2,
        false => text[at..].chars().next().map_or(0, char::len_utf8),
    };
    Some((at, at + length))
}

pub fn lines(state: &State, text: &str, keep: bool) -> Result<Value, Error> {
    let count = text.matches(ends_line).count() + 1;
    pay(state, count.saturating_mul(PIECE_BYTES))?;
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, end) = line_end(rest).unwrap_or((rest.len(), rest.len()));
        lines.push(Value::from(&rest[..if keep { end } else { line }]));
        rest = &rest[end..];
    }
    Ok(Value::from(lines))
}

/// `text[start:end]` and the characters before it; nothing where the start is behind the text.
pub fn window(text: &str, start: Option<i64>, end: Option<i64>) -> (Option<&str>, usize) {
    if start.is_none() && end.is_none() {
        return (Some(text), 0);
    }
    let length = text.chars().count() as i64;
    let place = |at: i64| if at < 0 { (at + length).max(0) } else { at };
    let start = place(start.unwrap_or(0));
    let end = place(end.unwrap_or(length)).min(length);
    if start > end {
        return (None, 0);
    }
    let byte = |at: i64| {
        let mut bytes = text.char_indices().map(|(byte, _)| byte);
        bytes.nth(at as usize).unwrap_or(text.len())
    };
    (Some(&text[byte(start)..byte(end)]), start as usize)
}

pub fn find(
    text: &str,
    part: &str,
    start: Option<i64>,
    end: Option<i64>,
    how: &str,
) -> Result<Value, Error> {
    let (inner, before) = window(text, start, end);
    if how == "count" {
        return Ok(Value::from(
            inner.map_or(0, |inner| inner.matches(part).count()),
        ));
    }
    let found = inner.and_then(|inner| {
        let byte = match how.starts_with('r') {
            true => inner.rfind(part),
            false => inner.find(part),
        };
        byte.map(|byte| before + inner[..byte].chars().count())
    });
    match found {
        Some(at) => Ok(Value::from(at)),
        None if how.ends_with("find") => Ok(Value::from(-1)),
        None => Err(refused(format!("{how}: {part:?} is not in the text"))),
    }
}

/// `text` with `indent` in front of its lines: of the first one too if `first`, of empty ones if `blank`.
pub fn indent(
    state: &State,
    text: &str,
    indent: &str,
    first: bool,
    blank: bool,
) -> Result<Value, Error> {
    let count = text.matches(ends_line).count() + 1;
    pay(
        state,
        count
            .saturating_mul(indent.len() + 1)
            .saturating_add(text.len()),
    )?;
    let mut indented = String::from(if first { indent } else { "" });
    let mut rest = text;
    while let Some((line, end)) = line_end(rest) {
        indented.push_str(&rest[..line]);
        indented.push('\n');
        rest = &rest[end..];
        let next = line_end(rest).map_or(rest.len(), |(line, _)| line);
        if blank || next > 0 {
            indented.push_str(indent);
        }
    }
    indented.push_str(rest);
    Ok(Value::from(indented))
}

/// Python joins texts only.
pub fn join(state: &State, separator: &str, items: &Value) -> Result<Value, Error> {
    let mut joined = String::new();
    for (at, item) in items.try_iter()?.checked().enumerate() {
        let item = item?;
        let Some(text) = item.as_str() else {
            return Err(refused(format!(
                "join: item {at} is a {}, not a text",
                item.kind()
            )));
        };
        pay(state, separator.len() + text.len() + PIECE_BYTES)?;
        if at > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
    }
    Ok(Value::from(joined))
}

pub fn replace(
    state: &State,
    text: &str,
    old: &str,
    new: &str,
    count: i64,
) -> Result<Value, Error> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let matches = text.matches(old).count().min(count);
    pay(state, matches.saturating_mul(new.len()))?;
    Ok(Value::from(text.replacen(old, new, count)))
}

pub fn expand_tabs(state: &State, text: &str, width: i64) -> Result<Value, Error> {
    let width = usize::try_from(width).unwrap_or(0);
    let tabs = text.matches('\t').count();
    pay(state, tabs.saturating_mul(width))?;
    let mut expanded = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if width == 0 => {}
            '\t' => {
                let fill = width - column % width;
                expanded.extend(std::iter::repeat_n(' ', fill));
                column += fill;
            }
            '\n' | '\r' => {
                expanded.push(c);
                column = 0;
            }
            _ => {
                expanded.push(c);
                column += 1;
            }
        }
    }
    Ok(Value::from(expanded))
}

/// Pays for the most that `str.format` can write: its widths, and each field with the longest argument.
pub fn pay_for_format(state: &State, text: &str, args: &[Value]) -> Result<(), Error> {
    let digits = text.split(|c: char| !c.is_ascii_digit());
    let widths = digits.map(|run| {
        run.parse::<usize>()
            .unwrap_or(if run.is_empty() { 0 } else { usize::MAX })
    });
    let widths = widths.fold(0usize, usize::saturating_add);
    let fields = text.matches('{').count();
    let longest = args
        .iter()
        .map(|value| value.to_string().len())
        .max()
        .unwrap_or(0);
    pay(state, widths.saturating_add(fields.saturating_mul(longest)))
}

/// Each letter behind what is no letter.
pub fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => titled.extend(c.to_lowercase()),
            false => titled.extend(c.to_uppercase()),
        }
        inside = c.is_alphabetic();
    }
    titled
}

pub fn swap_case(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_uppercase() {
            true => swapped.extend(c.to_lowercase()),
            false => swapped.extend(c.to_uppercase()),
        }
    }
    swapped
}

pub fn is_title(text: &str) -> bool {
    text.chars().any(char::is_alphabetic) && title(text) == text
}

pub fn is_identifier(text: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    text.starts_with(|c: char| inner(c) && !c.is_numeric()) && text.chars().all(inner)
}
