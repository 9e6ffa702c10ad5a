//! All live requests: by id for callers, by slot for the scheduler's own loops.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::ops::{Index, IndexMut};

use super::sequence::Sequence;
use crate::ground::RequestId;

/// Place of a live request in the table.
pub(super) type Slot = usize;

/// std's hasher with its fixed keys: the same in every process.
type FixedHasher = BuildHasherDefault<DefaultHasher>;

#[derive(Debug, Default)]
pub(super) struct SequenceTable {
    slots: Vec<Option<Sequence>>,
    vacant: Vec<Slot>,
    by_id: HashMap<RequestId, Slot, FixedHasher>,
}

impl SequenceTable {
    /// The id must not be in the table.
    pub(super) fn insert(&mut self, sequence: Sequence) -> Slot {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_id.insert(sequence.id(), slot);
        self.slots[slot] = Some(sequence);
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(sequence) = self.slots[slot].take() {
            self.by_id.remove(&sequence.id());
            self.vacant.push(slot);
        }
    }

    pub(super) fn slot(&self, id: RequestId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Sequence> {
        self.slots[self.slot(id)?].as_ref()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

// A queue names a slot only while its request lives, so a queued slot is never vacant.
const QUEUED: &str = "a queued slot holds a request";

impl Index<Slot> for SequenceTable {
    type Output = Sequence;

    fn index(&self, slot: Slot) -> &Sequence {
        self.slots[slot].as_ref().expect(QUEUED)
    }
}

impl IndexMut<Slot> for SequenceTable {
    fn index_mut(&mut self, slot: Slot) -> &mut Sequence {
        self.slots[slot].as_mut().expect(QUEUED)
    }
}
