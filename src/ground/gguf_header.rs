//! The header of a GGUF file: what it says of the model, which tensors it holds and in what types, bounded and
//! checked. Its values are not read into memory but for those that somebody may ask for.

use std::collections::HashMap;
use std::io::{self, Read};

/// Twice the largest header known, which is nearly all vocabulary.
const MOST_HEADER_BYTES: u64 = 128 << 20;
/// Twice the tensors of the largest models.
const MOST_TENSORS: u64 = 300_000;
/// Values beside them.
const MOST_VALUES: u64 = 1 << 16;
const MOST_DIMENSIONS: u32 = 8;
/// Bytes of a key or name.
const LONGEST_NAME: u64 = 1 << 10;
/// Bytes of a text that is kept; longer ones, such as templates, are passed over.
const LONGEST_TEXT: u64 = 1 << 10;
/// Numbers of a list that is kept: one for each layer.
const LONGEST_LIST: u64 = 1 << 12;
/// Lists in lists.
const MOST_LEVELS: usize = 4;
const VERSIONS: [u32; 2] = [2, 3];
const USUAL_ALIGNMENT: u64 = 32;
/// Of a file's data, as it may be stated.
const MOST_ALIGNMENT: u64 = 1 << 20;

/// Something that a file says of its model.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Count(u64),
    Number(f64),
    Flag(bool),
    Text(String),
    Counts(Vec<u64>),
    /// A list of another kind, or a longer one: only how many it has.
    Many(u64),
}

/// A type of ggml's: so many elements take so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgmlType {
    pub name: &'static str,
    pub elements: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    pub name: String,
    /// The last is the one of rows, other than elsewhere.
    pub shape: Vec<u64>,
    pub kind: GgmlType,
    /// Bytes.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GgufHeader {
    pub said: HashMap<String, Said>,
    pub tensors: Vec<GgufTensor>,
}

/// Why a file is no GGUF file, or not a whole one: a clause.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    #[error("{0}")]
    Damaged(String),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl GgmlType {
    /// Whether its elements are plain floats.
    pub fn is_plain(self) -> bool {
        matches!(self.name, "F32" | "F16" | "BF16")
    }
}

const fn kind(name: &'static str, elements: u64, bytes: u64) -> GgmlType {
    GgmlType {
        name,
        elements,
        bytes,
    }
}

/// By its number in a file (`ggml_type`); `None`: there is none, or none any more.
fn ggml_type(number: u32) -> Option<GgmlType> {
    Some(match number {
        0 => kind("F32", 1, 4),
        1 => kind("F16", 1, 2),
        2 => kind("Q4_0", 32, 18),
        3 => kind("Q4_1", 32, 20),
        6 => kind("Q5_0", 32, 22),
        7 => kind("Q5_1", 32, 24),
        8 => kind("Q8_0", 32, 34),
        9 => kind("Q8_1", 32, 36),
        10 => kind("Q2_K", 256, 84),
        11 => kind("Q3_K", 256, 110),
        12 => kind("Q4_K", 256, 144),
        13 => kind("Q5_K", 256, 176),
        14 => kind("Q6_K", 256, 210),
        15 => kind("Q8_K", 256, 292),
        16 => kind("IQ2_XXS", 256, 66),
        17 => kind("IQ2_XS", 256, 74),
        18 => kind("IQ3_XXS", 256, 98),
        19 => kind("IQ1_S", 256, 50),
        20 => kind("IQ4_NL", 32, 18),
        21 => kind("IQ3_S", 256, 110),
        22 => kind("IQ2_S", 256, 82),
        23 => kind("IQ4_XS", 256, 136),
        24 => kind("I8", 1, 1),
        25 => kind("I16", 1, 2),
        26 => kind("I32", 1, 4),
        27 => kind("I64", 1, 8),
        28 => kind("F64", 1, 8),
        29 => kind("IQ1_M", 256, 56),
        30 => kind("BF16", 1, 2),
        34 => kind("TQ1_0", 256, 54),
        35 => kind("TQ2_0", 256, 66),
        39 => kind("MXFP4", 32, 17),
        40 => kind("NVFP4", 64, 36),
        _ => return None,
    })
}

/// Reads the header of a file of `length` bytes from its beginning.
///
/// # Errors
/// See [`GgufError`].
pub fn read(file: impl Read, length: u64) -> Result<GgufHeader, GgufError> {
    let mut source = Source {
        file: file.take(MOST_HEADER_BYTES.min(length)),
        read: 0,
    };
    if source.bytes::<4>()? != *b"GGUF" {
        return Err(damaged("it does not begin with GGUF"));
    }
    let version = source.u32()?;
    if !VERSIONS.contains(&version) {
        return Err(damaged(format!(
            "version {version} of the format, where 2 and 3 are read"
        )));
    }
    let tensor_count = within(source.u64()?, MOST_TENSORS, "tensors")?;
    let value_count = within(source.u64()?, MOST_VALUES, "values")?;
    let mut said = HashMap::new();
    for _ in 0..value_count {
        let key = source.text(LONGEST_NAME, "a key")?;
        let kind = source.u32()?;
        said.insert(key, source.value(kind, 0)?);
    }
    let mut tensors = Vec::new();
    let mut end = 0;
    for _ in 0..tensor_count {
        let (tensor, offset) = source.tensor()?;
        end = end.max(offset.saturating_add(tensor.size));
        tensors.push(tensor);
    }
    let alignment = match said.get("general.alignment") {
        Some(Said::Count(alignment)) if (1..=MOST_ALIGNMENT).contains(alignment) => *alignment,
        _ => USUAL_ALIGNMENT,
    };
    let data = source.read.next_multiple_of(alignment);
    match data.saturating_add(end) <= length || tensors.is_empty() {
        true => Ok(GgufHeader { said, tensors }),
        false => Err(damaged(format!(
            "{length} bytes, and its tensors end at {}",
            data.saturating_add(end)
        ))),
    }
}

