//! The records of a file, one at a time: lines, or the objects of one array.

use std::io::{BufRead, Read};

/// Bytes of one record.
pub const LONGEST_RECORD: usize = 16 << 20;

/// An object's text, and the line that it begins on, from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    pub line: usize,
    pub text: Vec<u8>,
}

/// A line of the file, and what is wrong there.
#[derive(Debug)]
pub struct Fault {
    pub line: usize,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Unknown,
    Lines,
    /// Objects between brackets, over any number of lines.
    Array,
    Ended,
}

/// Reads as it is asked, and holds one record at most.
pub struct Records<R> {
    source: R,
    form: Form,
    /// Lines that have ended.
    lines: usize,
    /// Elements of the array.
    found: usize,
}

impl<R: BufRead> Records<R> {
    pub fn new(source: R) -> Self {
        Self {
            source,
            form: Form::Unknown,
            lines: 0,
            found: 0,
        }
    }

    /// Passes over white space; the byte behind it.
    fn skip_space(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            match self.peek()? {
                Some(b'\n') => self.lines += 1,
                Some(byte) if byte.is_ascii_whitespace() => {}
                found => return Ok(found),
            }
            self.source.consume(1);
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, Fault> {
        match self.source.fill_buf() {
            Ok(bytes) => Ok(bytes.first().copied()),
            Err(error) => Err(self.fault(format!("it cannot be read ({error})"))),
        }
    }

    fn fault(&mut self, reason: String) -> Fault {
        self.form = Form::Ended;
        Fault {
            line: self.lines + 1,
            reason,
        }
    }

    /// The form by the first byte behind a byte order mark and white space.
    fn find_form(&mut self) -> Result<(), Fault> {
        let start = self
            .source
            .fill_buf()
            .map(|bytes| bytes.starts_with(b"\xef\xbb\xbf"));
        if matches!(start, Ok(true)) {
            self.source.consume(3);
        }
        self.form = match self.skip_space()? {
            None => Form::Ended,
            Some(b'[') => {
                self.source.consume(1);
                Form::Array
            }
            Some(_) => Form::Lines,
        };
        Ok(())
    }

    fn line(&mut self) -> Result<Option<Record>, Fault> {
        if self.skip_space()?.is_none() {
            return Ok(None);
        }
        let mut text = Vec::new();
        let mut bounded = self.source.by_ref().take(LONGEST_RECORD as u64 + 1);
        let read = bounded.read_until(b'\n', &mut text);
        if let Err(error) = read {
            return Err(self.fault(format!("it cannot be read ({error})")));
        }
        if text.len() > LONGEST_RECORD {
            return Err(self.fault(too_long("line")));
        }
        let line = self.lines + 1;
        self.lines += usize::from(text.ends_with(b"\n"));
        text.truncate(text.trim_ascii_end().len());
        Ok(Some(Record { line, text }))
    }

    fn element(&mut self) -> Result<Option<Record>, Fault> {
        loop {
            match self.skip_space()? {
                Some(b',') => self.source.consume(1),
                Some(b'{') => {
                    self.found += 1;
                    return self.object().map(Some);
                }
                Some(b']') if self.found == 0 => {
                    return Err(self.fault("the array holds no requests".to_owned()));
                }
                Some(b']') => {
                    self.source.consume(1);
                    return match self.skip_space()? {
                        None => Ok(None),
                        Some(_) => {
                            Err(self.fault("there is more behind the array's end".to_owned()))
                        }
                    };
                }
                Some(_) => {
                    let reason = "the array holds something that is no object in braces";
                    return Err(self.fault(reason.to_owned()));
                }
                None => return Err(self.fault(cut_short())),
            }
        }
    }

    /// From its brace to the one that closes it.
    fn object(&mut self) -> Result<Record, Fault> {
        let line = self.lines + 1;
        let mut text = Vec::new();
        let mut end = ObjectEnd::default();
        loop {
            let bytes = match self.source.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) => {
                    let reason = format!("it cannot be read ({error})");
                    return Err(self.fault(reason));
                }
            };
            if bytes.is_empty() {
                return Err(self.fault(cut_short()));
            }
            let found = bytes.iter().position(|&byte| end.is_at(byte));
            let taken = found.map_or(bytes.len(), |at| at + 1);
            text.extend_from_slice(&bytes[..taken]);
            self.lines += bytes[..taken].iter().filter(|&&byte| byte == b'\n').count();
            self.source.consume(taken);
            if text.len() > LONGEST_RECORD {
                self.lines = line - 1;
                return Err(self.fault(too_long("object")));
            }
            if found.is_some() {
                return Ok(Record { line, text });
            }
        }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.form == Form::Unknown
            && let Err(fault) = self.find_form()
        {
            return Some(Err(fault));
        }
        let record = match self.form {
            Form::Array => self.element(),
            Form::Lines => self.line(),
            Form::Unknown | Form::Ended => Ok(None),
        };
        if !matches!(record, Ok(Some(_))) {
            self.form = Form::Ended;
        }
        record.transpose()
    }
}

