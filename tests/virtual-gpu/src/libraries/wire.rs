//! What ranks in different processes tell each other: lengths and bytes over TCP.

use std::io::{Read, Result, Write};
use std::net::TcpStream;

use super::collective::{Call, Kind};

pub enum Message {
    /// A rank comes: which, of how many, of which communicator.
    Hello { group: u64, rank: u64, size: u64 },
    /// All have come.
    Go,
    /// A rank's part of its n-th collective, or its result.
    Part {
        number: u64,
        call: Call,
        bytes: Vec<u8>,
    },
    /// The collective cannot be: why.
    Refused { number: u64, why: String },
    /// A rank ends and is not missed.
    Bye,
    /// A rank has gone without a word.
    Gone { rank: u64 },
}

fn put(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|n| out.extend(n.to_le_bytes()));
}

fn kind(call: &Call) -> [u64; 2] {
    match call.kind {
        Kind::AllReduce => [0, 0],
        Kind::AllGather => [1, 0],
        Kind::ReduceScatter => [2, 0],
        Kind::Broadcast(root) => [3, root as u64],
        Kind::Reduce(root) => [4, root as u64],
    }
}

pub fn send(mut to: &TcpStream, message: &Message) -> Result<()> {
    let mut out = Vec::new();
    match message {
        Message::Hello { group, rank, size } => put(&mut out, &[0, *group, *rank, *size]),
        Message::Go => put(&mut out, &[1]),
        Message::Part {
            number,
            call,
            bytes,
        } => {
            let [kind, root] = kind(call);
            put(
                &mut out,
                &[
                    2,
                    *number,
                    kind,
                    root,
                    call.ty as u64,
                    call.operation as u64,
                    call.count,
                ],
            );
            out.extend(bytes);
        }
        Message::Refused { number, why } => {
            put(&mut out, &[3, *number]);
            out.extend(why.as_bytes());
        }
        Message::Bye => put(&mut out, &[4]),
        Message::Gone { rank } => put(&mut out, &[5, *rank]),
    }
    let length = (out.len() as u64).to_le_bytes();
    to.write_all(&[&length[..], &out].concat())
}

pub fn receive(mut from: &TcpStream) -> Result<Message> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
    from.read_exact(&mut bytes)?;
    let word = |at: usize| {
        let found = bytes
            .get(8 * at..8 * at + 8)
            .and_then(|b| b.try_into().ok());
        found
            .map(u64::from_le_bytes)
            .ok_or(std::io::ErrorKind::InvalidData)
    };
    let rest = |at: usize| bytes.get(8 * at..).unwrap_or_default().to_vec();
    Ok(match word(0)? {
        0 => Message::Hello {
            group: word(1)?,
            rank: word(2)?,
            size: word(3)?,
        },
        1 => Message::Go,
        2 => {
            let root = word(3)? as usize;
            let kind = match word(2)? {
                0 => Kind::AllReduce,
                1 => Kind::AllGather,
                2 => Kind::ReduceScatter,
                3 => Kind::Broadcast(root),
                _ => Kind::Reduce(root),
            };
            let (ty, operation, count) = (word(4)? as i32, word(5)? as i32, word(6)?);
            let call = Call {
                kind,
                ty,
                operation,
                count,
            };
            Message::Part {
                number: word(1)?,
                call,
                bytes: rest(7),
            }
        }
        3 => Message::Refused {
            number: word(1)?,
            why: String::from_utf8_lossy(&rest(2)).into_owned(),
        },
        4 => Message::Bye,
        5 => Message::Gone { rank: word(1)? },
        _ => return Err(std::io::ErrorKind::InvalidData.into()),
    })
}
