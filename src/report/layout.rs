//! Text in columns and lines of a given width.

use std::ops::Range;

/// Spaces between columns, and before the later lines of a wrapped one.
pub(super) const GAP: usize = 2;

/// Columns that fit beside each other, `gap` before each, at least one a block.
pub(super) fn blocks(widths: &[usize], gap: usize, room: usize) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (column, width) in widths.iter().enumerate() {
        if column > start && used + gap + width > room {
            blocks.push(start..column);
            (start, used) = (column, 0);
        }
        used += gap + width;
    }
    blocks.push(start..widths.len());
    blocks
}

pub(super) fn push_right(text: &mut String, cell: &str, width: usize) {
    let pad = GAP + width.saturating_sub(chars(cell));
    text.extend(std::iter::repeat_n(' ', pad));
    text.push_str(cell);
}

/// Every character used here is one column wide.
pub fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Breaks `text` at spaces into lines of at most `width`, the first `indent` in, the others `hanging`; it keeps its
/// own spaces, but where a line breaks.
pub fn wrapped(text: &str, indent: usize, hanging: usize, width: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    for word in text.split_inclusive(' ') {
        if chars(&line) + chars(word.trim_end()) > width && !line.trim().is_empty() {
            lines += line.trim_end();
            lines.push('\n');
            line = " ".repeat(hanging);
        }
        line += word;
    }
    lines + line.trim_end() + "\n"
}

/// Breaks at spaces; later lines are indented.
pub fn wrap(out: &mut String, text: &str, width: usize) {
    let mut used = 0;
    for word in text.split(' ') {
        if used > 0 && used + 1 + chars(word) > width {
            out.push_str("\n  ");
            used = GAP;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += chars(word);
    }
    out.push('\n');
}
