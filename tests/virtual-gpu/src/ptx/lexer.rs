//! PTX text to tokens, each with its line.

use super::PtxError;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// Opcodes with their modifiers, directives, registers, labels and symbols.
    Word(&'a str),
    Integer(u64),
    /// `0f...`: the bits of an f32.
    Single(u32),
    /// `0d...`: the bits of an f64, and decimal reals.
    Double(u64),
    Text(&'a str),
    Mark(u8),
}

#[derive(Clone, Copy, Debug)]
pub struct Lexed<'a> {
    pub token: Token<'a>,
    pub line: u32,
}

const HEXADECIMAL: u32 = 16;
const OCTAL: u32 = 8;
const DECIMAL: u32 = 10;

fn word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.' | b'%')
}

/// The first byte at or after `at` that is neither space nor comment; counts lines.
pub fn skip_blank(text: &[u8], mut at: usize, line: &mut u32) -> usize {
    while at < text.len() {
        match text[at] {
            b'\n' => *line += 1,
            b if b.is_ascii_whitespace() => {}
            b'/' if text.get(at + 1) == Some(&b'/') => {
                while at < text.len() && text[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'/' if text.get(at + 1) == Some(&b'*') => {
                while at < text.len() && !text[at..].starts_with(b"*/") {
                    *line += u32::from(text[at] == b'\n');
                    at += 1;
                }
                at += 1;
            }
            _ => break,
        }
        at += 1;
    }
    at
}

pub fn tokens(text: &str, first_line: u32) -> Result<Vec<Lexed<'_>>, PtxError> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut line = first_line;
    let mut at = 0;
    loop {
        at = skip_blank(bytes, at, &mut line);
        let Some(&b) = bytes.get(at) else { break };
        let start = at;
        let token = if b.is_ascii_digit() {
            while bytes.get(at).is_some_and(|&b| word_byte(b)) {
                at += 1;
            }
            // A decimal real may carry a signed exponent.
            let exponent =
                bytes[at - 1].eq_ignore_ascii_case(&b'e') && text[start..at].contains('.');
            if exponent && matches!(bytes.get(at), Some(b'+' | b'-')) {
                at += 1;
                while bytes.get(at).is_some_and(|b| b.is_ascii_digit()) {
                    at += 1;
                }
            }
            number(&text[start..at], line)?
        } else if word_byte(b) {
            while at < bytes.len() {
                if word_byte(bytes[at]) {
                    at += 1;
                } else if bytes[at..].starts_with(b"::") {
                    at += "::".len();
                } else {
                    break;
                }
            }
            Token::Word(&text[start..at])
        } else if b == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += 1;
            }
            at += 1;
            Token::Text(text.get(start + 1..at - 1).unwrap_or_default())
        } else {
            at += 1;
            Token::Mark(b)
        };
        found.push(Lexed { token, line });
    }
    Ok(found)
}

fn number(text: &str, line: u32) -> Result<Token<'_>, PtxError> {
    let refuse = || PtxError::new(line, format!("`{text}` is not a number that PTX knows"));
    let parse = |digits: &str, radix| {
        u64::from_str_radix(digits.trim_end_matches('U'), radix).map_err(|_| refuse())
    };
    let lower = text.get(..2).unwrap_or_default().to_ascii_lowercase();
    match lower.as_str() {
        "0x" => Ok(Token::Integer(parse(&text[2..], HEXADECIMAL)?)),
        "0f" => u32::from_str_radix(&text[2..], HEXADECIMAL)
            .map(Token::Single)
            .map_err(|_| refuse()),
        "0d" => Ok(Token::Double(parse(&text[2..], HEXADECIMAL)?)),
        "0b" => Ok(Token::Integer(parse(&text[2..], 2)?)),
        _ if text.contains('.') => {
            let value: f64 = text.parse().map_err(|_| refuse())?;
            Ok(Token::Double(value.to_bits()))
        }
        _ if text.len() > 1 && text.starts_with('0') => {
            Ok(Token::Integer(parse(&text[1..], OCTAL)?))
        }
        _ => Ok(Token::Integer(parse(text, DECIMAL)?)),
    }
}
