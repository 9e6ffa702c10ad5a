//! The outer level of a PTX file: variables and functions. Bodies are kept as text until one is wanted.

use std::collections::HashMap;
use std::sync::Arc;

use super::lexer::{Token, skip_blank, tokens};
use super::reader::Reader;
use super::{PtxError, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

impl Space {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "global" => Self::Global,
            "const" => Self::Const,
            "shared" | "shared::cta" => Self::Shared,
            "local" => Self::Local,
            "param" | "param::entry" | "param::func" => Self::Param,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    pub space: Space,
    pub ty: Type,
    pub align: usize,
    pub bytes: usize,
    /// Declared in a `.extern`: its size comes with the launch.
    pub outside: bool,
    /// Initial bytes, shorter than `bytes` where the rest is zero.
    pub initial: Vec<u8>,
    /// (offset, symbol): places that hold the address of another variable.
    pub addresses: Vec<(usize, String)>,
}

/// The text between a function's braces.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    pub start: usize,
    pub end: usize,
    pub line: u32,
}

#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub entry: bool,
    pub returns: Vec<Variable>,
    pub params: Vec<Variable>,
    pub body: Option<Body>,
    /// From `.maxntid`/`.reqntid`: the most threads of a block.
    pub max_threads: Option<u32>,
}

#[derive(Debug)]
pub struct Module {
    pub text: Arc<str>,
    pub target: String,
    pub variables: Vec<Variable>,
    pub functions: HashMap<String, Function>,
}

impl Module {
    pub fn parse(text: &str) -> Result<Self, PtxError> {
        let mut module = Self {
            text: text.into(),
            target: String::new(),
            variables: Vec::new(),
            functions: HashMap::new(),
        };
        let bytes = text.as_bytes();
        let mut line = 1;
        let mut at = 0;
        loop {
            at = skip_blank(bytes, at, &mut line);
            if at >= bytes.len() {
                return Ok(module);
            }
            let first_line = line;
            let (head_end, body_start) = item_end(bytes, at, &mut line);
            let head = tokens(&text[at..head_end], first_line)?;
            let mut reader = Reader::new(&head, first_line);
            at = head_end;
            let body = match body_start {
                Some(start) => {
                    let body_line = line;
                    let end = closing_brace(bytes, start, &mut line)
                        .ok_or_else(|| PtxError::new(first_line, "a function's body has no end"))?;
                    at = end + 1;
                    Some(Body {
                        start,
                        end,
                        line: body_line,
                    })
                }
                None => {
                    at += usize::from(bytes.get(at) == Some(&b';'));
                    None
                }
            };
            module.item(&mut reader, body)?;
        }
    }

    fn item(&mut self, reader: &mut Reader, body: Option<Body>) -> Result<(), PtxError> {
        let mut outside = false;
        while let Some(word) = reader.word() {
            match word {
                ".version" | ".address_size" | ".loc" | ".file" => {
                    while matches!(
                        reader.peek(),
                        Some(
                            Token::Integer(_)
                                | Token::Double(_)
                                | Token::Mark(b',')
                                | Token::Text(_)
                        )
                    ) {
                        reader.next();
                    }
                }
                ".target" => {
                    self.target = reader.word().unwrap_or_default().to_owned();
                    while reader.take(b',') {
                        reader.word();
                    }
                }
                ".visible" | ".weak" | ".common" => {}
                ".extern" => outside = true,
                ".entry" | ".func" => {
                    let function = reader.function(word == ".entry", body)?;
                    // A declaration must not hide a definition.
                    if function.body.is_some() || !self.functions.contains_key(&function.name) {
                        self.functions.insert(function.name.clone(), function);
                    }
                    return Ok(());
                }
                ".global" | ".const" | ".shared" => {
                    let variables = reader.variables(word, outside)?;
                    self.variables.extend(variables);
                    return Ok(());
                }
                ".pragma" => return Ok(()),
                ".section" => return Ok(()), // debugging information
                _ => {
                    return Err(reader.error(format!(
                        "`{word}` is not a module-level directive that this reader knows"
                    )));
                }
            }
        }
        match reader.peek() {
            None => Ok(()),
            Some(token) => Err(reader.error(format!("{token:?} is out of place"))),
        }
    }
}

/// Where an item's head ends: at `;`, at the brace of a body, or (a bare directive) at the end of its line.
fn item_end(bytes: &[u8], start: usize, line: &mut u32) -> (usize, Option<usize>) {
    let word_end = bytes[start..]
        .iter()
        .position(|b| b.is_ascii_whitespace())
        .map_or(bytes.len(), |n| start + n);
    let bare = [
        &b".version"[..],
        b".target",
        b".address_size",
        b".file",
        b".loc",
    ]
    .contains(&&bytes[start..word_end]);
    let mut at = start;
    let mut initial = false;
    while at < bytes.len() {
        match bytes[at] {
            b'\n' if bare => return (at, None),
            b'\n' => *line += 1,
            b'/' if bytes[at..].starts_with(b"//") => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'=' => initial = true,
            b';' => return (at, None),
            b'{' if !initial => return (at, Some(at + 1)),
            _ => {}
        }
        at += 1;
    }
    (at, None)
}

fn closing_brace(bytes: &[u8], start: usize, line: &mut u32) -> Option<usize> {
    let mut depth = 1;
    let mut at = start;
    loop {
        at = skip_blank(bytes, at, line);
        match bytes.get(at)? {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(at),
            b'}' => depth -= 1,
            b'"' => at += 1 + bytes[at + 1..].iter().position(|&b| b == b'"')?,
            _ => {}
        }
        at += 1;
    }
}
