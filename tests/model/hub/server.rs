//! A small Hugging Face hub on the loopback interface, which can misbehave on purpose.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

pub const COMMIT: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
/// Nothing in these tests waits longer than this for a peer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a file is served.
#[derive(Clone, PartialEq)]
pub enum Manner {
    Well,
    /// Whole bodies only, as if `Range` did not exist.
    WithoutRanges,
    /// The connection closes after so many bytes of each body.
    CutAfter(usize),
    /// As `CutAfter`, and no length tells that bytes are missing.
    EndsAfter(usize),
    /// Announced with so many bytes more than it has.
    Oversold(u64),
    /// `x-linked-size` names another size than the body has.
    LinkedSize(u64),
    Status(u16),
    /// 503 on every other request.
    Flaky,
    /// Sent to this address.
    RedirectTo(String),
    /// As if an upload had happened in between.
    OtherCommit,
    /// `x-linked-etag` is the content's SHA-256, and so many of the first bodies have one bit flipped.
    Garbled(usize),
    /// A byte of the body, then this pause.
    Drip(Duration),
    /// A byte of the headers, then this pause.
    DripHead(Duration),
    /// So many of the first answers are this status, with `Retry-After` in seconds.
    Busy(u16, &'static str, usize),
}

#[derive(Clone)]
pub struct Served {
    pub body: Vec<u8>,
    pub manner: Manner,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

pub struct Server {
    pub endpoint: String,
    log: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `files` by name, whatever the repository and revision; others are 404.
    pub fn start(files: HashMap<String, Served>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (log, stop) = (log.clone(), stop.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    // A client that goes away is part of the game.
                    let _ = serve(stream.unwrap(), &files, &log);
                }
            })
        };
        Self {
            endpoint: format!("http://{address}"),
            log,
            stop,
            thread: Some(thread),
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    /// Bytes of all answers to requests for parts.
    pub fn moved(&self) -> u64 {
        let part = |range: &str| {
            let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some(last.parse::<u64>().ok()? + 1 - start.parse::<u64>().ok()?)
        };
        let ranges = self.seen().into_iter().filter_map(|seen| seen.range);
        ranges.filter_map(|range| part(&range)).sum()
    }

    /// Requests for a file that wanted more than its first byte.
    pub fn transfers(&self, file: &str) -> Vec<Seen> {
        let wanted =
            |seen: &Seen| seen.path.ends_with(file) && seen.range.as_deref() != Some("bytes=0-0");
        self.seen().into_iter().filter(wanted).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    files: &HashMap<String, Served>,
    log: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let seen = read_request(&stream)?;
    let file = seen.path.rsplit('/').next().unwrap_or("").to_owned();
    let earlier = {
        let mut log = log.lock().unwrap();
        log.push(seen.clone());
        log.len() - 1
    };
    let Some(served) = files.get(&file) else {
        return head(
            &mut stream,
            "404 Not Found",
            &[("content-length", "0".into())],
        );
    };
    let commit = match served.manner {
        Manner::OtherCommit => "d1ff00",
        _ => COMMIT,
    };
    let mut headers = vec![
        ("x-repo-commit", commit.to_owned()),
        ("etag", format!("\"etag-{file}\"")),
    ];
    match &served.manner {
        Manner::Status(code) => {
            headers.push(("content-length", "0".to_owned()));
            return head(&mut stream, &format!("{code} No"), &headers);
        }
        Manner::Flaky if earlier % 2 == 1 => {
            headers.push(("content-length", "0".to_owned()));
            return head(&mut stream, "503 Busy", &headers);
        }
        Manner::RedirectTo(address) => {
            headers.push(("location", format!("{address}/storage/{file}")));
            headers.push(("content-length", "0".to_owned()));
            return head(&mut stream, "302 Found", &headers);
        }
        Manner::LinkedSize(size) => headers.push(("x-linked-size", size.to_string())),
        Manner::Garbled(_) => headers.push(("x-linked-etag", sha256(&served.body))),
        Manner::DripHead(pause) => return drip(&mut stream, HEADERS.as_bytes(), *pause),
        Manner::Busy(status, wait, times) if earlier_of(log, &seen, |_| true) <= *times => {
            headers.push(("content-length", "0".to_owned()));
            headers.push(("retry-after", (*wait).to_owned()));
            return head(&mut stream, &format!("{status} Busy"), &headers);
        }
        _ => {}
    }
    let mut served = served.clone();
    if let Manner::Garbled(times) = served.manner
        && earlier_of(log, &seen, |seen| {
            seen.range.as_deref() != Some("bytes=0-0")
        }) <= times
    {
        served.body[0] ^= 1;
    }
    send_body(&mut stream, &seen, &served, headers)
}

/// Endless for what these tests wait.
const HEADERS: &str = "HTTP/1.1 200 OK\r\nx-padding: 0123456789012345678901234567890123456789";

/// Requests for the same file so far, this one included.
fn earlier_of(log: &Mutex<Vec<Seen>>, seen: &Seen, counts: impl Fn(&Seen) -> bool) -> usize {
    let log = log.lock().unwrap();
    log.iter()
        .filter(|other| other.path == seen.path && counts(other))
        .count()
}

pub fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Until the peer has gone, or nobody could have the patience for more.
fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    let start = Instant::now();
    for byte in bytes.iter().take_while(|_| start.elapsed() < PATIENCE) {
        stream.write_all(&[*byte])?;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn send_body(
    stream: &mut TcpStream,
    seen: &Seen,
    served: &Served,
    mut headers: Vec<(&str, String)>,
) -> std::io::Result<()> {
    let oversold = match served.manner {
        Manner::Oversold(extra) => extra,
        _ => 0,
    };
    let size = served.body.len() as u64 + oversold;
    let range = seen
        .range
        .as_deref()
        .filter(|_| served.manner != Manner::WithoutRanges);
    let (status, start, end) = match range.and_then(|range| parse_range(range, size)) {
        Some((start, end)) => {
            headers.push(("content-range", format!("bytes {start}-{}/{size}", end - 1)));
            ("206 Partial Content", start, end)
        }
        None => ("200 OK", 0, size),
    };
    if !matches!(served.manner, Manner::EndsAfter(_)) {
        headers.push(("content-length", (end - start).to_string()));
    }
    head(stream, status, &headers)?;
    let clamp = |at: u64| usize::try_from(at).unwrap().min(served.body.len());
    let mut body = &served.body[clamp(start)..clamp(end)];
    if let Manner::CutAfter(bytes) | Manner::EndsAfter(bytes) = served.manner {
        body = &body[..bytes.min(body.len())];
    }
    match served.manner {
        // What a file is can be told at once.
        Manner::Drip(pause) if body.len() > 1 => drip(stream, body, pause),
        _ => stream.write_all(body),
    }
}

/// `bytes=a-b` and `bytes=a-` as a half-open range inside `size`.
fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    let end = last.parse().map_or(size, |last: u64| (last + 1).min(size));
    (start < end).then_some((start, end))
}

fn head(stream: &mut TcpStream, status: &str, headers: &[(&str, String)]) -> std::io::Result<()> {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    stream.write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\n{lines}\r\n").as_bytes())
}

fn read_request(stream: &TcpStream) -> std::io::Result<Seen> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut seen = Seen {
        path: request.split(' ').nth(1).unwrap_or("").to_owned(),
        range: None,
        authorization: None,
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "range" => seen.range = Some(value.to_owned()),
            "authorization" => seen.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(seen)
}
