//! Parts of files: of a file of many gigabytes only what is asked for moves.

use std::io::Read;
use std::ops::Range;
use std::time::Duration;

use ureq::Body;

use super::{
    Client, DESCRIPTION, OK, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE, range_start, total_size,
};
use crate::hub::error::HubError;
use crate::hub::waiting::{Ended, stoppable};

/// Bytes from the middle of a file of so many in all.
pub struct Head {
    pub bytes: Vec<u8>,
    pub total: u64,
}

impl Client<'_> {
    /// Bytes of the file: of `range`, or to its end if it ends in it.
    ///
    /// # Errors
    /// As [`probe`](Self::probe); also when the server sends whole files only, or other bytes than it says.
    pub fn part(&self, file: &str, range: Range<u64>) -> Result<Head, HubError> {
        let wanted = range.end - range.start;
        let answer = self.get(file, &format!("bytes={}-{}", range.start, range.end - 1))?;
        let total = total_size(&answer.response);
        let status = answer.response.status().as_u16();
        // An empty file has no first byte.
        if status == RANGE_NOT_SATISFIABLE && total == Some(0) {
            return Ok(Head {
                bytes: Vec::new(),
                total: 0,
            });
        }
        self.check_status(file, &answer.response)?;
        let missing = |what: &str| self.not_a_hub(file, format!("no {what} in the answer"));
        let total = total.ok_or_else(|| missing("size"))?;
        if let Some(linked) = answer.linked_size.filter(|&linked| linked != total) {
            return Err(self.other_size(file, total, linked));
        }
        let start = match status {
            PARTIAL_CONTENT => {
                range_start(answer.response.headers()).ok_or_else(|| missing("content-range"))?
            }
            _ => 0,
        };
        // A whole file that is no longer than the part is the part.
        if status == OK && (range.start > 0 || total > wanted) {
            return Err(HubError::NoRanges {
                file: file.to_owned(),
                repo: self.repo.to_string(),
                endpoint: self.shown_endpoint.clone(),
                size: total,
            });
        }
        if start != range.start {
            let reason = format!(
                "bytes from {start} came where {} was asked for",
                range.start
            );
            return Err(self.not_a_hub(file, reason));
        }
        let expected = wanted.min(total.saturating_sub(start));
        let (bytes, reason) = self.body(file, answer.response.into_body(), expected)?;
        match bytes.len() as u64 == expected {
            true => Ok(Head { bytes, total }),
            false => Err(HubError::Cut {
                file: file.to_owned(),
                repo: self.repo.to_string(),
                received: bytes.len() as u64,
                expected,
                reason,
            }),
        }
    }

    /// What the hub says of the repository: JSON of at most `most` bytes.
    ///
    /// # Errors
    /// As [`probe`](Self::probe); also when it is longer.
    pub fn described(&self, most: u64) -> Result<Vec<u8>, HubError> {
        let url = self.repo.description_url(&self.endpoint);
        let answer = self.follow(DESCRIPTION, url, None)?;
        self.check_status(DESCRIPTION, &answer.response)?;
        let body = answer.response.into_body();
        let (bytes, _) = self.body(DESCRIPTION, body, most + 1)?;
        match bytes.len() as u64 > most {
            true => Err(self.too_large(DESCRIPTION, bytes.len() as u64, most)),
            false => Ok(bytes),
        }
    }

    /// At most `most` bytes of a body, in the time that the slowest server may take for them; and why there are no more.
    fn body(&self, file: &str, body: Body, most: u64) -> Result<(Vec<u8>, String), HubError> {
        let patience = &self.settings.patience;
        let longest = patience.window + Duration::from_secs(most / patience.least_rate.max(1));
        let read = move || {
            let mut bytes = Vec::new();
            let read = body.into_reader().take(most).read_to_end(&mut bytes);
            let reason = match read {
                Ok(_) => "the connection closed early".to_owned(),
                Err(error) => error.to_string(),
            };
            (bytes, reason)
        };
        match stoppable(self.progress, longest, read) {
            Ok(read) => Ok(read),
            Err(Ended::Stopped) => Err(self.stopped()),
            Err(Ended::Late | Ended::Gone) => {
                Err(self.too_slow(file, most / longest.as_secs().max(1)))
            }
        }
    }
}
