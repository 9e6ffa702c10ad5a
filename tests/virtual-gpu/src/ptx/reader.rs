//! Tokens taken one after another, and the declarations that files and bodies share.

use super::lexer::{Lexed, Token};
use super::module::{Body, Function, Space, Variable};
use super::{PtxError, Type};

/// Tokens taken one after another.
pub struct Reader<'t, 'a> {
    tokens: &'t [Lexed<'a>],
    at: usize,
    line: u32,
}

impl<'t, 'a> Reader<'t, 'a> {
    pub fn new(tokens: &'t [Lexed<'a>], line: u32) -> Self {
        Self {
            tokens,
            at: 0,
            line,
        }
    }

    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).map_or(self.line, |t| t.line)
    }

    pub fn error(&self, message: impl Into<String>) -> PtxError {
        let at = self.at.saturating_sub(1);
        PtxError::new(self.tokens.get(at).map_or(self.line, |t| t.line), message)
    }

    pub fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.token)
    }

    pub fn peek_second(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at + 1).map(|t| t.token)
    }

    pub fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// The next token if it is a word.
    pub fn word(&mut self) -> Option<&'a str> {
        let Some(Token::Word(word)) = self.peek() else {
            return None;
        };
        self.at += 1;
        Some(word)
    }

    pub fn name(&mut self) -> Result<&'a str, PtxError> {
        self.word().ok_or_else(|| self.error("a name is missing"))
    }

    pub fn take(&mut self, mark: u8) -> bool {
        let found = self.peek() == Some(Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, mark: u8) -> Result<(), PtxError> {
        if self.take(mark) {
            Ok(())
        } else {
            Err(self.error(format!("`{}` is missing", mark as char)))
        }
    }

    pub fn integer(&mut self) -> Result<u64, PtxError> {
        let minus = self.take(b'-');
        match self.next() {
            Some(Token::Integer(n)) => Ok(if minus { n.wrapping_neg() } else { n }),
            other => Err(self.error(format!("a whole number is missing before {other:?}"))),
        }
    }

    pub fn function(&mut self, entry: bool, body: Option<Body>) -> Result<Function, PtxError> {
        let returns = if self.peek() == Some(Token::Mark(b'(')) {
            self.params()?
        } else {
            Vec::new()
        };
        let name = self.name()?.to_owned();
        let params = if self.peek() == Some(Token::Mark(b'(')) {
            self.params()?
        } else {
            Vec::new()
        };
        let mut max_threads = None;
        while let Some(word) = self.word() {
            let mut sizes = Vec::new();
            while let Some(Token::Integer(n)) = self.peek() {
                sizes.push(n as u32);
                self.next();
                self.take(b',');
            }
            match word {
                ".maxntid" | ".reqntid" => max_threads = Some(sizes.iter().product()),
                ".minnctapersm" | ".maxnctapersm" | ".maxnreg" | ".noreturn" => {}
                _ => {
                    return Err(self.error(format!(
                        "`{word}` is not a directive of a function that this reader knows"
                    )));
                }
            }
        }
        Ok(Function {
            name,
            entry,
            returns,
            params,
            body,
            max_threads,
        })
    }

    fn params(&mut self) -> Result<Vec<Variable>, PtxError> {
        self.expect(b'(')?;
        let mut found = Vec::new();
        while !self.take(b')') {
            let word = self.name()?;
            if word == ".reg" {
                return Err(self.error("parameters in registers are not supported"));
            }
            found.push(self.variable(Space::Param, false)?);
            self.take(b',');
        }
        Ok(found)
    }

    /// Variables after their space's directive: `.align 4 .b8 a[16], b`.
    pub fn variables(&mut self, space: &str, outside: bool) -> Result<Vec<Variable>, PtxError> {
        let known = Space::named(space.trim_start_matches('.'));
        let space =
            known.ok_or_else(|| self.error(format!("`{space}` is not a space for variables")))?;
        let mut found = vec![self.variable(space, outside)?];
        while self.take(b',') {
            let mut next = found[0].clone();
            next.initial.clear();
            next.addresses.clear();
            self.declarator(&mut next)?;
            found.push(next);
        }
        Ok(found)
    }

    fn variable(&mut self, space: Space, outside: bool) -> Result<Variable, PtxError> {
        let mut align = None;
        let mut lanes = 1;
        loop {
            let word = self.name()?;
            match word.trim_start_matches('.') {
                "align" => align = Some(self.integer()? as usize),
                "ptr" | "global" | "const" | "shared" | "local" => {} // attributes of pointer parameters
                "v2" => lanes = 2,
                "v4" => lanes = 4,
                name => {
                    let ty = Type::named(name)
                        .ok_or_else(|| self.error(format!("`{word}` is not a type")))?;
                    let element = ty.bytes() * lanes;
                    // `.u64 .ptr .global .align 8 name`: attributes may follow the type.
                    while let Some(Token::Word(
                        word @ (".ptr" | ".align" | ".global" | ".const" | ".shared" | ".local"),
                    )) = self.peek()
                    {
                        self.next();
                        if word == ".align" {
                            self.integer()?; // of what is pointed to
                        }
                    }
                    let mut variable = Variable {
                        name: String::new(),
                        space,
                        ty,
                        align: align.unwrap_or(element.max(1)),
                        bytes: element,
                        outside,
                        initial: Vec::new(),
                        addresses: Vec::new(),
                    };
                    self.declarator(&mut variable)?;
                    return Ok(variable);
                }
            }
        }
    }

    /// A name with its dimensions and initial value.
    fn declarator(&mut self, variable: &mut Variable) -> Result<(), PtxError> {
        variable.name = self.name()?.to_owned();
        variable.bytes = variable.ty.bytes();
        while self.take(b'[') {
            if self.take(b']') {
                variable.bytes = 0;
                variable.outside = true;
            } else {
                variable.bytes *= self.integer()? as usize;
                self.expect(b']')?;
            }
        }
        if self.take(b'=') {
            self.initial(variable)?;
        }
        Ok(())
    }

    fn initial(&mut self, variable: &mut Variable) -> Result<(), PtxError> {
        let element = variable.ty.bytes();
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(Token::Mark(b'{')) => depth += 1,
                Some(Token::Mark(b'}')) => depth -= 1,
                Some(Token::Mark(b',')) if depth > 0 => {}
                Some(Token::Mark(b'-')) | Some(Token::Integer(_)) => {
                    let value = self.integer()?;
                    variable
                        .initial
                        .extend_from_slice(&value.to_le_bytes()[..element]);
                    if depth == 0 {
                        return Ok(());
                    }
                    continue;
                }
                Some(Token::Single(bits)) => {
                    variable.initial.extend_from_slice(&bits.to_le_bytes())
                }
                Some(Token::Double(bits)) => {
                    variable.initial.extend_from_slice(&bits.to_le_bytes())
                }
                Some(Token::Word("generic")) => {}
                Some(Token::Mark(b'(' | b')')) => {}
                Some(Token::Word(symbol)) => {
                    variable
                        .addresses
                        .push((variable.initial.len(), symbol.to_owned()));
                    variable
                        .initial
                        .extend_from_slice(&0u64.to_le_bytes()[..element]);
                }
                other => return Err(self.error(format!("{other:?} in an initial value"))),
            }
            self.next();
            if depth == 0 {
                return Ok(());
            }
        }
    }
}
