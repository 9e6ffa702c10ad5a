//! What a file is that was taken for another: told from its first bytes, with the way out.

use std::fmt;

/// Bytes that [`Foreign::of`] looks at.
pub const HEAD: usize = 512;

/// Something else than the model's file that should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    Empty,
    GitLfsPointer,
    /// An error page or a page of the hub.
    Html,
    Gguf,
    /// What `torch.save` has written since 2020.
    Zip,
    Pickle,
    Gzip,
    Hdf5,
    Json,
    Zeros,
}

impl Foreign {
    /// By the first bytes of a file, at least [`HEAD`] of them where it has so many.
    pub fn of(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(HEAD)];
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let text = text.trim_ascii_start().to_ascii_lowercase();
        let begins = |marks: &[&[u8]]| marks.iter().any(|mark| head.starts_with(mark));
        let reads = |marks: &[&[u8]]| marks.iter().any(|mark| text.starts_with(mark));
        // A safetensors file: the length of its header, then the header.
        if head.get(4..9) == Some(b"\0\0\0\0{") {
            return None;
        }
        let found = if head.is_empty() {
            Self::Empty
        } else if begins(&[b"version https://git-lfs", b"version https://hawser"]) {
            Self::GitLfsPointer
        } else if reads(&[b"<!doctype", b"<html", b"<?xml", b"<head", b"<body"]) {
            Self::Html
        } else if begins(&[b"GGUF", b"ggjt", b"tjgg", b"FUGG"]) {
            Self::Gguf
        } else if begins(&[b"PK\x03\x04", b"PK\x05\x06"]) {
            Self::Zip
        } else if begins(&[b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"])
            && head.get(2).is_some_and(|op| PICKLE_STARTS.contains(op))
        {
            Self::Pickle
        } else if begins(&[b"\x1f\x8b"]) {
            Self::Gzip
        } else if begins(&[b"\x89HDF"]) {
            Self::Hdf5
        } else if reads(&[b"{", b"["]) {
            Self::Json
        } else if head.iter().all(|&byte| byte == 0) {
            Self::Zeros
        } else {
            return None;
        };
        Some(found)
    }

    /// A clause that follows `; `.
    pub fn way_out(self) -> &'static str {
        match self {
            Self::GitLfsPointer => {
                "run `git lfs pull` in the directory, or download the file itself"
            }
            Self::Html => {
                "download the file itself (on the hub: its `resolve` address, not `blob`)"
            }
            Self::Gguf => "use the model's safetensors checkpoint",
            Self::Zip | Self::Pickle | Self::Hdf5 => {
                "convert it with save_pretrained(safe_serialization=True), or use a checkpoint in safetensors"
            }
            Self::Gzip => "unpack it first",
            Self::Empty | Self::Json | Self::Zeros => "download it again",
        }
    }
}

/// Opcodes that follow the protocol of what Python's pickle writes: a frame, an empty dictionary, list or tuple,
/// a number, a name, a string.
const PICKLE_STARTS: &[u8] = b"\x95}](\x8acXK";

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty file",
            Self::GitLfsPointer => "a git-lfs pointer",
            Self::Html => "a web page",
            Self::Gguf => "a GGUF file",
            Self::Zip => "a zip archive, as PyTorch saves",
            Self::Pickle => "a Python pickle, as PyTorch saves",
            Self::Gzip => "a gzip archive",
            Self::Hdf5 => "an HDF5 file",
            Self::Json => "JSON text",
            Self::Zeros => "zeros, as a download leaves that never got its bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        for (head, kind) in [
            (&b""[..], Foreign::Empty),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                Foreign::GitLfsPointer,
            ),
            (b"\n <!DOCTYPE html><html>", Foreign::Html),
            (b"\xef\xbb\xbf<HTML>", Foreign::Html),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied",
                Foreign::Html,
            ),
            (b"GGUF\x03\0\0\0", Foreign::Gguf),
            (b"PK\x03\x04\0\0", Foreign::Zip),
            (b"\x80\x02}q\0", Foreign::Pickle),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", Foreign::Pickle),
            (b"\x80\x04\x95", Foreign::Pickle),
            (b"\x1f\x8b\x08", Foreign::Gzip),
            (b"\x89HDF\r\n", Foreign::Hdf5),
            (b" {\"error\": 1}", Foreign::Json),
            (&[0; 64], Foreign::Zeros),
        ] {
            assert_eq!(Foreign::of(head), Some(kind), "{head:?}");
            assert!(!kind.way_out().is_empty());
        }
    }

    #[test]
    fn a_safetensors_file_is_nothing_else() {
        // Its length comes first: 0x0280 bytes of header too.
        for length in [0x50_u64, 0x280, 0x8b1f, 0x10_0000] {
            let mut head = length.to_le_bytes().to_vec();
            head.extend(b"{\"__metadata__\":{}");
            assert_eq!(Foreign::of(&head), None, "{length}");
        }
    }
}
