//! Text of others on a terminal: names in files may hold sequences that move the cursor or hide what stands there.

use std::borrow::Cow;

/// Names in a list before the rest is only counted.
pub const MOST_NAMED: usize = 20;

/// The text with every control character but line feeds and tabs spelled out (`\u{1b}`), and with those that turn
/// the direction of text.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal does something on it instead of showing it.
fn acts(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n' && c != '\t')
}

/// The first names of a list, then how many more there are.
pub fn listed<S: AsRef<str>>(names: &[S], separator: &str) -> String {
    let shown = names.iter().take(MOST_NAMED).map(AsRef::as_ref);
    let mut text = shown.collect::<Vec<_>>().join(separator);
    if names.len() > MOST_NAMED {
        text += &format!("{separator}and {} more", names.len() - MOST_NAMED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_spelled_out() {
        assert_eq!(printable("plain é 漢字\n\tline"), "plain é 漢字\n\tline");
        assert_eq!(
            printable("\x1b[2Jx\r\u{9b}1m\x07"),
            "\\u{1b}[2Jx\\u{d}\\u{9b}1m\\u{7}"
        );
        assert_eq!(printable("a\u{202e}b\u{7f}\0"), "a\\u{202e}b\\u{7f}\\u{0}");
    }

    #[test]
    fn lists_end_in_a_count() {
        let names: Vec<String> = (0..23).map(|i| format!("n{i}")).collect();
        assert_eq!(listed(&names[..2], "; "), "n0; n1");
        assert!(listed(&names, "; ").ends_with("n19; and 3 more"));
    }
}
