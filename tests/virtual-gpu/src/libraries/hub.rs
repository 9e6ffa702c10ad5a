//! Where ranks of several processes meet: in the process that made the communicator's id, which carries its
//! address, as NCCL's does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use super::collective::{Call, compute};
use super::wire::{Message, receive, send};

/// Names the interface, as for NCCL.
const INTERFACE: &str = "NCCL_SOCKET_IFNAME";

#[derive(Default)]
struct Hall {
    ranks: HashMap<u64, Arc<TcpStream>>,
    /// Parts of collectives, by their number.
    parts: HashMap<u64, HashMap<u64, (Call, Vec<u8>)>>,
    /// Those who said that they end.
    ended: Vec<u64>,
}

#[derive(Default)]
pub struct Hub {
    halls: Mutex<HashMap<u64, Hall>>,
}

impl Hub {
    /// Has a rank of another process come for this communicator?
    pub fn is_visited(&self, group: u64) -> bool {
        self.halls().contains_key(&group)
    }

    /// Listens for ranks of other processes; where they find it.
    pub fn open() -> std::io::Result<(Arc<Self>, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let address = SocketAddr::new(IpAddr::V4(own_address()), listener.local_addr()?.port());
        let hub = Arc::new(Self::default());
        let open = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = open.clone();
                std::thread::spawn(move || hub.serve(Arc::new(stream)));
            }
        });
        Ok((hub, address))
    }

    fn halls(&self) -> MutexGuard<'_, HashMap<u64, Hall>> {
        self.halls.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// One rank's messages, until it ends.
    fn serve(&self, stream: Arc<TcpStream>) {
        let _ = stream.set_nodelay(true);
        let Ok(Message::Hello { group, rank, size }) = receive(&stream) else {
            return;
        };
        {
            let mut halls = self.halls();
            let hall = halls.entry(group).or_default();
            hall.ranks.insert(rank, stream.clone());
            if hall.ranks.len() as u64 == size {
                hall.tell(|_| Message::Go);
            }
        }
        loop {
            match receive(&stream) {
                Ok(Message::Part {
                    number,
                    call,
                    bytes,
                }) => {
                    let mut halls = self.halls();
                    let hall = halls.entry(group).or_default();
                    let parts = hall.parts.entry(number).or_default();
                    parts.insert(rank, (call, bytes));
                    if parts.len() as u64 == size {
                        hall.perform(number, size);
                    }
                }
                Ok(Message::Bye) => {
                    // Answered when all that was summed before has been told.
                    self.halls().entry(group).or_default().ended.push(rank);
                    let _ = send(&stream, &Message::Bye);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let mut halls = self.halls();
        let hall = halls.entry(group).or_default();
        hall.ranks.remove(&rank);
        if !hall.ended.contains(&rank) {
            hall.tell(|_| Message::Gone { rank });
        }
    }
}

impl Hall {
    /// A rank that does not hear it has gone, which its own thread will find.
    fn tell(&self, message: impl Fn(u64) -> Message) {
        for (rank, stream) in &self.ranks {
            let _ = send(stream, &message(*rank));
        }
    }

    fn perform(&mut self, number: u64, size: u64) {
        let Some(mut parts) = self.parts.remove(&number) else {
            return;
        };
        let parts: Vec<(Call, Vec<u8>)> =
            (0..size).filter_map(|rank| parts.remove(&rank)).collect();
        let call = parts[0].0;
        if let Some(rank) = parts.iter().position(|(other, _)| *other != call) {
            let why = format!("rank 0 makes {call}, rank {rank} {}", parts[rank].0);
            self.tell(|_| Message::Refused {
                number,
                why: why.clone(),
            });
            return;
        }
        let inputs: Vec<Vec<u8>> = parts.into_iter().map(|(_, bytes)| bytes).collect();
        let results = compute(&call, inputs);
        self.tell(|rank| {
            let bytes = results
                .get(rank as usize)
                .cloned()
                .flatten()
                .unwrap_or_default();
            Message::Part {
                number,
                call,
                bytes,
            }
        });
    }
}

/// The interface that is asked for, else the first that leads out, else the one that does not.
fn own_address() -> Ipv4Addr {
    let asked = std::env::var(INTERFACE).unwrap_or_default();
    let names: Vec<&str> = asked
        .split(',')
        .map(|n| n.trim_start_matches(['^', '=']))
        .collect();
    let all = crate::calls::interfaces();
    let named = all
        .iter()
        .find(|(name, _)| names.iter().any(|n| !n.is_empty() && name.starts_with(n)));
    let outward = || all.iter().find(|(_, address)| !address.is_loopback());
    named
        .or_else(outward)
        .map_or(Ipv4Addr::LOCALHOST, |(_, address)| *address)
}