fn damaged(reason: impl Into<String>) -> GgufError {
    GgufError::Damaged(reason.into())
}

fn within(count: u64, most: u64, what: &str) -> Result<u64, GgufError> {
    match count <= most {
        true => Ok(count),
        false => Err(damaged(format!(
            "{count} {what}, where {most} are the most"
        ))),
    }
}

struct Source<R> {
    file: R,
    /// Bytes so far.
    read: u64,
}

impl<R: Read> Source<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(cut_short)?;
        self.read += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn pass(&mut self, count: u64) -> Result<(), GgufError> {
        let passed = io::copy(&mut self.file.by_ref().take(count), &mut io::sink())?;
        self.read = self.read.saturating_add(passed);
        match passed == count {
            true => Ok(()),
            false => Err(cut_short(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn text(&mut self, most: u64, what: &str) -> Result<String, GgufError> {
        let length = self.u64()?;
        if length > most {
            return Err(damaged(format!(
                "{what} of {length} bytes, where {most} are the most"
            )));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes).map_err(cut_short)?;
        self.read += length;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn value(&mut self, kind: u32, level: usize) -> Result<Said, GgufError> {
        Ok(match kind {
            0 => Said::Count(u64::from(u8::from_le_bytes(self.bytes()?))),
            1 => signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => Said::Count(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Said::Count(u64::from(self.u32()?)),
            5 => signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => Said::Number(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => Said::Flag(self.bytes::<1>()? != [0]),
            8 => self.kept_text()?,
            9 => self.list(level)?,
            10 => Said::Count(self.u64()?),
            11 => signed(i64::from_le_bytes(self.bytes()?)),
            12 => Said::Number(f64::from_le_bytes(self.bytes()?)),
            other => return Err(damaged(format!("a value of the unknown type {other}"))),
        })
    }

    fn kept_text(&mut self) -> Result<Said, GgufError> {
        let length = self.u64()?;
        if length > LONGEST_TEXT {
            self.pass(length)?;
            return Ok(Said::Many(length));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes).map_err(cut_short)?;
        self.read += length;
        Ok(Said::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn list(&mut self, level: usize) -> Result<Said, GgufError> {
        let kind = self.u32()?;
        let count = self.u64()?;
        if level == MOST_LEVELS {
            return Err(damaged(format!(
                "lists in lists, more than {MOST_LEVELS} deep"
            )));
        }
        let mut counts = Vec::new();
        for _ in 0..count {
            // The file ends before a count that it made up does.
            match self.value(kind, level + 1)? {
                Said::Count(one) if count <= LONGEST_LIST => counts.push(one),
                Said::Flag(one) if count <= LONGEST_LIST => counts.push(u64::from(one)),
                _ => {}
            }
        }
        Ok(match counts.len() as u64 == count && count > 0 {
            true => Said::Counts(counts),
            false => Said::Many(count),
        })
    }

    /// And where its bytes begin in the data.
    fn tensor(&mut self) -> Result<(GgufTensor, u64), GgufError> {
        let name = self.text(LONGEST_NAME, "a name")?;
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(damaged(format!("{name} has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.u64()?);
        }
        let number = self.u32()?;
        let offset = self.u64()?;
        let Some(kind) = ggml_type(number) else {
            return Err(damaged(format!("{name} is of the unknown type {number}")));
        };
        let elements = shape.iter().copied().try_fold(1, u64::checked_mul);
        let size = elements.and_then(|n| n.div_ceil(kind.elements).checked_mul(kind.bytes));
        let Some(size) = size else {
            return Err(damaged(format!(
                "{name} is {shape:?}, which is no tensor's shape"
            )));
        };
        let tensor = GgufTensor {
            name,
            shape,
            kind,
            size,
        };
        Ok((tensor, offset))
    }
}

/// A negative number is no count.
fn signed(number: i64) -> Said {
    match u64::try_from(number) {
        Ok(count) => Said::Count(count),
        Err(_) => Said::Number(number as f64),
    }
}

fn cut_short(error: io::Error) -> GgufError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("its header is cut short, or longer than any"),
        _ => GgufError::Io(error),
    }
}

#[cfg(test)]
#[path = "gguf_header/tests.rs"]
mod tests;
