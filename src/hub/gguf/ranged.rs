//! The header of one GGUF file, read by ranges. How long it is stands nowhere: it ends behind the last tensor.

use std::io::{self, Read};

use crate::ground::foreign::Foreign;
use crate::ground::gguf_header::{self, GgufError, GgufHeader};
use crate::hub::download::patiently;
use crate::hub::error::HubError;
use crate::hub::http::{Client, Head};

/// Of the first request: headers of later parts of a set are no longer. Each further one asks for as much again as is
/// there, so that at most half of what moves is not needed.
const FIRST_BYTES: u64 = 64 << 10;
/// Of one request. Vocabularies make most headers 5 to 11 MB long.
const MOST_AT_ONCE: u64 = 2 << 20;
const MAGIC: &[u8] = b"GGUF";

pub(super) struct Found {
    pub header: GgufHeader,
    /// As it is stored.
    pub bytes: Vec<u8>,
    /// Of the whole file.
    pub total: u64,
}

pub(super) fn header(client: &Client, file: &str) -> Result<Found, HubError> {
    let head = part(client, file, 0, FIRST_BYTES)?;
    let bad = |reason: String| HubError::BadHeader {
        file: format!("{file} of {}", client.repo),
        format: "GGUF",
        reason,
    };
    if !head.bytes.starts_with(MAGIC)
        && let Some(what) = Foreign::of(&head.bytes)
    {
        return Err(bad(format!("it is {what}; {}", what.way_out())));
    }
    let total = head.total;
    let mut source = Ranged {
        client,
        file,
        total,
        bytes: head.bytes,
        read: 0,
        failed: None,
    };
    let header = gguf_header::read(&mut source, total);
    let Ranged {
        mut bytes,
        read,
        failed,
        ..
    } = source;
    match (header, failed) {
        (Ok(header), _) => {
            bytes.truncate(read);
            Ok(Found {
                header,
                bytes,
                total,
            })
        }
        (Err(_), Some(failed)) => Err(failed),
        (Err(GgufError::Damaged(reason)), None) => Err(bad(format!(
            "{reason}; check the repository, or choose another of its files"
        ))),
        (Err(GgufError::Io(error)), None) => Err(bad(error.to_string())),
    }
}

/// A file that arrives as far as it is read.
struct Ranged<'a> {
    client: &'a Client<'a>,
    file: &'a str,
    total: u64,
    bytes: Vec<u8>,
    read: usize,
    /// Why no more came.
    failed: Option<HubError>,
}

impl Read for Ranged<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.bytes.len() && !buffer.is_empty() {
            let more = self.more();
            more.map_err(|error| {
                self.failed = Some(error);
                io::Error::other("the hub failed")
            })?;
        }
        let mut rest = &self.bytes[self.read..];
        let count = rest.read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

impl Ranged<'_> {
    fn more(&mut self) -> Result<(), HubError> {
        let start = self.bytes.len() as u64;
        if start >= self.total {
            return Ok(());
        }
        let end = start + start.clamp(1, MOST_AT_ONCE);
        let next = part(self.client, self.file, start, end)?;
        if next.total != self.total {
            let (found, expected) = (next.total.to_string(), self.total.to_string());
            return Err(self.client.changed(self.file, found, &expected));
        }
        self.bytes.extend(next.bytes);
        Ok(())
    }
}

/// Bytes of a file from `start` to `end`, or to its own end; asked again while that is of use.
fn part(client: &Client, file: &str, start: u64, end: u64) -> Result<Head, HubError> {
    patiently(client, |_| true, || client.part(file, start..end))
}
