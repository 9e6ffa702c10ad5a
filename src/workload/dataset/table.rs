//! The rows of a CSV file, as objects that have the columns' names for keys.

use std::io::{self, BufRead, Read};

use csv::{Position, Reader, ReaderBuilder, StringRecord, Terminator, Trim};
use serde_json::Value;

use super::keys::{Object, TEXTS};
use super::records::Fault;

/// Bytes of one row.
const LONGEST_ROW: usize = 1 << 20;
/// Columns; real ones have fewer than twenty.
const MOST_COLUMNS: usize = 256;
/// Bytes in which the names of the columns are looked for.
const START: usize = 4096;

/// Whether a file that starts so has a line of names first: no other form has commas before any brace.
pub fn is_table(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let start = &start[..start.len().min(START)];
    let line = start.trim_ascii_start().split(|byte| *byte == b'\n').next();
    line.is_some_and(|line| {
        line.contains(&b',') && !line.contains(&b'{') && !line.starts_with(b"[")
    })
}

/// Reads as it is asked, and holds one row at most.
pub struct Table<R> {
    reader: Reader<Bounded<R>>,
    names: StringRecord,
    row: StringRecord,
    has_ended: bool,
}

impl<R: BufRead> Table<R> {
    /// # Errors
    /// The line of names is malformed.
    pub fn new(source: R) -> Result<Self, Fault> {
        let source = Bounded {
            source,
            left: LONGEST_ROW,
        };
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            // What Windows puts before it is trimmed: as a terminator it would be counted as no line.
            .terminator(Terminator::Any(b'\n'))
            .trim(Trim::All)
            .from_reader(source);
        let names = reader.headers().map_err(|error| fault(&error, 1))?.clone();
        match names.len() {
            0..=MOST_COLUMNS => Ok(Self {
                reader,
                names,
                row: StringRecord::new(),
                has_ended: false,
            }),
            many => Err(Fault {
                line: 1,
                reason: format!("it has {many} columns, and {MOST_COLUMNS} are read at most"),
            }),
        }
    }

    fn row(&mut self) -> Result<Option<(usize, Value)>, Fault> {
        let line = loop {
            self.reader.get_mut().left = LONGEST_ROW;
            let before = self.reader.position().line();
            let found = self.reader.read_record(&mut self.row);
            if !found.map_err(|error| fault(&error, before))? {
                return Ok(None);
            }
            let is_blank = self.row.len() == 1 && self.row[0].is_empty();
            if !is_blank {
                break self.row.position().map_or(before, Position::line) as usize;
            }
        };
        let (columns, names) = (self.row.len(), self.names.len());
        if columns != names {
            let reason = format!("the row has {columns} columns, and the first line names {names}");
            return Err(Fault { line, reason });
        }
        let columns = self.names.iter().zip(&self.row);
        let columns = columns.filter(|(_, text)| !text.is_empty());
        let columns = columns.map(|(name, text)| (name.to_owned(), value(name, text)));
        let object: Object = columns.collect();
        Ok(Some((line, Value::Object(object))))
    }
}

impl<R: BufRead> Iterator for Table<R> {
    /// A row's line, and its object.
    type Item = Result<(usize, Value), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let row = self.row();
        self.has_ended = !matches!(row, Ok(Some(_)));
        row.transpose()
    }
}

/// A number where it is one, unless the column holds texts.
fn value(name: &str, text: &str) -> Value {
    let number = || text.parse::<serde_json::Number>().ok();
    match TEXTS.into_iter().flatten().any(|text| *text == name) {
        true => None,
        false => number(),
    }
    .map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn fault(error: &csv::Error, line: u64) -> Fault {
    let line = error.position().map_or(line, Position::line).max(1) as usize;
    let reason = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "the row is no UTF-8".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    };
    Fault { line, reason }
}

/// Ends a row that does not end: a quotation mark that nobody closes would hold the whole file.
struct Bounded<R> {
    source: R,
    left: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left);
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!(
                "the row has more than {LONGEST_ROW} bytes, which is the most; close its quotation marks, or write it as \
JSON lines"
            )));
        }
        let read = self.source.read(&mut buffer[..most]);
        let read = read.map_err(|error| {
            io::Error::new(error.kind(), format!("it cannot be read ({error})"))
        })?;
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and object of each row, or the fault, read a few bytes at a time too.
    fn rows(text: &[u8]) -> Result<Vec<(usize, Value)>, (usize, String)> {
        let read = |size| {
            let table = Table::new(io::BufReader::with_capacity(size, text))?;
            table.collect::<Result<Vec<_>, Fault>>()
        };
        let whole = read(1 << 16).map_err(|fault| (fault.line, fault.reason));
        let parts = read(3).map_err(|fault| (fault.line, fault.reason));
        assert_eq!(whole, parts);
        whole
    }

    #[test]
    fn a_table_is_known_by_its_first_line() {
        for text in [
            &b"a,b\n1,2"[..],
            b"\xef\xbb\xbfTIMESTAMP,ContextTokens\r\n",
            b"\n a,b",
        ] {
            assert!(is_table(text), "{text:?}");
        }
        for text in [
            &b"{\"a\":1,\"b\":2}"[..],
            b"[{\"a\":1},",
            b"[1,2]",
            b"prompt",
            b"",
            b"\"{,\"",
        ] {
            assert!(!is_table(text), "{text:?}");
        }
    }

    #[test]
    fn rows_are_objects_with_numbers_where_they_are() {
        let text = b"\xef\xbb\xbfprompt,output_len,x\r\n\"a, \"\"b\"\"\nc\",3,\r\n42,5,6.5\r\n\r\n";
        let expected = serde_json::json!([
            [2, {"prompt": "a, \"b\"\nc", "output_len": 3}],
            [4, {"prompt": "42", "output_len": 5, "x": 6.5}],
        ]);
        assert_eq!(serde_json::to_value(rows(text).unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        let fault = rows(b"a,b\n1,2\n1,2,3\n").unwrap_err();
        assert_eq!(fault.0, 3);
        assert!(
            fault.1.contains("3 columns") && fault.1.contains("names 2"),
            "{fault:?}"
        );
        assert_eq!(rows(b"a,b\n1,\xff\n").unwrap_err().0, 2);
        let wide = ",".repeat(MOST_COLUMNS);
        assert!(rows(wide.as_bytes()).unwrap_err().1.contains("257 columns"));
        let endless = b"a,b\n1,2\n1,\"".chain(io::repeat(b'x'));
        let mut table = Table::new(io::BufReader::new(endless)).ok().unwrap();
        assert!(table.next().unwrap().is_ok());
        let fault = table.next().unwrap().unwrap_err();
        assert!(
            fault.line >= 2 && fault.reason.contains("1048576 bytes"),
            "{fault:?}"
        );
        assert!(table.next().is_none());
    }
}
