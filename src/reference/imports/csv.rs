//! Rows of comma-separated values (RFC 4180), bounded by the text that they come from.

/// The cells of each line; of a line without text none. A quoted cell may hold separators and line breaks.
pub fn rows(text: &str, separator: char) -> Vec<Vec<String>> {
    let mut rows = vec![Vec::new()];
    let mut cell = String::new();
    let mut is_quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                cell.push('"');
                characters.next();
            }
            '"' if is_quoted => is_quoted = false,
            '"' if cell.is_empty() => is_quoted = true,
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                end_cell(&mut rows, &mut cell);
                rows.push(Vec::new());
            }
            c if c == separator && !is_quoted => {
                end_cell(&mut rows, &mut cell);
            }
            other => cell.push(other),
        }
    }
    end_cell(&mut rows, &mut cell);
    for row in &mut rows {
        if row.iter().all(String::is_empty) {
            row.clear();
        }
    }
    rows
}

fn end_cell(rows: &mut [Vec<String>], cell: &mut String) {
    if let Some(row) = rows.last_mut() {
        row.push(std::mem::take(cell).trim().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_what_is_quoted() {
        let found = rows("a, b\r\n\"1,\"\"2\",\n\n", ',');
        let expected: [&[&str]; 4] = [&["a", "b"], &["1,\"2", ""], &[], &[]];
        assert_eq!(found, expected);
    }
}
