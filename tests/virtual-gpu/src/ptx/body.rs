//! Statements of a function's body.

use super::lexer::{Token, tokens};
use super::module::{Body, Variable};
use super::reader::Reader;
use super::{PtxError, Type};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal {
    Integer(u64),
    Single(u32),
    Double(u64),
}

#[derive(Clone, Debug)]
pub enum Operand<'a> {
    Name(&'a str),
    Not(&'a str),
    /// `p|q`: two results.
    Pair(&'a str, &'a str),
    Literal(Literal),
    /// `[base+offset]`; no base for an absolute address.
    Address(Option<&'a str>, i64),
    /// `symbol+offset` outside brackets.
    Offset(&'a str, i64),
    Vector(Vec<Operand<'a>>),
    Group(Vec<Operand<'a>>),
}

#[derive(Clone, Debug)]
pub struct Instruction<'a> {
    pub line: u32,
    /// The predicate that must be true, or (with `true` beside it) false.
    pub guard: Option<(&'a str, bool)>,
    /// Opcode with its modifiers, as written.
    pub opcode: &'a str,
    pub operands: Vec<Operand<'a>>,
}

#[derive(Clone, Debug)]
pub enum Statement<'a> {
    Open,
    Close,
    Label(&'a str),
    /// A type with names; a count behind a name declares `name0..`.
    Registers(Type, Vec<(&'a str, Option<u32>)>),
    Variables(Vec<Variable>),
    Instruction(Instruction<'a>),
}

pub fn parse_body<'a>(text: &'a str, body: &Body) -> Result<Vec<Statement<'a>>, PtxError> {
    let found = tokens(&text[body.start..body.end], body.line)?;
    let mut reader = Reader::new(&found, body.line);
    let mut statements = Vec::new();
    while let Some(token) = reader.peek() {
        match token {
            Token::Mark(b'{') => {
                reader.next();
                statements.push(Statement::Open);
            }
            Token::Mark(b'}') => {
                reader.next();
                statements.push(Statement::Close);
            }
            Token::Mark(b';') => {
                reader.next();
            }
            Token::Word(word) if word.starts_with('.') => {
                reader.next();
                statements.extend(directive(&mut reader, word)?);
            }
            Token::Word(word) if reader.peek_second() == Some(Token::Mark(b':')) => {
                reader.next();
                reader.next();
                statements.push(Statement::Label(word));
            }
            _ => statements.push(Statement::Instruction(instruction(&mut reader)?)),
        }
    }
    Ok(statements)
}

fn directive<'a>(
    reader: &mut Reader<'_, 'a>,
    word: &'a str,
) -> Result<Option<Statement<'a>>, PtxError> {
    // Inline assembly may glue the type to the directive: `.reg.b32`.
    let (word, glued) = match word.split_at_checked(".reg".len()) {
        Some((".reg", ty)) if !ty.is_empty() => (".reg", Some(ty)),
        _ => (word, None),
    };
    match word {
        ".reg" => {
            let name = glued.map_or_else(|| reader.name(), Ok)?;
            let ty = Type::named(name.trim_start_matches('.'));
            let ty =
                ty.ok_or_else(|| reader.error(format!("`{name}` is not a type of registers")))?;
            let mut names = Vec::new();
            loop {
                let name = reader.name()?;
                let count = if reader.take(b'<') {
                    let count = reader.integer()? as u32;
                    reader.expect(b'>')?;
                    Some(count)
                } else {
                    None
                };
                names.push((name, count));
                if !reader.take(b',') {
                    break;
                }
            }
            reader.expect(b';')?;
            Ok(Some(Statement::Registers(ty, names)))
        }
        ".pragma" => {
            while !reader.take(b';') {
                if reader.next().is_none() {
                    return Err(reader.error("a .pragma has no end"));
                }
            }
            Ok(None)
        }
        ".loc" => {
            let line = reader.line();
            while reader.peek().is_some() && reader.line() == line {
                reader.next();
            }
            Ok(None)
        }
        ".shared" | ".local" | ".param" | ".global" | ".const" => {
            let variables = reader.variables(word, false)?;
            reader.expect(b';')?;
            Ok(Some(Statement::Variables(variables)))
        }
        _ => Err(reader.error(format!(
            "`{word}` is not a directive that this reader knows"
        ))),
    }
}

fn instruction<'a>(reader: &mut Reader<'_, 'a>) -> Result<Instruction<'a>, PtxError> {
    let line = reader.line();
    let mut guard = None;
    if reader.take(b'@') {
        let negated = reader.take(b'!');
        guard = Some((reader.name()?, negated));
    }
    let opcode = reader.name()?;
    let mut operands = Vec::new();
    if !reader.take(b';') {
        loop {
            operands.push(operand(reader)?);
            if reader.take(b';') {
                break;
            }
            reader.expect(b',')?;
        }
    }
    Ok(Instruction {
        line,
        guard,
        opcode,
        operands,
    })
}

fn list<'a>(reader: &mut Reader<'_, 'a>, end: u8) -> Result<Vec<Operand<'a>>, PtxError> {
    let mut found = Vec::new();
    while !reader.take(end) {
        found.push(operand(reader)?);
        reader.take(b',');
    }
    Ok(found)
}

/// The sum of `+n` and `-n` that follow.
fn offsets(reader: &mut Reader) -> Result<i64, PtxError> {
    let mut sum = 0i64;
    loop {
        // `integer` takes a minus with it.
        if reader.take(b'+') || reader.peek() == Some(Token::Mark(b'-')) {
            sum = sum.wrapping_add(reader.integer()? as i64);
        } else {
            return Ok(sum);
        }
    }
}

fn operand<'a>(reader: &mut Reader<'_, 'a>) -> Result<Operand<'a>, PtxError> {
    match reader.peek() {
        Some(Token::Mark(b'{')) => {
            reader.next();
            Ok(Operand::Vector(list(reader, b'}')?))
        }
        Some(Token::Mark(b'(')) => {
            reader.next();
            Ok(Operand::Group(list(reader, b')')?))
        }
        Some(Token::Mark(b'[')) => {
            reader.next();
            let base = reader.word();
            let first = if base.is_none() {
                reader.integer()? as i64
            } else {
                0
            };
            let offset = first.wrapping_add(offsets(reader)?);
            reader.expect(b']')?;
            Ok(Operand::Address(base, offset))
        }
        Some(Token::Mark(b'!')) => {
            reader.next();
            Ok(Operand::Not(reader.name()?))
        }
        Some(Token::Mark(b'-')) => {
            reader.next();
            match reader.next() {
                Some(Token::Integer(n)) => Ok(Operand::Literal(Literal::Integer(n.wrapping_neg()))),
                Some(Token::Double(bits)) => Ok(Operand::Literal(Literal::Double(
                    (-f64::from_bits(bits)).to_bits(),
                ))),
                other => Err(reader.error(format!("{other:?} after a minus"))),
            }
        }
        Some(Token::Integer(n)) => {
            reader.next();
            Ok(Operand::Literal(Literal::Integer(n)))
        }
        Some(Token::Single(bits)) => {
            reader.next();
            Ok(Operand::Literal(Literal::Single(bits)))
        }
        Some(Token::Double(bits)) => {
            reader.next();
            Ok(Operand::Literal(Literal::Double(bits)))
        }
        Some(Token::Word(name)) => {
            reader.next();
            if reader.take(b'|') {
                return Ok(Operand::Pair(name, reader.name()?));
            }
            let offset = offsets(reader)?;
            Ok(if offset == 0 {
                Operand::Name(name)
            } else {
                Operand::Offset(name, offset)
            })
        }
        other => {
            reader.next();
            Err(reader.error(format!("{other:?} where an operand should be")))
        }
    }
}
