//! A rank's way to ranks of other processes.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::collective::Call;
use super::wire::{Message, receive, send};
use crate::driver::work::{Begun, Failure, Progress};
use crate::driver::{Driver, codes, log};

/// How long a rank that ends waits until its peers know.
const FAREWELL: Duration = Duration::from_secs(1);

pub struct Link {
    stream: TcpStream,
    all_here: AtomicBool,
    /// A peer has gone, or the way to it.
    broken: AtomicBool,
    /// The rank has given up its peers, and they know.
    left: AtomicBool,
    parted: AtomicBool,
    calls: AtomicU64,
    results: Mutex<HashMap<u64, Result<Vec<u8>, String>>>,
}

impl Link {
    pub fn connect(
        address: SocketAddr,
        group: u64,
        rank: usize,
        size: usize,
    ) -> std::io::Result<Arc<Self>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let hello = Message::Hello {
            group,
            rank: rank as u64,
            size: size as u64,
        };
        send(&stream, &hello)?;
        let link = Arc::new(Self {
            stream,
            all_here: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            left: AtomicBool::new(false),
            parted: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            results: Mutex::default(),
        });
        let reader = link.clone();
        std::thread::spawn(move || reader.listen());
        Ok(link)
    }

    fn results(&self) -> MutexGuard<'_, HashMap<u64, Result<Vec<u8>, String>>> {
        self.results.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn listen(&self) {
        loop {
            match receive(&self.stream) {
                Ok(Message::Go) => self.all_here.store(true, Ordering::SeqCst),
                Ok(Message::Part { number, bytes, .. }) => {
                    self.results().insert(number, Ok(bytes));
                }
                Ok(Message::Refused { number, why }) => {
                    self.results().insert(number, Err(why));
                }
                Ok(Message::Gone { rank }) => {
                    log(&format!("NCCL: rank {rank} of another process has gone"));
                    self.broken.store(true, Ordering::SeqCst);
                }
                Ok(Message::Bye) => self.parted.store(true, Ordering::SeqCst),
                Ok(_) => {}
                Err(_) => return self.broken.store(true, Ordering::SeqCst),
            }
            crate::driver::driver().changed();
        }
    }

    pub fn all_here(&self) -> bool {
        self.all_here.load(Ordering::SeqCst)
    }

    pub fn broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// As if a peer had gone.
    pub fn part(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// The rank ends. What its device waits for in a collective ends too.
    pub fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        let _ = send(&self.stream, &Message::Bye);
        crate::driver::driver().changed();
        // The process may be where others meet: it must not end before it has told them.
        let started = Instant::now();
        while !self.parted.load(Ordering::SeqCst) && !self.broken() && started.elapsed() < FAREWELL
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Begins a collective, in the order in which the device comes to it.
    pub fn begin(
        self: &Arc<Self>,
        driver: &Driver,
        rank: usize,
        size: usize,
        call: Call,
        [from, to]: [u64; 2],
    ) -> Result<Exchange, Failure> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let mut bytes = vec![0; call.given(rank, size)];
        driver
            .view()
            .copy_out(from, &mut bytes)
            .map_err(|f| memory(&f))?;
        if send(
            &self.stream,
            &Message::Part {
                number,
                call,
                bytes,
            },
        )
        .is_err()
        {
            self.broken.store(true, Ordering::SeqCst);
        }
        Ok(Exchange {
            link: self.clone(),
            number,
            call,
            to,
        })
    }
}

fn memory(fault: &crate::memory::Fault) -> Failure {
    Failure::new(codes::ERROR_ILLEGAL_ADDRESS, fault.to_string())
}

/// A collective that waits for ranks of other processes.
pub struct Exchange {
    link: Arc<Link>,
    number: u64,
    call: Call,
    to: u64,
}

impl Begun for Exchange {
    fn resume(&mut self, driver: &Driver, _: usize) -> Result<Progress, Failure> {
        if self.link.left.load(Ordering::SeqCst) {
            return Ok(Progress::Done(0));
        }
        match self.link.results().remove(&self.number) {
            None => Ok(Progress::Waits { moved: false }),
            Some(Err(why)) => Err(Failure::new(codes::ERROR_LAUNCH_FAILED, why)),
            Some(Ok(bytes)) => {
                driver
                    .view()
                    .copy_in(self.to, &bytes)
                    .map_err(|f| memory(&f))?;
                Ok(Progress::Done(bytes.len() as u64))
            }
        }
    }

    fn waits(&self) -> String {
        format!(
            "collective {} ({}) waits for ranks of other processes",
            self.number, self.call
        )
    }
}
