//! What of all that waits in streams may run, what a synchronisation needs of it, and why nothing can.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::codes;
use super::engine::Until;
use super::work::{Failure, Meeting, Work};
use super::world::{Stream, World};

pub fn runnable(world: &World, id: u64) -> bool {
    let stream = &world.streams[&id];
    if stream.busy || world.cards[stream.device].hangs {
        return false;
    }
    match stream.queue.front() {
        Some(Work::Run(_) | Work::Begin(_) | Work::Free(_)) => true,
        Some(Work::Meet(meeting, _)) => {
            let parts = meeting.parts();
            parts.iter().flatten().count() == meeting.size
                && parts.iter().flatten().all(|part| {
                    let stream = world.streams.get(&part.stream);
                    stream.is_some_and(|s| {
                        !world.cards[s.device].hangs
                            && waits_in(s).is_some_and(|(m, _)| Arc::ptr_eq(m, meeting))
                    })
                })
        }
        _ => false,
    }
}

/// The collective that a stream has come to, and its rank there.
fn waits_in(stream: &Stream) -> Option<(&Arc<Meeting>, usize)> {
    match stream.queue.front() {
        Some(Work::Meet(meeting, rank)) if !stream.busy => Some((meeting, *rank)),
        _ => None,
    }
}

/// Streams whose work the goal waits for.
pub fn needed(world: &World, until: Until) -> HashSet<u64> {
    let mut found = HashSet::new();
    let mut open: Vec<u64> = match until {
        Until::Stream(stream, _) => vec![stream],
        Until::Device(device) => world
            .streams
            .iter()
            .filter(|(_, s)| s.device == device)
            .map(|(id, _)| *id)
            .collect(),
    };
    while let Some(id) = open.pop() {
        let Some(stream) = world.streams.get(&id) else {
            continue;
        };
        if !found.insert(id) {
            continue;
        }
        for work in &stream.queue {
            match work {
                Work::Wait { stream, .. } => open.push(*stream),
                Work::Meet(meeting, _) => {
                    open.extend(meeting.parts().iter().flatten().map(|p| p.stream));
                }
                _ => {}
            }
        }
    }
    found
}

/// Ranks of one communicator that have all come to a collective, and not to the same one: none of them can
/// go on. Their devices, and the words for it.
pub fn crossed(world: &World) -> Option<(Vec<usize>, Failure)> {
    /// Rank, device, and what it has come to.
    type Come<'a> = (usize, usize, &'a Arc<Meeting>);
    let mut groups: BTreeMap<u64, Vec<Come>> = BTreeMap::new();
    for stream in world.streams.values() {
        if let Some((meeting, rank)) = waits_in(stream) {
            let group = groups.entry(meeting.group).or_default();
            group.push((rank, stream.device, meeting));
        }
    }
    groups.into_values().find_map(|mut ranks| {
        ranks.sort_unstable_by_key(|(rank, ..)| *rank);
        let first = ranks[0].2;
        let all = ranks.iter().enumerate().all(|(at, (rank, ..))| at == *rank)
            && ranks.len() == first.size;
        if !all || ranks.iter().all(|(_, _, m)| Arc::ptr_eq(m, first)) {
            return None;
        }
        let told: Vec<String> = ranks
            .iter()
            .map(|(rank, _, m)| format!("rank {rank} in {}", m.name))
            .collect();
        let message = format!(
            "ranks have come to different collectives: {}",
            told.join(", ")
        );
        let devices = ranks.iter().map(|(_, device, _)| *device).collect();
        Some((devices, Failure::new(codes::ERROR_LAUNCH_FAILED, message)))
    })
}

/// Why nothing can run, stream by stream.
pub fn stuck(world: &World) -> String {
    let mut lines = Vec::new();
    for (id, stream) in world.streams.iter().filter(|(_, s)| s.done < s.enqueued) {
        let front = match stream.queue.front() {
            _ if world.cards[stream.device].hangs => "hangs, as the configuration asks".to_owned(),
            Some(Work::Wait { stream, done }) => {
                format!("waits until stream {stream:#x} has done {done}")
            }
            Some(Work::Meet(meeting, rank)) => {
                let there = |part: &super::work::Part| {
                    let stream = world.streams.get(&part.stream).and_then(waits_in);
                    stream.is_some_and(|(m, _)| Arc::ptr_eq(m, meeting))
                };
                let parts = meeting.parts();
                let missing: Vec<String> = (0..meeting.size)
                    .filter(|r| !parts[*r].as_ref().is_some_and(there))
                    .map(|r| r.to_string())
                    .collect();
                format!(
                    "rank {rank} is in {}, to which ranks {} of {} have not come",
                    meeting.name,
                    missing.join(", "),
                    meeting.size
                )
            }
            _ => "could run".to_owned(),
        };
        lines.push(format!(
            "stream {id:#x} of device {} {front}",
            stream.device
        ));
    }
    lines.sort_unstable();
    lines.join("; ")
}
