//! The header of a safetensors file: which tensors it holds and where, bounded and checked.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use safetensors::Dtype;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::foreign::{self, Foreign};
use super::json::words::without_place;

/// Bytes before the header: its length.
pub const LENGTH_PREFIX: usize = 8;
/// Ten times the largest header of a published file.
const MOST_HEADER_BYTES: u64 = 32 << 20;
/// Twice the tensors of the largest models.
const MOST_TENSORS: usize = 300_000;
const MOST_DIMENSIONS: usize = 16;
/// What is not a tensor's name.
const METADATA: &str = "__metadata__";
const BITS: u64 = 8;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Of the file.
    pub bytes: Range<u64>,
}

/// Why a file is no safetensors file, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("it is {0}")]
    Foreign(Foreign),
    /// A clause.
    #[error("{0}")]
    Damaged(String),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header of a file of `length` bytes from its beginning.
///
/// # Errors
/// See [`HeaderError`].
pub fn read(file: &File, length: u64) -> Result<Vec<Stored>, HeaderError> {
    let mut bytes = Vec::new();
    file.take(foreign::HEAD as u64).read_to_end(&mut bytes)?;
    if let Some(foreign) = Foreign::of(&bytes) {
        return Err(HeaderError::Foreign(foreign));
    }
    let header = header_length(&bytes, length)?;
    let missing = (LENGTH_PREFIX as u64 + header).saturating_sub(bytes.len() as u64);
    file.take(missing).read_to_end(&mut bytes)?;
    parse(&bytes, length)
}

/// Reads the header at the beginning of `bytes`, of a file of `length` bytes.
///
/// # Errors
/// See [`HeaderError`].
pub fn parse(bytes: &[u8], length: u64) -> Result<Vec<Stored>, HeaderError> {
    let data = LENGTH_PREFIX as u64 + header_length(bytes, length)?;
    let damaged = |reason: String| HeaderError::Damaged(reason);
    let header = usize::try_from(data)
        .ok()
        .and_then(|data| bytes.get(LENGTH_PREFIX..data));
    let header = header.ok_or_else(|| damaged("its header is cut short".to_owned()))?;
    let Listed(mut tensors) = serde_json::from_slice(header).map_err(|error| {
        damaged(format!(
            "its header is not one of safetensors: {}",
            without_place(&error.to_string())
        ))
    })?;
    let mut end = data;
    tensors.sort_by_key(|tensor| tensor.bytes.start);
    for tensor in &mut tensors {
        let absolute = |offset: u64| offset.checked_add(data);
        let name = &tensor.name;
        let bytes = (absolute(tensor.bytes.start), absolute(tensor.bytes.end));
        tensor.bytes = match bytes {
            (Some(start), Some(stop)) if start == end && start <= stop => start..stop,
            _ => {
                return Err(damaged(format!(
                    "{name} does not lie behind the tensor before it"
                )));
            }
        };
        end = tensor.bytes.end;
        if size_of(tensor) != Some(end - tensor.bytes.start) {
            return Err(damaged(format!(
                "{name} has other bytes than {:?} of {:?} take",
                tensor.shape, tensor.dtype
            )));
        }
    }
    match end == length {
        true => Ok(tensors),
        false => Err(damaged(format!(
            "{length} bytes, and its tensors end at {end}"
        ))),
    }
}

/// Bytes of the header of a file of `length` bytes, by its first ones.
///
/// # Errors
/// They are too few, or no header is so long.
pub fn header_length(bytes: &[u8], length: u64) -> Result<u64, HeaderError> {
    let damaged = |reason: String| Err(HeaderError::Damaged(reason));
    let Some(prefix) = bytes.first_chunk::<LENGTH_PREFIX>() else {
        return damaged(format!("{length} bytes"));
    };
    let header = u64::from_le_bytes(*prefix);
    let room = length.saturating_sub(LENGTH_PREFIX as u64);
    if header > room {
        return damaged(format!("{length} bytes, and its header has {header}"));
    }
    if header > MOST_HEADER_BYTES {
        return damaged(format!(
            "its header has {header} bytes, where {MOST_HEADER_BYTES} are the most"
        ));
    }
    Ok(header)
}