/// Follows braces and strings to the end of an object.
#[derive(Default)]
struct ObjectEnd {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl ObjectEnd {
    fn is_at(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' => self.depth += 1,
            b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        byte == b'}' && self.depth == 0
    }
}

fn too_long(what: &str) -> String {
    format!(
        "the {what} has more than {LONGEST_RECORD} bytes, which is the most; shorten its prompt"
    )
}

fn cut_short() -> String {
    "the file ends inside its array, so it may be cut short; fetch it again".to_owned()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Line and text of each record, or the fault, read a few bytes at a time too.
    fn records(text: &[u8]) -> Result<Vec<(usize, String)>, (usize, String)> {
        let read = |size| {
            let records = Records::new(io::BufReader::with_capacity(size, text));
            let text = |record: Record| (record.line, String::from_utf8(record.text).unwrap());
            let records = records.map(|record| record.map(text).map_err(|f| (f.line, f.reason)));
            records.collect::<Result<Vec<_>, _>>()
        };
        let whole = read(1 << 16);
        assert_eq!(whole, read(3));
        whole
    }

    fn owned(records: &[(usize, &str)]) -> Result<Vec<(usize, String)>, (usize, String)> {
        Ok(records
            .iter()
            .map(|(line, text)| (*line, (*text).to_owned()))
            .collect())
    }

    #[test]
    fn lines_and_arrays_are_told_apart() {
        assert_eq!(records(b""), owned(&[]));
        assert_eq!(records(b" \r\n\n"), owned(&[]));
        assert_eq!(
            records(b"\n{\"a\":1}\r\n\r\n  {}"),
            owned(&[(2, "{\"a\":1}"), (4, "{}")])
        );
        assert_eq!(
            records(b"\xef\xbb\xbf{\"a\":1}\nx"),
            owned(&[(1, "{\"a\":1}"), (2, "x")])
        );
        let array = b"\xef\xbb\xbf\n[\n {\"a\": \"}\\\"{\",\n \"b\": {}},{}\n, {}\n]\n";
        let found = owned(&[
            (3, "{\"a\": \"}\\\"{\",\n \"b\": {}}"),
            (4, "{}"),
            (5, "{}"),
        ]);
        assert_eq!(records(array), found);
        let empty = (1, "the array holds no requests".to_owned());
        assert_eq!(records(b"[]"), Err(empty));
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (text, line, reason) in [
            (&b"[\n{},\n"[..], 3, "cut short"),
            (b"[\n{\"a\":\n", 3, "cut short"),
            (b"[{}\n,\n3]", 3, "no object"),
            (b"[{}]\n{}", 2, "behind the array's end"),
        ] {
            let fault = records(text).unwrap_err();
            assert_eq!(fault.0, line);
            assert!(fault.1.contains(reason), "{fault:?}");
        }
    }

    #[test]
    fn a_record_is_bounded() {
        for start in ["{}\n{\"", "[{},\n{\""] {
            let endless = start.as_bytes().chain(io::repeat(b'a'));
            let mut records = Records::new(io::BufReader::new(endless));
            assert!(records.next().unwrap().is_ok());
            let fault = records.next().unwrap().unwrap_err();
            assert_eq!(fault.line, 2);
            assert!(fault.reason.contains("16777216 bytes"), "{}", fault.reason);
            assert!(records.next().is_none());
        }
    }
}
