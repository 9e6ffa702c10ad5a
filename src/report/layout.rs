//! Text in columns and lines of a given width.

use std::ops::Range;

/// Spaces between columns, and before the later lines of a wrapped one.
pub(super) const GAP: usize = 2;

/// Columns that fit beside each other, at least one a block.
pub(super) fn blocks(widths: &[usize], room: usize) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (column, width) in widths.iter().enumerate() {
        if column > start && used + GAP + width > room {
            blocks.push(start..column);
            (start, used) = (column, 0);
        }
        used += GAP + width;
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
pub(super) fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Breaks at spaces; later lines are indented.
pub(super) fn wrap(out: &mut String, text: &str, width: usize) {
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