fn size_of(tensor: &Stored) -> Option<u64> {
    let sizes = tensor.shape.iter().map(|&size| size as u64);
    let elements = sizes.into_iter().try_fold(1, u64::checked_mul)?;
    let bits = elements.checked_mul(tensor.dtype.bitsize() as u64)?;
    bits.is_multiple_of(BITS).then_some(bits / BITS)
}

/// Tensors as a header lists them, their bytes still counted from its end.
struct Listed(Vec<Stored>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Listed, A::Error> {
        let mut tensors: Vec<Stored> = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            if name == METADATA {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            if tensors.len() == MOST_TENSORS {
                return Err(A::Error::custom(format!(
                    "more than {MOST_TENSORS} tensors"
                )));
            }
            let info: Info = entries.next_value().map_err(|error| {
                let reason = without_place(&error.to_string());
                A::Error::custom(format!("the entry of {name} is not a tensor's ({reason})"))
            })?;
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("{name} is there twice")));
            }
            tensors.push(Stored {
                name,
                dtype: info.dtype,
                shape: info.shape.0,
                bytes: info.data_offsets.0..info.data_offsets.1,
            });
        }
        Ok(Listed(tensors))
    }
}

#[derive(Deserialize)]
struct Info {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (u64, u64),
}

struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Sizes)
    }
}

struct Sizes;

impl<'de> Visitor<'de> for Sizes {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while let Some(size) = sizes.next_element()? {
            if shape.len() == MOST_DIMENSIONS {
                return Err(de::Error::custom(format!(
                    "more than {MOST_DIMENSIONS} dimensions"
                )));
            }
            shape.push(size);
        }
        Ok(Shape(shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![1; data]);
        bytes
    }

    fn fault(header: &str, data: usize) -> String {
        let bytes = file(header, data);
        parse(&bytes, bytes.len() as u64).unwrap_err().to_string()
    }

    const ONE: &str = r#"{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}"#;

    #[test]
    fn tensors_lie_where_the_header_says() {
        let two = r#"{"dtype":"F32","shape":[],"data_offsets":[12,16]}"#;
        let header = format!(r#"{{"b":{two},"__metadata__":{{"format":"pt"}},"a":{ONE}}}  "#);
        let bytes = file(&header, 16);
        let tensors = parse(&bytes, bytes.len() as u64).unwrap();
        let data = (LENGTH_PREFIX + header.len()) as u64;
        let [a, b] = &tensors[..] else {
            panic!("{tensors:?}")
        };
        assert_eq!(
            (a.name.as_str(), &a.shape[..], a.dtype),
            ("a", &[2, 3][..], Dtype::BF16)
        );
        assert_eq!(
            (&a.bytes, &b.bytes),
            (&(data..data + 12), &(data + 12..data + 16))
        );
    }

    #[test]
    fn faults_are_told_in_the_terms_of_the_file() {
        let entry = |entry: &str| format!(r#"{{"a":{entry}}}"#);
        for (header, data, part) in [
            (entry(ONE), 11, "its tensors end at"),
            (entry(ONE), 13, "its tensors end at"),
            (
                entry(&ONE.replace("2,3", "2,4")),
                12,
                "a has other bytes than [2, 4] of BF16",
            ),
            (
                entry(&ONE.replace("2,3", "18446744073709551615,2")),
                12,
                "other bytes",
            ),
            (
                entry(&ONE.replace("0,12", "4,16")),
                16,
                "a does not lie behind",
            ),
            (
                entry(&ONE.replace("0,12", "12,0")),
                12,
                "a does not lie behind",
            ),
            (
                entry(&ONE.replace("BF16", "B16")),
                12,
                "the entry of a is not a tensor's",
            ),
            (
                entry(&ONE.replace("2,3", &"1,".repeat(20))),
                12,
                "16 dimensions",
            ),
            (
                format!(r#"{{"a":{ONE},"a":{ONE}}}"#),
                12,
                "a is there twice",
            ),
            ("[]".to_owned(), 0, "not one of safetensors"),
        ] {
            let message = fault(&header, data);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_length_decides_no_allocation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for (length, part) in [
            (u64::MAX, "its header has 18446744073709551615"),
            (1 << 30, "its header has"),
            (40 << 20, "where 33554432 are the most"),
        ] {
            let length: u64 = length;
            std::fs::write(&path, length.to_le_bytes()).unwrap();
            let file = File::options().write(true).read(true).open(&path).unwrap();
            file.set_len(50 << 20).unwrap();
            let message = read(&file, 50 << 20).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
